"""The network cable of a machine that is a container: pulled while the machine is frozen or without power.

The kernel of a container is the one of the machine that runs it. It goes on taking connections for processes that are
frozen, and closes those of processes that are killed, where a machine without power is silent at once. So whatever
stops the machine has its cable pulled first: its ports leave their bridges, which nothing inside can see.
"""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Cable"]

_SIOCBRDELIF = 0x89A3
"""Takes a port from its bridge (linux/sockios.h)."""


class Run(Protocol):
    """Runs a command, and returns what it prints."""

    def __call__(self, command: Sequence[str], *, machine: str = "") -> str: ...


class Cable:
    """The cables of one lab. What was pulled is noted in ``notes``, so that another run can plug it in again."""

    def __init__(self, notes: Path, image: str, run: Run) -> None:
        self._notes, self._image, self._run = notes, image, run

    def pull(self, name: str, container: str) -> float | None:
        """Cut a running machine off; returns the moment just before. One that is cut off stays so: None."""
        listed = self._run(["docker", "exec", container, "sh", "-c", "cat /sys/class/net/e*/iflink"], machine=name)
        theirs = {int(number) for number in listed.split()}
        ports = {link["ifname"]: link["master"] for link in self._links() if link["ifindex"] in theirs}
        if not ports:
            return None
        note = self._note(name)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(ports))
        if os.geteuid() == 0:
            return _at_once(ports)
        return self._set([f"{port} nomaster" for port in ports], machine=name)

    def plug(self, name: str) -> None:
        """Give a machine back what was pulled, where that is still there: a machine that was started again has new
        ports."""
        note = self._note(name)
        if not note.exists():
            return
        loose = {link["ifname"] for link in self._links(loose=True)}
        ports = json.loads(note.read_text())
        self._set([f"{port} master {bridge}" for port, bridge in ports.items() if port in loose], machine=name)
        note.unlink()

    def _note(self, name: str) -> Path:
        return self._notes / f"{name}.json"

    def _links(self, *, loose: bool = False) -> list[dict[str, Any]]:
        """The ports of this machine's bridges, or the ones that could be."""
        links = json.loads(self._run(["ip", "-json", "link", "show"]))
        return [link for link in links if ("master" in link) != loose]

    def _set(self, changes: Sequence[str], *, machine: str) -> float:
        """Change ports, where we are not root by a container that may do just that; returns the moment just before."""
        before = time.monotonic()
        commands = [["ip", "link", "set", "dev", *change.split()] for change in changes]
        if os.geteuid() == 0:
            for command in commands:
                self._run(command, machine=machine)
        elif commands:
            rights = ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--network", "host", "--entrypoint", "sh"]
            script = "; ".join(["cat /proc/uptime", *map(shlex.join, commands)])
            printed = self._run(["docker", "run", "--rm", *rights, self._image, "-ec", script], machine=machine)
            before = time.monotonic() - (_uptime(Path("/proc/uptime").read_text()) - _uptime(printed))
        return before


def _at_once(ports: Mapping[str, str]) -> float:
    """Take ports from their bridges without a process in between: on a busy machine one begins so late that a request
    which is in the machine's hands by then seems to have come after. Returns the moment just before."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as kernel:
        asked = [struct.pack("16si20x", bridge.encode(), socket.if_nametoindex(port)) for port, bridge in ports.items()]
        before = time.monotonic()
        for request in asked:
            fcntl.ioctl(kernel, _SIOCBRDELIF, request)
    return before


def _uptime(text: str) -> float:
    """Seconds since the kernel's start, as it tells them in /proc/uptime."""
    return float(text.split()[0])
