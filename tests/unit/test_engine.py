"""The engine against machines that are functions: what is asked of a host, and in which order."""

from __future__ import annotations

import pytest

from k8sha.errors import (
    ConfigError,
)
from k8sha.events import Began, Event, Finished, Planned, StageBegan, StageEnded, Uploaded, Waiting
from k8sha.report import Outcome
from k8sha.stage import Stage

from .fake import Becomes, Fact, Machine, Parts, stage
from .odd import Brought, statuses


class TestPlan:
    def test_names_what_differs_and_touches_nothing(self) -> None:
        machine = Machine("one", {"a": "right", "b": "wrong"})
        parts = Parts((stage("first", machine, facts=(Fact("a"), Fact("b"), Fact("c"))),))
        found = parts.plan()
        assert [(change.host, change.resource, change.diff.lines) for change in found.changes] == [
            ("one", "fact b", ("b: wrong -> right",)),
            ("one", "fact c", ("c: absent -> right",)),
        ]
        assert machine.state == {"a": "right", "b": "wrong"}
        assert not any(program.applies for program in machine.heard)

    def test_takes_one_trip_a_stage_and_one_to_connect(self) -> None:
        machine = Machine("one")
        parts = Parts(tuple(stage(name, machine, facts=(Fact(name), Fact(name * 2))) for name in "abc"))
        assert parts.plan().trips == 3
        assert machine.host.trips == 4
        assert parts.plan().trips == 3
        assert machine.host.trips == 7

    def test_a_condition_that_does_not_hold_is_no_change(self) -> None:
        machine = Machine("one", {"a": "right"})
        found = Parts((stage("first", machine, facts=(Fact("a"), Becomes("ready"))),)).plan()
        assert not found
        assert [wait.resource for wait in found.waits] == ["fact ready"]

    def test_what_a_stage_saw_comes_back_to_the_component(self) -> None:
        machine = Machine("one", {"a": "wrong"})
        parts = Parts((stage("first", machine, facts=(Fact("a"),)),))
        parts.plan()
        outcome = parts.outcomes[0]
        assert isinstance(outcome, Outcome)
        assert outcome.of("one", "fact a") == b"wrong"
        with pytest.raises(KeyError):
            outcome.of("one", "fact b")
        parts.install()
        assert isinstance(parts.outcomes[1], Outcome)
        assert parts.outcomes[1].of("one", "fact a") == b"right"


class TestInstall:
    def test_makes_it_so_in_two_trips_a_stage(self) -> None:
        machine = Machine("one", {"a": "right"})
        report = Parts((stage("first", machine, facts=(Fact("a"), Fact("b"), Fact("c"))),)).install()
        assert machine.state == {"a": "right", "b": "right", "c": "right"}
        assert statuses(report.results) == [
            ("one", "fact a", "unchanged"),
            ("one", "fact b", "changed"),
            ("one", "fact c", "changed"),
        ]
        assert report.trips == 1 + 2
        last = machine.heard[-1]
        assert [snippet.text for snippet in last.applies] == ["set b right", "set c right"]
        assert [snippet.text for snippet in last.probes] == ["probe a", "probe b", "probe c"]

    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_the_second_time_costs_one_trip_a_stage_and_one_for_the_lock(self, count: int) -> None:
        machines = [Machine(f"m{number}") for number in range(count)]
        stages = tuple(stage(name, *machines, facts=(Fact(name), Becomes(name + "!"))) for name in "abcd")
        for machine in machines:
            machine.state |= {f"{name}!": "right" for name in "abcd"}
        parts = Parts(stages)
        parts.install()
        before = [machine.host.trips for machine in machines]
        report = parts.install()
        assert not report.changed
        assert [machine.host.trips - trips for machine, trips in zip(machines, before, strict=True)] == [5] * count
        assert report.trips == 5 * count

    def test_a_host_without_resources_costs_no_trip(self) -> None:
        machine = Machine("one")
        assert Parts((Stage("first", {machine.host: ()}),)).install().trips == 1

    def test_a_plan_is_empty_after_an_install(self) -> None:
        machines = Machine("one"), Machine("two")
        parts = Parts((stage("first", *machines, facts=(Fact("a"), Fact("b", watches=(Fact("a"),)))),))
        assert parts.plan()
        parts.install()
        assert not parts.plan()

    def test_batches_come_one_after_the_other(self) -> None:
        machines = [Machine(name) for name in ("one", "two", "three")]
        told: list[Event] = []
        Parts((stage("first", *machines, facts=(Fact("a"), Becomes("up")), batch=1),)).install(
            lambda event: told.append(event) or _up(machines, event)  # type: ignore[func-returns-value]
        )
        order = [(type(event).__name__, _host(event)) for event in told if isinstance(event, Began | Finished)]
        assert order == [(kind, name) for name in ("one", "two", "three") for kind in ("Began", "Finished")]

    def test_a_batch_waits_for_the_conditions_of_the_one_before(self) -> None:
        first, second = Machine("one", becomes={"up": ["", "", "no", "right"]}), Machine("two", {"up": "right"})
        told: list[Event] = []
        work = stage("first", first, second, facts=(Fact("a"), Becomes("up", interval=0)), batch=1)
        Parts((work,)).install(told.append)
        kinds = [(type(event).__name__, _host(event)) for event in told if isinstance(event, Began | Waiting)]
        assert kinds == [("Began", "one"), ("Waiting", "one: fact up"), ("Began", "two")]

    def test_what_watches_a_change_is_carried_out_because_of_it(self) -> None:
        machine = Machine("one", {"service": "right"})
        config = Fact("config")
        parts = Parts((stage("first", machine, facts=(config, Fact("service", watches=(config,)))),))
        assert [str(change.diff) for change in parts.plan().changes] == [
            "config: absent -> right",
            "because fact config changes",
        ]
        report = parts.install()
        assert [snippet.text for snippet in machine.heard[-1].applies] == ["set config right", "set service right"]
        assert len(report.changed) == 2
        assert not parts.plan()

    def test_watching_goes_on_along_a_chain(self) -> None:
        a = Fact("a")
        b = Fact("b", watches=(a,))
        machine = Machine("one", {"b": "right", "c": "right"})
        found = Parts((stage("first", machine, facts=(a, b, Fact("c", watches=(b,)))),)).plan()
        assert [str(change.diff) for change in found.changes][1:] == [
            "because fact a changes",
            "because fact b changes",
        ]

    def test_uploads_come_before_the_changes_and_only_what_is_missing(self) -> None:
        machine = Machine("one", {"b": "right"})
        told: list[Event] = []
        parts = Parts((stage("first", machine, facts=(Brought("a"), Brought("b"))),))
        parts.install(told.append)
        assert machine.files == ["/staged/a"]
        assert [event for event in told if isinstance(event, Uploaded)] == [
            Uploaded("one", "fact a", 1, 2),
            Uploaded("one", "fact a", 2, 2),
        ]

    def test_the_events_of_a_stage_come_in_order(self) -> None:
        machine = Machine("one")
        told: list[Event] = []
        Parts((stage("first", machine, facts=(Fact("a"),)),)).install(told.append)
        ours = [event for event in told if getattr(event, "component", "Parts") == "Parts"]
        assert [type(event).__name__ for event in ours] == [
            "Connected",
            "StageBegan",
            "Planned",
            "Began",
            "Finished",
            "StageEnded",
        ]
        assert ours[1] == StageBegan("Parts", "first", ("one",))
        assert isinstance(ours[2], Planned)
        assert ours[3] == Began("one", "fact a")
        assert isinstance(ours[5], StageEnded)


class TestClaims:
    def test_one_key_with_two_contents_is_a_mistake(self) -> None:
        with pytest.raises(ConfigError) as caught:
            stage("first", Machine("one"), facts=(Fact("a"), Fact("a", "wrong")))
        assert "one: fact a: is claimed twice" in str(caught.value)

    def test_one_key_claimed_twice_alike_is_none(self) -> None:
        stage("first", Machine("one"), facts=(Fact("a"), Fact("a")))


def _up(machines: list[Machine], event: Event) -> None:
    if isinstance(event, Finished):
        next(machine for machine in machines if machine.name == event.result.host).state["up"] = "right"


def _host(event: Event) -> str:
    match event:
        case Finished(result):
            return result.host
        case Waiting(check):
            return check
        case Began(host):
            return host
    return ""
