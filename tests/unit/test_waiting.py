"""The one wait loop: how long, how often, and what it says in the end."""

from __future__ import annotations

import pytest

from k8sha.errors import NotReady, Unreachable
from k8sha.waiting import Check, NotYet, wait_for


def check(*answers: str | Exception) -> Check:
    left = list(answers)

    def look() -> str:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Check("the door is open", look)


def test_returns_what_the_last_look_saw() -> None:
    pauses: list[float] = []
    seen = wait_for(check(NotYet("shut"), NotYet("ajar"), "open"), timeout=60, interval=2.5, pause=pauses.append)
    assert seen == "open"
    assert pauses == [2.5, 2.5]


def test_tells_of_every_look_that_found_it_not_so() -> None:
    told: list[tuple[str, str]] = []
    wait_for(
        check(NotYet("shut"), NotYet("ajar"), "open"),
        timeout=60,
        tell=lambda sentence, last, waited: told.append((sentence, last)),
        pause=lambda seconds: None,
    )
    assert told == [("the door is open", "shut"), ("the door is open", "ajar")]


def test_says_what_was_still_wrong_when_the_time_was_over() -> None:
    with pytest.raises(NotReady) as caught:
        wait_for(check(NotYet("shut")), timeout=0)
    assert (caught.value.check, caught.value.last) == ("the door is open", "shut")
    assert str(caught.value).startswith("waited 0 s for: the door is open; still: shut — ")


def test_looks_once_at_least() -> None:
    assert wait_for(check("open"), timeout=0) == "open"


@pytest.mark.parametrize("error", [Unreachable("one", "gone"), ZeroDivisionError()])
def test_waits_for_nothing_but_not_yet(error: Exception) -> None:
    with pytest.raises(type(error)):
        wait_for(check(NotYet("shut"), error, "open"), timeout=60, pause=lambda seconds: None)
