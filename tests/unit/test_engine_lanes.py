"""Components side by side, and where they wait for each other."""

from __future__ import annotations

import threading

import pytest

from k8sha.errors import (
    ApplyError,
    NotReady,
)
from k8sha.events import Event, StageBegan, StageEnded
from k8sha.stage import Stage
from k8sha.verbs import install

from .fake import Becomes, Fact, Machine, Parts, stage
from .odd import Meets, statuses


def stages_in_order(*parts: Parts) -> list[str]:
    """Which of their stages began and ended, in that order, while they were installed."""
    order: list[str] = []

    def listen(event: Event) -> None:
        match event:
            case StageBegan(component, name, _) | StageEnded(component, name, _) if component != "Preflight":
                order.append(f"{type(event).__name__} {name}")

    install(parts, listen)
    return order


class TestLanes:
    def test_what_is_early_runs_beside_what_comes_before(self) -> None:
        slow, quick = Machine("slow"), Machine("quick")
        together = threading.Barrier(2)
        first = Parts((stage("first", slow, facts=(Meets("a", together),)),), title="x")
        early = Stage("early", {quick.host: (Meets("b", together),)}, early=True)
        second = Parts((early, stage("late", quick, facts=(Fact("c"),))), title="y", early=True)
        order = stages_in_order(first, second)
        assert order[-2:] == ["StageBegan late", "StageEnded late"]
        assert set(order[:2]) == {"StageBegan early", "StageBegan first"}

    def test_what_is_not_early_waits_for_what_comes_before(self) -> None:
        machines = Machine("one"), Machine("two")
        parts = [
            Parts((stage(title, machine, facts=(Fact("a"),)),), title=title)
            for title, machine in zip("xy", machines, strict=True)
        ]
        order: list[str] = []
        install(parts, lambda event: order.append(event.stage) if isinstance(event, StageBegan) else None)
        assert order == ["preflight", "x", "y"]

    def test_early_stages_of_whom_a_component_yields_to_go_first_and_the_rest_beside_its_own(self) -> None:
        slow, quick = Machine("slow"), Machine("quick")
        together = threading.Barrier(2)
        stages = (
            Stage("early of x", {slow.host: (Fact("a"),)}, early=True),
            stage("late of x", slow, facts=(Meets("b", together),)),
        )
        first = Parts(stages, title="x", early=True)
        early = Stage("early of y", {quick.host: (Meets("c", together),)}, early=True)
        second = Parts((early,), title="y", early=True, first=(first,))
        order = stages_in_order(first, second)
        assert order[:2] == ["StageBegan early of x", "StageEnded early of x"]
        assert set(order[2:4]) == {"StageBegan late of x", "StageBegan early of y"}

    def test_where_whom_a_component_yields_to_has_failed_its_own_stages_do_not_begin(self) -> None:
        bad, good = Machine("bad", fails={"a": (1, b"")}), Machine("good")
        first = Parts((Stage("first", {bad.host: (Fact("a"),)}, early=True),), title="x", early=True)
        second = Parts((Stage("second", {good.host: (Fact("b"),)}, early=True),), title="y", early=True, first=(first,))
        with pytest.raises(ApplyError):
            install([first, second])
        assert good.state == {}

    def test_a_lane_that_failed_lets_no_other_begin_a_stage(self) -> None:
        bad, good = Machine("bad", fails={"a": (1, b"")}), Machine("good")
        parts = [
            Parts((stage("first", bad, facts=(Fact("a"),)),), title="x"),
            Parts((stage("second", good, facts=(Fact("b"),)),), title="y"),
        ]
        with pytest.raises(ApplyError) as caught:
            install(parts)
        assert good.state == {}
        assert statuses(caught.value.report.results) == [("bad", "fact a", "failed")]

    def test_errors_of_several_lanes_are_all_told(self) -> None:
        bad, late = Machine("bad"), Machine("late", {"up": "down"})
        begun = threading.Barrier(2)
        first = Parts((stage("first", bad, facts=(Meets("a", begun),)),), title="x")
        bad.fails["a"] = (1, b"broken")
        second = Parts(
            (Stage("second", {late.host: (Meets("b", begun), Becomes("up", patience=0))}, early=True),),
            title="y",
            early=True,
        )
        with pytest.raises(ApplyError) as caught:
            install([first, second])
        assert "broken" in str(caught.value)
        assert [type(error) for error in caught.value.errors] == [NotReady]
