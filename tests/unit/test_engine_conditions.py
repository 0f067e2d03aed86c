"""Conditions: what is waited for, how long, and what is said meanwhile."""

from __future__ import annotations

import pytest

from k8sha.errors import (
    NotReady,
)
from k8sha.events import Event, Planned, Waiting

from .fake import Becomes, Fact, Machine, Parts, stage
from .odd import statuses


class TestConditions:
    def test_is_looked_at_until_it_holds(self) -> None:
        machine = Machine("one", {"a": "right"}, becomes={"up": ["", "no", "not yet", "right"]})
        told: list[Event] = []
        report = Parts((stage("first", machine, facts=(Fact("a"), Becomes("up", interval=0))),)).install(told.append)
        assert [event.last for event in told if isinstance(event, Waiting)] == [
            "up: no -> right",
            "up: not yet -> right",
        ]
        assert statuses(report.results)[-1] == ("one", "fact up", "unchanged")
        assert report.trips == 1 + 1 + 3

    def test_that_never_holds_carries_what_was_still_wrong(self) -> None:
        machine = Machine("one", {"up": "down"})
        with pytest.raises(NotReady) as caught:
            Parts((stage("first", machine, facts=(Becomes("up", patience=0, interval=0),)),)).install()
        assert (caught.value.check, caught.value.last) == ("one: fact up", "up: down -> right")

    def test_is_waited_for_where_nothing_changed(self) -> None:
        machine = Machine("one", {"a": "right"})
        with pytest.raises(NotReady):
            Parts((stage("first", machine, facts=(Fact("a"), Becomes("up", patience=0))),)).install()

    def test_whose_look_fails_is_not_ready_rather_than_an_error(self) -> None:
        machine = Machine("one", {"up": "down"})

        def later(event: Event) -> None:
            if isinstance(event, Planned):
                machine.broken["up"] = (7, b"connection refused")

        with pytest.raises(NotReady) as caught:
            Parts((stage("first", machine, facts=(Becomes("up", patience=0),)),)).install(later)
        assert caught.value.last == "connection refused"
