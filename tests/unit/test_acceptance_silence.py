"""From which moment on a machine is silent, and what becomes of requests that it was answering."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest

from acceptance.faults import Injected
from acceptance.history import History, Request
from acceptance.lab.cable import Cable
from acceptance.record import Run
from acceptance.trial import Trial

LINKS = [{"ifindex": 7, "ifname": "veth7", "master": "br0"}, {"ifindex": 8, "ifname": "veth8"}]


class Machine:
    """What runs commands: one container, whose port is number 7."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, command: Sequence[str], *, machine: str = "") -> str:
        self.asked.append(" ".join(command))
        if command[:2] == ["ip", "-json"]:
            return json.dumps(LINKS)
        if command[0] == "ip":
            return ""
        if command[1] == "exec":
            return "7\n"
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return f"{uptime - 0.3:.2f} 1.0\n"


@pytest.mark.parametrize(("user", "ago"), [(0, 0.0), (1000, 0.3)])
def test_a_pulled_cable_says_when(user: int, ago: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user)
    monkeypatch.setattr("socket.if_nametoindex", {"veth7": 7}.__getitem__)
    taken: list[bytes] = []
    monkeypatch.setattr("fcntl.ioctl", lambda kernel, request, argument: taken.append(argument))
    machine = Machine()
    moment = Cable(tmp_path, "image", machine).pull("master-1", "container")
    assert moment == pytest.approx(time.monotonic() - ago, abs=0.1)
    if user:
        before, found, _ = machine.asked[-1].partition("ip link set dev veth7 nomaster")
        assert found
        assert before.startswith("docker run")
        assert "cat /proc/uptime" in before, "never too late"
    else:
        assert taken == [b"br0" + bytes(13) + b"\7" + bytes(23)]


def measured(since: float | None) -> Run:
    """Requests at 9.9 (failed before), 10.0 (lost in the machine's hands), 10.5 (lost after) and 11 (fine); the fault
    was begun at 9.8."""
    probes = (
        Request(9.9, 9.9, 9.95, "HTTP 500", "A"),
        Request(10.0, 10.0, 12.0, "timed out", ""),
        Request(10.5, 10.5, 12.5, "timed out", ""),
        Request(11.0, 11.0, 11.1, "", "A"),
    )
    workload = SimpleNamespace(history=lambda: History(probes))
    trial = Trial(cast(Any, None), cast(Any, workload), Random(0), {}, lambda *_: None)
    injected = Injected(cast(Any, None), "master-1 was frozen", since)
    return trial._measure(injected, (9.8, 20.0, 20.1, 25.0), 1.0, load=(), at="")


def test_what_was_in_the_hands_of_a_lost_machine_is_told_by_itself() -> None:
    run = measured(10.2)
    assert (run.in_flight, run.during.failed, run.during.total) == (1, 2, 3)
    assert [error for _, _, error in run.timeline.probes if error] == ["HTTP 500", "timed out", "timed out"]


def test_where_nobody_can_tell_the_moment_everything_counts() -> None:
    run = measured(None)
    assert (run.in_flight, run.during.failed, run.during.total) == (0, 3, 4)
