"""The arithmetic of outages, on histories made by hand."""

from __future__ import annotations

import math

import pytest

from acceptance.faults import Promise
from acceptance.history import (
    Gap,
    History,
    Outage,
    Request,
    WatchMark,
    gaps,
    outage,
    percentile,
    stall,
    watch_gaps,
)


def requests(pattern: str, *, interval: float = 0.05, took: float = 0.01, limit: float = 2.0) -> list[Request]:
    """A request a character on a grid: ``.`` answered, ``x`` timed out, ``r`` refused at once, ``s`` answered late."""
    found = []
    for number, character in enumerate(pattern):
        start = number * interval
        match character:
            case "x":
                found.append(Request(start, start, start + limit, "timed out"))
            case "r":
                found.append(Request(start, start, start + 0.001, "refused"))
            case "s":
                found.append(Request(start, start, start + 1.2))
            case _:
                found.append(Request(start, start, start + took))
    return found


def test_nothing_failed() -> None:
    seen = outage(requests("." * 100), 0, 5)
    assert (seen.total, seen.failed, seen.seconds, seen.errors) == (100, 0, 0.0, ())
    assert seen.gap == pytest.approx(0.05)
    assert seen.slowest == pytest.approx(0.01)
    assert seen.recovered


def test_an_outage_lasts_from_the_first_failure_to_the_success_after_the_last() -> None:
    seen = outage(requests("." * 20 + "x" * 10 + "." * 70), 0, 5)
    assert seen.failed == 10
    assert seen.seconds == pytest.approx(0.5)
    assert seen.gap == pytest.approx(0.55)
    assert seen.errors == (("timed out", 10),)


def test_requests_that_hang_do_not_hide_that_later_ones_were_answered() -> None:
    """Those that hang end after 2 s; by then the service has been back for 1.5 s."""
    seen = outage(requests("x" * 10 + "." * 90), 0, 5)
    assert seen.seconds == pytest.approx(0.5)


def test_failures_with_successes_between_them_are_one_outage() -> None:
    seen = outage(requests("." * 10 + "x..x..x.." + "." * 81), 0, 5)
    assert seen.failed == 3
    assert seen.seconds == pytest.approx(7 * 0.05)


def test_two_seconds_of_success_end_an_outage_and_the_longest_counts() -> None:
    seen = outage(requests("." * 10 + "x" * 10 + "." * 60 + "x..x" + "." * 60), 0, 8)
    assert seen.failed == 12
    assert seen.outages == 2
    assert seen.seconds == pytest.approx(0.5)


def test_a_service_that_fails_to_the_end_did_not_recover() -> None:
    seen = outage(requests("." * 20 + "x" * 80), 0, 5)
    assert seen.seconds is None
    assert not seen.recovered


def test_one_success_at_the_end_is_no_recovery() -> None:
    """A third of the requests fails for ever: the last one may well be answered."""
    assert outage(requests("x.." * 40), 0, 6).seconds is None


def test_two_quiet_seconds_are_a_recovery_and_less_are_not() -> None:
    assert outage(requests("x" + "." * 41), 0, 2.0).seconds == pytest.approx(0.05)
    assert outage(requests("x" + "." * 38), 0, 1.95).seconds is None


def test_late_answers_show_in_the_gap_and_not_as_an_outage() -> None:
    seen = outage(requests("." * 20 + "s" * 20 + "." * 60), 0, 5)
    assert (seen.failed, seen.seconds) == (0, 0.0)
    assert seen.slowest == pytest.approx(1.2)
    assert seen.gap == pytest.approx(1.05)  # from the last early answer to the first after the late ones


def test_only_requests_that_started_in_the_window_count() -> None:
    seen = outage(requests("x" * 20 + "." * 100), 1.0, 6)
    assert (seen.total, seen.failed) == (100, 0)


def test_kinds_of_failures_are_counted_most_frequent_first() -> None:
    assert outage(requests("r" * 3 + "x" * 5 + "." * 92), 0, 5).errors == (("timed out", 5), ("refused", 3))


def test_an_outage_in_words() -> None:
    assert str(outage(requests("r" * 3 + "x" * 5 + "." * 92), 0, 5)) == (
        "8 of 100 requests failed (5 timed out, 3 refused)"
    )
    assert str(outage(requests("." * 100), 0, 5)) == "0 of 100 requests failed"


def test_an_empty_window() -> None:
    assert outage([], 0, 3) == Outage(0, 0, 0.0, 3, 0.0)


def test_gaps_count_the_edges() -> None:
    assert gaps([1.0, 1.1, 3.0], 0.0, 4.0, 0.5) == (Gap(0.0, 1.0), Gap(1.1, 3.0), Gap(3.0, 4.0))
    assert gaps([], 0.0, 1.0, 0.5) == (Gap(0.0, 1.0),)
    assert gaps([-1.0, 9.0], 0.0, 0.4, 0.5) == ()


def test_a_write_stall_is_between_acknowledgements() -> None:
    writes = [Request(at, at, at + took, error) for at, took, error in
              ((0.0, 0.1, ""), (0.1, 2.0, "timed out"), (0.2, 1.6, ""), (0.3, 1.6, ""))]  # fmt: skip
    assert stall(writes, 0.0, 2.0) == pytest.approx(1.7)
    assert stall([], 0.0, 2.0) == 2.0


def test_a_watch_is_silent_between_events_and_reconnecting_is_no_event() -> None:
    marks = [
        WatchMark(0.1, "event"),
        WatchMark(0.2, "event"),
        WatchMark(1.0, "closed", "closed"),
        WatchMark(1.1, "open"),
    ]
    marks += [WatchMark(2.2, "event"), WatchMark(2.3, "event")]
    assert watch_gaps(marks, 0.0, 2.5) == (Gap(0.2, 2.2),)


def test_a_history_can_be_cut() -> None:
    seen = History(tuple(requests("." * 100)), (), (WatchMark(1.0, "event"),), (Gap(0.9, 1.2), Gap(3.0, 3.1)))
    part = seen.between(1.0, 2.0)
    assert len(part.probes) == 20
    assert (len(part.watch), part.blind) == (1, (Gap(0.9, 1.2),))


def test_percentiles() -> None:
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([3.0, 1.0], 1.0) == 3.0
    assert math.isnan(percentile([], 0.5))


def test_a_promise_names_everything_that_breaks_it() -> None:
    promise = Promise(outage=0.5, failed=2, write_stall=2.0, watch_gap=5.0)
    kept = outage(requests("." * 10 + "xx" + "." * 88), 0, 5)
    assert promise.broken(kept, 1.9, 4.9) == ()
    assert promise.broken(kept, None, None) == ()
    worse = outage(requests("." * 10 + "x" * 12 + "." * 78), 0, 5)
    assert promise.broken(worse, 2.5, 6.0) == (
        "requests failed for 0.60 s; promised are at most 0.5 s",
        "12 of 100 requests failed; promised are at most 2",
        "no write was acknowledged for 2.50 s; promised are at most 2 s",
        "the watch was told nothing for 6.00 s; promised are at most 5 s",
    )
    never = outage(requests("x" * 100), 0, 5)
    assert "the service did not recover; promised within 0.5 s" in promise.broken(never, None, None)
    assert Promise().broken(never, 9.0, 9.0) == ()


def test_a_promise_in_words() -> None:
    assert str(Promise(failed=0, watch_gap=5)) == "no request fails; a watch is silent for at most 5 s"
    assert str(Promise(outage=0.8)) == "requests fail for at most 0.8 s"
