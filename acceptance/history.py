"""What a client saw, and the arithmetic of outages. Plain values: no I/O, no clock of its own.

All times are seconds of this machine's monotonic clock, so those of the client's process and ours compare.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence

from attrs import frozen

__all__ = [
    "QUIET",
    "Gap",
    "History",
    "Outage",
    "Request",
    "WatchMark",
    "gaps",
    "in_flight",
    "outage",
    "percentile",
    "stall",
    "watch_gaps",
]

QUIET = 2.0
"""Seconds without a failure after which the service counts as recovered. At 20 requests a second a service that fails
a third of them has a chance of (2/3)**40, one in ten million, to pass for recovered."""


@frozen
class Request:
    """One request: when it was to start, did start, and ended; ``error`` is empty where it was answered as it should.

    ``backend`` is the serial number of the certificate that the server showed: which API server it was.
    """

    planned: float
    start: float
    end: float
    error: str = ""
    backend: str = ""

    @property
    def ok(self) -> bool:
        return not self.error

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@frozen
class WatchMark:
    """Something that happened to the watch: ``open``, ``event``, ``closed`` (detail: why) or ``relist``."""

    at: float
    kind: str
    detail: str = ""


@frozen
class Gap:
    """A time in which nothing came that should have come."""

    begin: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.begin


@frozen
class Outage:
    """What a client that opens a new connection at every tick of a fixed grid saw in a window of time.

    - ``total`` requests were started in the window, ``failed`` of them were not answered as they should within their
      time limit.
    - ``seconds``: from the start of the first request that failed to the start of the first request that succeeded and
      after which none failed for ``QUIET`` seconds. 0.0 where none failed. None where the service did not recover: no
      success follows the last failure, or the window ends less than ``QUIET`` seconds after that failure's start.
      Requests are ordered by their start, for they overlap: one that hangs until its limit does not hide that later
      ones were answered.
    - ``outages``: how many of these there were, with ``QUIET`` seconds of success between them; ``seconds`` is then the
      longest.
    - ``since``: when that one began, or the one that did not end, in seconds after the window's begin; None where none
      failed.
    - ``gap``: the longest time without a successful answer's end, the window's edges included. It also shows what
      ``seconds`` can't: a service that answers everything, late.
    - ``slowest``: seconds that the slowest successful answer took.
    - ``errors``: how often each kind of failure was seen, the most frequent first.
    """

    total: int
    failed: int
    seconds: float | None
    gap: float
    slowest: float
    errors: tuple[tuple[str, int], ...] = ()
    outages: int = 0
    since: float | None = None

    def __str__(self) -> str:
        kinds = ", ".join(f"{count} {kind}" for kind, count in self.errors)
        return f"{self.failed} of {self.total} requests failed" + (f" ({kinds})" if kinds else "")

    @property
    def recovered(self) -> bool:
        return self.seconds is not None


@frozen
class History:
    """Everything that the client recorded so far. ``blind`` are times in which the client itself could not run."""

    probes: tuple[Request, ...] = ()
    writes: tuple[Request, ...] = ()
    watch: tuple[WatchMark, ...] = ()
    blind: tuple[Gap, ...] = ()

    def between(self, begin: float, end: float) -> History:
        """What began in a window; the watch's and the blind times' part in it."""
        return History(
            tuple(request for request in self.probes if begin <= request.start < end),
            tuple(request for request in self.writes if begin <= request.start < end),
            tuple(mark for mark in self.watch if begin <= mark.at < end),
            tuple(gap for gap in self.blind if gap.end > begin and gap.begin < end),
        )


def outage(requests: Iterable[Request], begin: float, end: float, *, quiet: float = QUIET) -> Outage:
    """The outage that the requests which started in ``[begin, end)`` show. See :class:`Outage` for each figure."""
    seen = sorted((request for request in requests if begin <= request.start < end), key=lambda request: request.start)
    failures = [index for index, request in enumerate(seen) if not request.ok]
    answered = [request for request in seen if request.ok]
    spans = _spans(seen, failures, quiet)
    seconds: float | None = 0.0
    since: float | None = None
    if spans:
        recovered = failures[-1] + 1 < len(seen) and end - seen[failures[-1]].start >= quiet
        first, last = (
            max(spans, key=lambda span: seen[span[1] + 1].start - seen[span[0]].start) if recovered else spans[-1]
        )
        seconds = seen[last + 1].start - seen[first].start if recovered else None
        since = seen[first].start - begin
    return Outage(
        total=len(seen),
        failed=len(failures),
        seconds=seconds,
        gap=max((gap.seconds for gap in gaps([request.end for request in answered], begin, end, 0.0)), default=0.0),
        slowest=max((request.seconds for request in answered), default=0.0),
        errors=tuple(Counter(seen[index].error for index in failures).most_common()),
        outages=len(spans),
        since=since,
    )


def in_flight(requests: Iterable[Request], moment: float | None) -> tuple[Request, ...]:
    """Those that were under way at a moment, and failed: whoever was answering them fell silent then."""
    if moment is None:
        return ()
    return tuple(request for request in requests if not request.ok and request.start < moment <= request.end)


def _spans(seen: Sequence[Request], failures: Sequence[int], quiet: float) -> list[tuple[int, int]]:
    """The first and the last failure of each outage: less than ``quiet`` seconds lie between its failures."""
    spans: list[tuple[int, int]] = []
    for index in failures:
        if spans and seen[index].start - seen[spans[-1][1]].start < quiet:
            spans[-1] = (spans[-1][0], index)
        else:
            spans.append((index, index))
    return spans


def gaps(times: Iterable[float], begin: float, end: float, longer_than: float) -> tuple[Gap, ...]:
    """The times within ``[begin, end]`` in which none of ``times`` lies, if longer than so many seconds."""
    edges = [begin, *sorted(time for time in times if begin < time < end), end]
    found = (Gap(earlier, later) for earlier, later in itertools.pairwise(edges))
    return tuple(gap for gap in found if gap.seconds > longer_than)


def stall(writes: Sequence[Request], begin: float, end: float) -> float:
    """The longest time in ``[begin, end]`` without an acknowledged write, by the moment of the acknowledgement."""
    acknowledged = [write.end for write in writes if write.ok]
    return max((gap.seconds for gap in gaps(acknowledged, begin, end, 0.0)), default=0.0)


def watch_gaps(marks: Iterable[WatchMark], begin: float, end: float, *, longer_than: float = 0.5) -> tuple[Gap, ...]:
    """When the watch was told nothing for longer than so many seconds, though something happened all the time."""
    return gaps([mark.at for mark in marks if mark.kind == "event"], begin, end, longer_than)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed; NaN where there are none."""
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
