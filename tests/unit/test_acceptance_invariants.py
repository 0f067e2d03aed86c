"""What was acknowledged must be there after anything that a client was at work through, planned or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from acceptance import drift, test_drift, test_planned, test_replace
from acceptance.history import History, Request, WatchMark
from acceptance.invariants import afterwards
from acceptance.session import Broken, Options, Session
from acceptance.tell import Tell
from k8sha import Report

WRITTEN = ("w-0", "w-1")
DRIFTED = SimpleNamespace(host="lb-1", resource="file /f")
Test = Callable[[Session, Any], None]


class Client:
    """A workload that had two writes acknowledged; its watch told of both."""

    target = SimpleNamespace(prefix="w", writes=True, watch=True)

    def now(self) -> float:
        return 10.0

    def settle(self, *_: object, **__: object) -> None: ...
    def answers_until(self, moment: float) -> None: ...

    def history(self) -> History:
        answered = tuple(Request(at, at, at + 0.01) for at in (9.0, 10.0, 10.5))
        return History(answered, watch=tuple(WatchMark(9.0, "event", f"ADDED {name}") for name in WRITTEN))

    def acknowledged(self, *, before: float) -> frozenset[str]:
        return frozenset(WRITTEN)


class Host:
    name = "lb-1"

    def close(self) -> None: ...
    def execute(self, command: str) -> tuple[int, bytes, bytes]:
        return 0, b"", b""


class Held:
    """A cluster whose API has these objects, and on which nothing else is ever amiss."""

    def __init__(self, *there: str) -> None:
        page = {"items": [{"metadata": {"name": name}} for name in there], "metadata": {}}
        self.plane = SimpleNamespace(hosts=(Host(),), api=SimpleNamespace(get=lambda path, **query: page))
        self.cluster = SimpleNamespace(plan=self._plan, verify=self._verify, hosts=(Host(),))
        self.balancers: object | None = "two"
        self.looks = 0
        self.plans: list[object] = []
        """What the next plans are; empty ones, after those."""
        self._turns = iter(["lb-1", "lb-2", "lb-1"])

    def _plan(self) -> object:
        return self.plans.pop(0) if self.plans else ()

    def _verify(self, listen: object) -> tuple[()]:
        self.looks += 1
        return ()

    def loads(self) -> tuple[tuple[str, float], ...]:
        return (("here", 0.0),)

    def holders(self) -> tuple[SimpleNamespace, ...]:
        return (SimpleNamespace(name=next(self._turns)),)


def session(folder: Path, subject: Held) -> Session:
    made = Session.begin(Options(report=folder), Tell(Console(quiet=True)))
    made._subject = subject  # type: ignore[assignment]
    made.lab = SimpleNamespace(recreate=lambda name: None, bridge_up=lambda: True)  # type: ignore[assignment]
    made.installed = True
    return made


@pytest.fixture
def tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests do to a cluster is done, and has cost nothing."""

    @contextmanager
    def workload(*_: object, **__: object) -> Iterator[Client]:
        yield Client()

    change = drift.Change("lb-1", "file /f", "", "true")
    monkeypatch.setattr(Session, "workload", workload)
    monkeypatch.setattr(Session, "install", lambda self: SimpleNamespace(changed=[DRIFTED], seconds=1.0))
    monkeypatch.setattr(drift, "changes", lambda managed, random: (change,))
    monkeypatch.setattr(test_drift, "outage", lambda *_: SimpleNamespace(total=3, failed=0))
    monkeypatch.setattr(test_replace, "replace_first", lambda cluster, listen: Report((), 0, 0.0))
    monkeypatch.setattr(test_planned, "part", lambda cluster, kind: SimpleNamespace(drain=id, undrain=id))


STEPS: tuple[Test, ...] = (
    test_replace.test_first_master_replaced,
    test_planned.test_balancer_drained,
    test_drift.test_drift,
)


def cluster(step: Test, *there: str) -> Held:
    """One whose API has these objects, for this step."""
    made = Held(*there)
    if step is test_drift.test_drift:
        made.plans.append(SimpleNamespace(changes=[DRIFTED]))
    return made


@pytest.mark.usefixtures("tests")
@pytest.mark.parametrize("step", STEPS)
def test_a_lost_write_breaks_the_promise(tmp_path: Path, step: Test) -> None:
    made = session(tmp_path, cluster(step, "w-1"))
    with pytest.raises(Broken, match="1 acknowledged writes are lost: w-0"):
        step(made, lambda name, value: None)
    (found,) = made.certificate.steps
    assert found.verdict == "broken"
    assert ("of 2 acknowledged writes lost", "1") in found.figures


@pytest.mark.usefixtures("tests")
@pytest.mark.parametrize("step", STEPS)
def test_after_it_the_cluster_is_looked_at_anew(tmp_path: Path, step: Test) -> None:
    """What was found before a step says nothing of what it did, however quick it was."""
    subject = cluster(step, *WRITTEN)
    made = session(tmp_path, subject)
    made.check_health()
    step(made, lambda name, value: None)
    assert [found.verdict for found in made.certificate.steps] == ["kept"]
    assert subject.looks == 2


def test_a_watch_that_was_not_told_is_found_where_there_was_one() -> None:
    client: Any = Client()
    subject: Any = Held(*WRITTEN)
    subject.balancers = None
    client.history = History
    assert "the watch never told of 2 acknowledged writes" in afterwards(subject, client, 10.0).broken[0]
    client.target = SimpleNamespace(prefix="w", writes=True, watch=False)
    assert afterwards(subject, client, 10.0).broken == ()
