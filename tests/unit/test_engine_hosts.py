"""Locks, preflight, verification: what is done with all hosts of several components."""

from __future__ import annotations

import pytest
from attrs import frozen

from k8sha.errors import (
    AccessDenied,
    HostBusy,
    NotReady,
    PreflightError,
    Problem,
    VerifyError,
)
from k8sha.events import Event
from k8sha.hosts.program import Busy
from k8sha.stage import Stage
from k8sha.verbs import install, plan, verify

from .fake import Becomes, Fact, Machine, Needs, Parts, stage
from .odd import Checked, GivesUp, failure


class TestLock:
    def test_is_taken_on_every_host_before_the_first_change(self) -> None:
        machines = [Machine(name) for name in ("one", "two")]
        Parts((stage("first", *machines, facts=(Fact("a"),)),)).install()
        for machine in machines:
            assert machine.heard[0].lock is not None
            assert " pid " in machine.heard[0].lock

    def test_a_plan_takes_none(self) -> None:
        machine = Machine("one")
        Parts((stage("first", machine, facts=(Fact("a"),)),)).plan()
        assert [program.lock for program in machine.heard] == [None, None]

    def test_a_host_that_is_busy_is_left_alone_and_so_are_the_others(self) -> None:
        busy, free = Machine("one", busy=[Busy("ann@desk", orphaned=False, process=4711)]), Machine("two")
        with pytest.raises(HostBusy) as caught:
            Parts((stage("first", busy, free, facts=(Fact("a"),)),)).install()
        assert caught.value.holder == "ann@desk"
        assert "kill 4711" in str(caught.value)
        assert free.heard == []  # of two installers at once the one that comes second takes no lock at all
        assert not busy.host.connected
        assert not free.host.connected

    def test_an_orphan_is_waited_for(self) -> None:
        machine = Machine("one", busy=[Busy("ann@desk", orphaned=True)] * 3)
        waits: list[str] = []
        machine.host.lock("us", interval=0, tell=lambda check, last, waited: waits.append(last))
        assert len(waits) == 3
        assert "has not ended yet" in waits[0]

    def test_an_orphan_that_never_ends_is_not_waited_for_forever(self) -> None:
        machine = Machine("one", busy=[Busy("ann@desk", orphaned=True)] * 9)
        with pytest.raises(NotReady):
            machine.host.lock("us", patience=0, interval=0)

    def test_a_new_link_takes_it_again(self) -> None:
        machine = Machine("one")
        machine.host.lock("us")
        machine.host.read("probe a")
        assert machine.link is not None
        machine.link.close()
        machine.host.read("probe a")
        machine.host.read("probe a")
        assert [program.lock for program in machine.heard] == ["us", None, "us", None]
        machine.host.close()
        machine.host.read("probe a")
        assert machine.heard[-1].lock is None

    def test_is_ours_alone_in_one_process_as_well(self) -> None:
        machine = Machine("one")
        machine.host.lock("us")
        with pytest.raises(HostBusy):
            machine.host.lock("them")

    def test_is_given_up_at_the_end_whatever_happened(self) -> None:
        machine = Machine("one", fails={"a": (1, b"")})
        failure(Parts((stage("first", machine, facts=(Fact("a"),)),)))
        assert not machine.host.connected


class TestPreflight:
    def test_says_all_that_is_wrong_at_once_and_changes_nothing(self) -> None:
        machines = Machine("one"), Machine("two", {"room": "little"})
        needs = {machine.host: (Needs("room", remedy="make room"), Needs("time")) for machine in machines}
        with pytest.raises(PreflightError) as caught:
            Parts((stage("first", *machines, facts=(Fact("a"),)),), needs).install()
        assert caught.value.problems == (
            Problem("one", "room: absent -> right", "make room"),
            Problem("one", "time: absent -> right"),
            Problem("two", "room: little -> right", "make room"),
            Problem("two", "time: absent -> right"),
        )
        assert "a" not in machines[0].state
        assert "4 problems stand in the way; nothing was changed" in str(caught.value)

    def test_costs_one_trip_a_host_for_all_components(self) -> None:
        machine = Machine("one", {"room": "right", "a": "right"})
        parts = [
            Parts((stage("first", machine, facts=(Fact("a"),)),), {machine.host: (Needs("room"),)}, title=title)
            for title in ("x", "y")
        ]
        assert install(parts).trips == 1 + 1 + 2

    def test_one_component_that_gives_up_does_not_silence_the_others(self) -> None:
        machine = Machine("one")
        with pytest.raises(PreflightError) as caught:
            install([GivesUp((), title="x"), Parts((), {machine.host: (Needs("room"),)})])
        assert len(caught.value.problems) == 2


class TestVerify:
    def test_is_an_empty_plan_and_checks_that_hold(self) -> None:
        machine = Machine("one", {"a": "right"})
        looked = Checked((stage("first", machine, facts=(Fact("a"),)),)).verify()
        assert [(check.check, check.problem, check.detail) for check in looked] == [
            ("Parts: nothing differs from what was asked for", "", ""),
            ("the sky is blue", "", "very"),
        ]

    def test_says_everything_that_is_wrong(self) -> None:
        machine = Machine("one")
        parts = Checked((stage("first", machine, facts=(Fact("a"), Becomes("up"))),), checks_out=False)
        told: list[Event] = []
        with pytest.raises(VerifyError) as caught:
            parts.verify(told.append)
        assert [str(problem) for problem in caught.value.problems] == [
            "one: fact a differs: a: absent -> right — install() mends it",
            "one: fact up: up: absent -> right",
            "Parts: the sky is blue: it is grey",
        ]
        assert machine.state == {}

    def test_a_host_that_is_gone_is_one_of_the_things_that_are_wrong(self) -> None:
        lost, fine = Machine("one", cut=("", "probes")), Machine("two")
        parts = [Checked((stage("first", machine, facts=(Fact("a"),)),)) for machine in (lost, fine)]
        with pytest.raises(VerifyError) as caught:
            verify(parts)
        assert len(caught.value.problems) == 2


class TestHosts:
    def test_equal_hosts_that_are_two_objects_are_locked_once_and_both_closed(self) -> None:
        machine = Machine("one")
        twin = type(machine.host)("one", "192.168.56.20", ssh=machine.host.ssh)
        parts = Parts((Stage("a", {machine.host: (Fact("a"),)}), Stage("b", {twin: (Fact("b"),)})))
        install([Parts(parts.given[:1]), Parts(parts.given[1:])])
        assert not machine.host.connected
        assert not twin.connected
        assert sum(program.lock is not None for program in machine.heard) == 1

    def test_plan_and_install_of_several_components_add_up(self) -> None:
        machine = Machine("one")
        parts = [Parts((stage(title, machine, facts=(Fact(title),)),), title=title) for title in "xy"]
        assert [change.component for change in plan(parts).changes] == ["x", "y"]
        report = install(parts)
        assert [result.component for result in report.changed] == ["x", "y"]

    def test_access_denied_stops_before_anything(self) -> None:
        machine, other = Machine("one"), Machine("two")

        @frozen
        class Refuses:
            def open(self, name: str, address: str) -> object:
                raise AccessDenied(name, "its host key has changed")

        locked_out = type(machine.host)("three", "192.168.56.21", ssh=Refuses())  # type: ignore[arg-type]
        work = {machine.host: (Fact("a"),), other.host: (Fact("a"),), locked_out: (Fact("a"),)}
        with pytest.raises(AccessDenied):
            Parts((Stage("first", work),)).install()
        assert machine.state == other.state == {}
