"""One run of a tool, measured and judged: a run that did not do its work counts for nothing."""

from __future__ import annotations

import hashlib
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from attrs import frozen

from bench.hosts import DIRECT, PORT, PROXIED, Hosts
from bench.tools import TASKS, Tool

__all__ = ["BenchError", "Kind", "Run", "Traffic", "count_traffic", "measure", "median"]

DELAY = 0.05
"""Seconds by which the counting proxy delays each way: more than a tool needs to say two things in a row."""


class BenchError(Exception):
    """A tool failed, or did not do what it was to do."""


class Kind(Enum):
    """What a run finds."""

    FIRST = "first"
    NO_OP = "no-op"


@frozen
class Run:
    """What one run cost: seconds of wall, of the controller's CPU and of all hosts', and the load when it began."""

    tool: str
    hosts: int
    kind: Kind
    wall: float
    cpu: float
    host_cpu: float
    memory_kib: int
    load: float


@frozen
class Traffic:
    """What went to and from one host in a no-op run, in round trips and bytes: the median of all hosts."""

    trips: int
    sent: int
    received: int


def median(values: Iterable[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def measure(tool: Tool, hosts: Hosts, count: int, kind: Kind) -> Run:
    """Run a tool once. Raises BenchError unless it did its work (``FIRST``), or touched nothing (``NO_OP``)."""
    before = hosts.state(count)
    load = os.getloadavg()[0]
    used = hosts.cpu()
    told = _execute(tool, hosts, count, proxied=False)
    used = hosts.cpu() - used
    _judge(tool, kind, before, hosts.state(count))
    return Run(tool.name, count, kind, told["wall"], told["cpu"], used, int(told["memory_kib"]), load)


def count_traffic(tool: Tool, hosts: Hosts, count: int) -> Traffic:
    """Run a tool once through the counting proxy; nothing is timed."""
    before = hosts.state(count)
    with _proxy(hosts, count) as counted:
        _execute(tool, hosts, count, proxied=True)
    _judge(tool, Kind.NO_OP, before, hosts.state(count))
    return Traffic(
        statistics.median_high(host["turns"] + host["connections"] for host in counted),
        statistics.median_high(host["sent"] for host in counted),
        statistics.median_high(host["received"] for host in counted),
    )


def _execute(tool: Tool, hosts: Hosts, count: int, *, proxied: bool) -> dict[str, float]:
    fleet = hosts.fleet(count, proxied=proxied)
    with tempfile.TemporaryDirectory(prefix="bench.") as name:
        folder = Path(name)
        command = tool.command(fleet, folder)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": name,
            "LC_ALL": "C.UTF-8",
            **tool.environment(fleet, folder),
        }
        log = folder / "output"
        # By path: the meter must not load the product, and its own start is not measured.
        meter = (sys.executable, str(Path(__file__).parent / "meter.py"), str(log))
        done = subprocess.run(
            hosts.inside(*meter, *command),
            cwd=TASKS.parent.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=3600,
        )
        told: dict[str, float] = json.loads(done.stdout) if done.returncode == 0 else {"exit": -1}
        if told["exit"] != 0:
            said = log.read_text(errors="replace")[-4000:] if log.exists() else ""
            raise BenchError(f"{tool.name} on {count} hosts failed\n{said}{done.stderr}")
    return told


@contextmanager
def _proxy(hosts: Hosts, count: int) -> Iterator[list[dict[str, int]]]:
    """The proxy in front of the hosts; what it counted for each is in the list afterwards."""
    arguments = (PROXIED, DIRECT, str(PORT), str(count), str(DELAY))
    command = hosts.inside(sys.executable, str(Path(__file__).parent / "proxy.py"), *arguments)
    counted: list[dict[str, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            if proxy.stdout.readline() != "ready\n":
                raise BenchError("the proxy did not start")
            yield counted
        finally:
            proxy.terminate()
        counted.extend(json.loads(proxy.stdout.read()))


def _wanted() -> re.Pattern[str]:
    """The state of a host whose ten tasks are done, as far as it is the host's own."""
    contents = b"".join(
        (TASKS / "files" / name).read_bytes() for name in ("modules.conf", "crictl.yaml", "containerd.toml")
    )
    settings = "net.ipv4.conf.all.rp_filter = 2;net.ipv4.ip_forward = 1;net.ipv4.ip_nonlocal_bind = 1;"
    text = f"{hashlib.sha256(contents).hexdigest()}|644 644 600 |{settings}|0|"
    return re.compile(re.escape(text) + r"[0-9a-f]{64}")


def _judge(tool: Tool, kind: Kind, before: tuple[str, ...], after: tuple[str, ...]) -> None:
    wanted = _wanted()
    for number, state in enumerate(after, 1):
        if not wanted.fullmatch(state):
            raise BenchError(f"{tool.name} left host {number} in another state than was asked for: {state}")
    touched = [number for number, (old, new) in enumerate(zip(before, after, strict=True), 1) if old != new]
    if kind is Kind.NO_OP and touched:
        raise BenchError(f"{tool.name} was to find nothing to do, and touched hosts {touched}")
    if kind is Kind.FIRST and len(touched) != len(after):
        raise BenchError(f"{tool.name} was to find everything to do, and touched hosts {touched} only")
