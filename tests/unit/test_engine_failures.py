"""What fails: who goes on, what is told, and what is never taken for success."""

from __future__ import annotations

import pytest

from k8sha.errors import (
    HostErrors,
    ProbeError,
    Unreachable,
)
from k8sha.events import Event, Planned
from k8sha.report import Status

from .fake import Fact, Machine, Parts, stage
from .odd import Slow, failure, statuses


class TestFailure:
    def test_a_change_that_fails_stops_its_host_and_no_other(self) -> None:
        bad = Machine("bad", fails={"b": (3, b"no such thing")})
        good = Machine("good")
        facts = (Fact("a"), Fact("b"), Fact("c"))
        error = failure(Parts((stage("first", bad, good, facts=facts), stage("second", good, facts=(Fact("z"),)))))
        assert statuses(error.report.results) == [
            ("bad", "fact a", "changed"),
            ("bad", "fact b", "failed"),
            ("bad", "fact c", "skipped"),
            ("good", "fact a", "changed"),
            ("good", "fact b", "changed"),
            ("good", "fact c", "changed"),
        ]
        assert bad.state == {"a": "right"}
        assert "z" not in good.state
        assert "bad: fact b: failed with exit 3: no such thing" in str(error)

    def test_no_batch_begins_after_one_that_failed(self) -> None:
        machines = Machine("one", fails={"a": (1, b"")}), Machine("two")
        failure(Parts((stage("first", *machines, facts=(Fact("a"),), batch=1),)))
        assert machines[1].state == {}

    def test_what_still_differs_after_its_change_has_diverged(self) -> None:
        error = failure(Parts((stage("first", Machine("one", stubborn={"a"}), facts=(Fact("a"),)),)))
        (result,) = error.report.results
        assert result.status is Status.DIVERGED
        assert result.explain() == "was carried out, and still differs: a: absent -> right"

    def test_what_a_neighbour_disturbed_has_diverged(self) -> None:
        machine = Machine("one", {"a": "right"}, disturbs={"b": "a"})
        error = failure(Parts((stage("first", machine, facts=(Fact("a"), Fact("b"))),)))
        assert statuses(error.report.results) == [("one", "fact b", "changed"), ("one", "fact a", "diverged")]

    def test_a_link_lost_during_a_change_loses_that_one_and_skips_the_rest(self) -> None:
        machine = Machine("one", cut=("b", "begin"))
        error = failure(Parts((stage("first", machine, facts=(Fact("a"), Fact("b"), Fact("c"))),)))
        assert statuses(error.report.results) == [
            ("one", "fact a", "changed"),
            ("one", "fact b", "lost"),
            ("one", "fact c", "skipped"),
        ]
        assert "it may have been carried out" in str(error)

    @pytest.mark.parametrize("cut", [("a", "before"), ("a", "end"), ("", "probes again")])
    def test_a_link_lost_between_changes_is_never_taken_for_success(self, cut: tuple[str, str]) -> None:
        machine = Machine("one", {"b": "right"})
        parts = Parts((stage("first", machine, facts=(Fact("a"), Fact("b"))), stage("second", machine, facts=())))
        parts.plan()
        machine.cut = cut
        with pytest.raises(Unreachable):
            parts.install()
        assert len(parts.outcomes) == 2  # those of the plan: the second stage never began

    def test_running_again_after_a_lost_link_converges(self) -> None:
        machine = Machine("one", cut=("b", "begin"))
        parts = Parts((stage("first", machine, facts=(Fact("a"), Fact("b"), Fact("c"))),))
        failure(parts)
        machine.cut = None
        assert [result.resource for result in parts.install().changed] == ["fact b", "fact c"]
        assert not parts.plan()

    def test_one_host_that_is_lost_is_told_as_it_is(self) -> None:
        machines = Machine("one", cut=("", "probes")), Machine("two")
        with pytest.raises(Unreachable) as caught:
            Parts((stage("first", *machines, facts=(Fact("a"),)),)).plan()
        assert caught.value.host == "one"

    def test_several_hosts_that_are_lost_are_told_together(self) -> None:
        machines = [Machine(name, cut=("", "probes")) for name in ("one", "two")] + [Machine("three")]
        with pytest.raises(HostErrors) as caught:
            Parts((stage("first", *machines, facts=(Fact("a"),)),)).plan()
        assert sorted(error.host for error in caught.value.errors if isinstance(error, Unreachable)) == ["one", "two"]

    def test_a_failed_change_does_not_hide_another_hosts_lost_link(self) -> None:
        failed, lost = Machine("failed", fails={"a": (1, b"")}), Machine("lost", cut=("a", "before"))
        error = failure(Parts((stage("first", failed, lost, facts=(Fact("a"),)),)))
        assert [str(other) for other in error.errors] == ["lost: the link was lost"]
        assert "lost: the link was lost" in str(error)

    @pytest.mark.parametrize(
        ("exit", "err", "text"),
        [
            (1, b"permission denied\n", "one: could not read the state of fact a: permission denied"),
            (1, b"", "one: could not read the state of fact a: no message"),
            (124, b"", "one: could not read the state of fact a: it took longer than 60 s"),
        ],
    )
    def test_a_probe_that_fails_is_an_error_and_not_an_absence(self, exit: int, err: bytes, text: str) -> None:
        machine = Machine("one", broken={"a": (exit, err)})
        with pytest.raises(ProbeError) as caught:
            Parts((stage("first", machine, facts=(Fact("a"),)),)).install()
        assert str(caught.value) == f"{text} — mend what it says on that host, then run again"
        assert machine.state == {}

    def test_a_probe_that_fails_after_the_change_is_told(self) -> None:
        machine = Machine("one", {"b": "right"})

        def later(event: Event) -> None:
            if isinstance(event, Planned):
                machine.broken["b"] = (1, b"gone")

        with pytest.raises(ProbeError):
            Parts((stage("first", machine, facts=(Fact("a"), Fact("b"))),)).install(later)

    def test_a_change_that_took_too_long_says_so(self) -> None:
        machine = Machine("one", fails={"a": (124, b"busy")})
        error = failure(Parts((stage("first", machine, facts=(Slow("a"),)),)))
        assert "it was ended because it took longer than 0 s" in str(error)
