"""The network cable of a machine that is a container: pulled while the machine is frozen or without power.

The kernel of a container is the one of the machine that runs it. It goes on taking connections for processes that are
frozen, and closes those of processes that are killed, where a machine without power is silent at once. So whatever
stops the machine has its cable pulled first: its ports leave their bridges, which nothing inside can see.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

__all__ = ["Cable"]


class Run(Protocol):
    """Runs a command, and returns what it prints."""

    def __call__(self, command: Sequence[str], *, machine: str = "") -> str: ...


class Cable:
    """The cables of one lab. What was pulled is noted in ``notes``, so that another run can plug it in again."""

    def __init__(self, notes: Path, image: str, run: Run) -> None:
        self._notes, self._image, self._run = notes, image, run

    def pull(self, name: str, container: str) -> None:
        """Cut a running machine off. One that is cut off stays so."""
        listed = self._run(["docker", "exec", container, "sh", "-c", "cat /sys/class/net/e*/iflink"], machine=name)
        theirs = {int(number) for number in listed.split()}
        ports = {link["ifname"]: link["master"] for link in self._links() if link["ifindex"] in theirs}
        if not ports:
            return
        note = self._note(name)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(json.dumps(ports))
        self._set([f"{port} nomaster" for port in ports], machine=name)

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

    def _set(self, changes: Sequence[str], *, machine: str) -> None:
        """Change ports, by a container that may do just that, because we may not be root."""
        if changes:
            rights = ["--cap-drop", "ALL", "--cap-add", "NET_ADMIN", "--network", "host", "--entrypoint", "sh"]
            script = "; ".join(f"ip link set dev {change}" for change in changes)
            self._run(["docker", "run", "--rm", *rights, self._image, "-ec", script], machine=machine)
