"""The picture of one fault: what a client saw, second by second, as inline SVG.

Colours are classes, so that the page around it decides on light and dark. Where a window is long, its beginning is
drawn on a wider scale than the rest, with a line between the two: an outage of half a second must not be a hairline.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from attrs import frozen

from .record import Run, Timeline

__all__ = ["Scale", "picture"]

WIDTH, LEFT, RIGHT = 960.0, 104.0, 950.0
TOP = 40.0
FOCUS_SHARE = 0.66
"""The part of the width that the beginning gets where two scales are used."""

SLOW = 0.5
"""A success that took longer than so many seconds is drawn as slow."""

Requests = Sequence[tuple[float, float, str]]


@frozen
class Scale:
    """From seconds after the fault to horizontal places; ``split`` is where the scale changes, None if it doesn't."""

    begin: float
    end: float
    split: float | None = None

    @classmethod
    def of(cls, timeline: Timeline) -> Scale:
        """Two scales for windows over 15 s: the first shows the fault and, if it is not too long, the outage."""
        begin, end = timeline.begin, timeline.end
        if end - begin <= 15:
            return cls(begin, end)
        last = max((start for start, _, error in timeline.probes if error and start < timeline.healing), default=0.0)
        return cls(begin, end, min(max(4.0, last + 1.5), begin + (end - begin) * 0.6))

    def x(self, at: float) -> float:
        """Where a moment is drawn."""
        width = RIGHT - LEFT
        if self.split is None:
            return LEFT + width * (at - self.begin) / (self.end - self.begin)
        edge = LEFT + width * FOCUS_SHARE
        if at <= self.split:
            return LEFT + (edge - LEFT) * (at - self.begin) / (self.split - self.begin)
        return edge + (RIGHT - edge) * (at - self.split) / (self.end - self.split)

    def ticks(self) -> list[float]:
        """Round moments for the axis, not closer to each other than 46 units."""
        parts = [(self.begin, self.end)] if self.split is None else [(self.begin, self.split), (self.split, self.end)]
        found: list[float] = []
        for begin, end in parts:
            step = _round_step(46 * (end - begin) / max(1.0, self.x(end) - self.x(begin + 1e-9)))
            number = math.ceil(begin / step)
            while number * step <= end:
                at = number * step
                if not found or self.x(at) - self.x(found[-1]) >= 40:
                    found.append(at)
                number += 1
        return found


def _round_step(least: float) -> float:
    for step in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300):
        if step >= least:
            return step
    return 600


def picture(run: Run, title: str) -> str:
    """The SVG of a run: new connections, writes and the watch, with the fault's beginning and end."""
    timeline, scale = run.timeline, Scale.of(run.timeline)
    lanes: list[str] = []
    y = TOP
    lanes.append(_requests(timeline.probes, scale, y, 76, "connections"))
    lanes.append(_bracket(run, scale, y))
    y += 76 + 14
    if timeline.writes:
        lanes.append(_requests(timeline.writes, scale, y, 34, "writes"))
        y += 34 + 14
    if run.watch_gap is not None:
        lanes.append(_watch(timeline, scale, y))
        y += 12 + 10
    bottom = y
    parts = [
        f'<svg class="timeline" viewBox="0 0 {WIDTH:g} {bottom + 26:g}" role="img" aria-label="{escape(title)}">',
        f"<title>{escape(title)}</title>",
        _band(timeline, scale, bottom),
        *lanes,
        _axis(scale, bottom),
        "</svg>",
    ]
    return "".join(parts)


def _requests(requests: Requests, scale: Scale, y: float, height: float, label: str) -> str:
    """A bar a request, at its start: higher if it took longer, full height if it failed."""
    base = y + height
    bars: dict[str, dict[float, float]] = {"ok": {}, "slow": {}, "bad": {}}
    for start, seconds, error in requests:
        kind = "bad" if error else "slow" if seconds > SLOW else "ok"
        place = round(scale.x(start) * 2) / 2
        # From a millisecond (a seventh of the height) to two seconds (nearly all of it), logarithmic.
        share = 1.0 if error else min(0.92, 0.14 + 0.78 * max(0.0, math.log10(max(seconds, 1e-3) * 1000)) / 3.3)
        bars[kind][place] = max(bars[kind].get(place, 0.0), share * height)
    paths = []
    for kind, found in bars.items():
        drawn = "".join(f"M{place:g} {base:g}v-{tall:.1f}" for place, tall in sorted(found.items()))
        paths += [f'<path class="{kind}" d="{drawn}"/>'] if drawn else []
    return _label(label, y + height / 2) + f'<path class="base" d="M{LEFT:g} {base:g}H{RIGHT:g}"/>' + "".join(paths)


def _bracket(run: Run, scale: Scale, y: float) -> str:
    """Over the longest outage, or the one that did not end: from its first failure to the recovery, with its length in
    words. Requests that were lost in flight are none."""
    begin, seconds = run.during.since, run.during.seconds
    if begin is None:
        return ""
    end = run.timeline.healing if seconds is None else begin + seconds
    left, right = scale.x(begin), max(scale.x(end), scale.x(begin) + 3)
    words = "no recovery" if seconds is None else f"{seconds:.2f} s"
    anchor, at = ("start", right + 6) if right < 820 else ("end", left - 6)
    return (
        f'<path class="bracket" d="M{left:.1f} {y - 2:g}v-5H{right:.1f}v5"/>'
        f'<text class="figure" x="{at:.1f}" y="{y - 3:g}" text-anchor="{anchor}">{words}</text>'
    )


def _watch(timeline: Timeline, scale: Scale, y: float) -> str:
    """A line while the watch is told news, and each silence with its length."""
    parts = [_label("watch", y + 6)]
    at = timeline.begin
    for begin, end in (*timeline.watch_gaps, (timeline.end, timeline.end)):
        if begin > at:
            parts.append(
                f'<rect class="told" x="{scale.x(at):.1f}" y="{y + 3:g}" '
                f'width="{scale.x(begin) - scale.x(at):.1f}" height="6" rx="3"/>'
            )
        if end > begin:
            left, right = scale.x(begin), scale.x(end)
            parts.append(f'<path class="silent" d="M{left:.1f} {y + 6:g}H{right:.1f}"/>')
            if right - left > 44:
                parts.append(
                    f'<text class="small" x="{(left + right) / 2:.1f}" y="{y + 2:g}" text-anchor="middle">'
                    f"silent {end - begin:.1f} s</text>"
                )
        at = end
    return "".join(parts)


def _band(timeline: Timeline, scale: Scale, bottom: float) -> str:
    """The time in which the fault was in place."""
    left, right = scale.x(0), scale.x(timeline.healing)
    words = [
        f'<rect class="band" x="{left:.1f}" y="14" width="{max(1.0, right - left):.1f}" height="{bottom - 14:g}"/>',
        f'<path class="edge" d="M{left:.1f} 14V{bottom:g}M{right:.1f} 14V{bottom:g}"/>',
        f'<text class="event" x="{left:.1f}" y="10">broken</text>',
    ]
    if right - left > 90:
        words.append(f'<text class="event" x="{min(right, RIGHT - 30):.1f}" y="10" text-anchor="middle">healed</text>')
    if scale.split is not None:
        edge = scale.x(scale.split)
        words.append(f'<path class="split" d="M{edge:.1f} 14V{bottom + 8:g}"/>')
    return "".join(words)


def _axis(scale: Scale, bottom: float) -> str:
    words: Iterable[str] = (
        f'<path class="tick" d="M{scale.x(at):.1f} {bottom:g}v4"/>'
        f'<text class="small" x="{scale.x(at):.1f}" y="{bottom + 17:g}" text-anchor="middle">{at:g} s</text>'
        for at in scale.ticks()
    )
    return f'<path class="axis" d="M{LEFT:g} {bottom:g}H{RIGHT:g}"/>' + "".join(words)


def _label(text: str, y: float) -> str:
    return f'<text class="label" x="{LEFT - 12:g}" y="{y + 4:g}" text-anchor="end">{text}</text>'
