"""Who is told what, in which thread, and how a run is interrupted."""

from __future__ import annotations

import threading

import pytest

from k8sha.events import Began, Event, Finished, Planned, StageBegan, StageEnded, Waiting, Warned, warn
from k8sha.hosts.program import Busy

from .fake import Becomes, Fact, Machine, Parts, stage
from .odd import Brought


class TestListener:
    def test_is_always_called_in_the_callers_thread(self) -> None:
        machines = [Machine(f"m{number}", becomes={"up": ["", "", "", "", "right"]}) for number in range(6)]
        threads: set[int] = set()
        kinds: set[str] = set()

        def listen(event: Event) -> None:
            threads.add(threading.get_ident())
            kinds.add(type(event).__name__)

        facts = (Fact("a"), Brought("b"), Becomes("up", interval=0))
        parts = Parts((stage("first", *machines, facts=facts, batch=2),))
        parts.plan(listen)
        parts.install(listen)
        parts.verify(listen)
        assert threads == {threading.get_ident()}
        assert kinds >= {"Connected", "StageBegan", "StageEnded", "Planned", "Uploaded", "Began", "Finished", "Waiting"}

    @pytest.mark.parametrize(
        ("kind", "at"), [(StageBegan, "a"), (Planned, "a"), (Began, "a"), (Finished, "b"), (StageEnded, "b")]
    )
    def test_that_raises_ends_the_install_and_nothing_new_begins(self, kind: type[Event], at: str) -> None:
        """The work does not wait for the listener: where it is when that raises is what the machine holds back."""
        machine = Machine("one", holds_back=at)
        parts = Parts(tuple(stage(name, machine, facts=(Fact(name),)) for name in "ab"))

        def listen(event: Event) -> None:
            if isinstance(event, kind) and getattr(event, "component", "Parts") == "Parts":
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            parts.install(listen)
        assert "b" not in machine.state or at == "b"
        assert not machine.host.connected
        machine.holds_back = None
        assert parts.install().ok

    @pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
    def test_an_interruption_cuts_what_is_in_flight_and_flies_as_it_is(self, error: type[BaseException]) -> None:
        stuck, other = Machine("stuck", holds_back="a"), Machine("other")
        parts = Parts((stage("first", stuck, other, facts=(Fact("a"),)), stage("second", other, facts=(Fact("b"),))))

        def listen(event: Event) -> None:
            if isinstance(event, Began) and event.host == "stuck":
                assert stuck.waiting.wait(10)
                raise error

        with pytest.raises(error):
            parts.install(listen)
        assert not stuck.host.connected
        assert "b" not in other.state
        stuck.holds_back = None
        assert parts.install().ok

    def test_an_interruption_ends_a_wait_for_a_condition(self) -> None:
        machine = Machine("one")

        def listen(event: Event) -> None:
            if isinstance(event, Waiting):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Parts((stage("first", machine, facts=(Becomes("up", patience=1000, interval=0),)),)).install(listen)

    def test_an_interruption_ends_the_wait_for_an_orphan(self) -> None:
        machine = Machine("one", busy=[Busy("someone", orphaned=True)] * 100_000)

        def listen(event: Event) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            Parts((stage("first", machine, facts=(Fact("a"),)),)).install(listen)
        assert machine.state == {}

    def test_an_interrupted_plan_can_be_made_again(self) -> None:
        machine = Machine("one")
        parts = Parts((stage("first", machine, facts=(Fact("a"),)),))

        def listen(event: Event) -> None:
            if isinstance(event, Planned):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            parts.plan(listen)
        assert parts.plan()


def test_what_an_operator_should_know_is_logged_once_and_every_listener_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Event] = []
    for _ in range(2):
        warn("Part", "is of an odd kind", heard.append)
    assert heard == [Warned("Part", "is of an odd kind")] * 2
    assert [record.getMessage() for record in caplog.records] == ["Part: is of an odd kind"]
