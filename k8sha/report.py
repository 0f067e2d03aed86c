"""What would happen, and what did: plain values that render as text and turn into JSON with :func:`attrs.asdict`."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import Enum

from attrs import frozen

__all__ = ["CLUSTER", "Change", "Diff", "Outcome", "Plan", "Report", "Result", "Status", "line_diff"]

CLUSTER = "(cluster)"
"""What stands in a host's place for what is on no host: an object of the API server. No host can be called so."""


@frozen
class Diff:
    """How a host differs from what is wanted, line by line. Empty, and so false, where nothing differs."""

    lines: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def __add__(self, other: Diff) -> Diff:
        return Diff(self.lines + other.lines)

    @classmethod
    def of(cls, *lines: str) -> Diff:
        return cls(tuple(lines))

    @classmethod
    def between(cls, what: str, seen: object, wanted: object) -> Diff:
        """One line that says how a value must change; empty where it is right already."""
        return cls() if seen == wanted else cls((f"{what}: {seen} -> {wanted}",))


def line_diff(seen: str, wanted: str, *, context: int = 1) -> tuple[str, ...]:
    """The changed lines of a text with a little context, as ``diff -u`` shows them, without its header."""
    lines = difflib.unified_diff(seen.splitlines(), wanted.splitlines(), lineterm="", n=context)
    return tuple(list(lines)[2:])


@frozen
class Change:
    """One resource on one host that an install would change, and how."""

    component: str
    stage: str
    host: str
    resource: str
    diff: Diff


@frozen
class Plan:
    """All that an install would change, in order; true where there is anything. ``waits`` are conditions that do not
    hold at present and that an install would wait for (they are not changes)."""

    changes: tuple[Change, ...] = ()
    waits: tuple[Change, ...] = ()
    trips: int = 0
    requests: int = 0
    """How many requests were put to the API server."""
    warnings: tuple[str, ...] = ()
    """What an operator should know and that stands in no one's way."""

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __add__(self, other: Plan) -> Plan:
        return Plan(
            self.changes + other.changes,
            self.waits + other.waits,
            self.trips + other.trips,
            self.requests + other.requests,
            self.warnings + other.warnings,
        )

    def __str__(self) -> str:
        if not self.changes and not self.waits:
            return "\n".join(["nothing to change", *(f"note: {text}" for text in self.warnings)])
        lines: list[str] = []
        last: tuple[str, str] | None = None
        for change in self.changes + self.waits:
            if last != (change.component, change.stage):
                last = (change.component, change.stage)
                lines.append(f"== {change.component}: {change.stage}")
            lines.append(f"  {change.host}: {change.resource}" + (" (is waited for)" if change in self.waits else ""))
            lines.extend(f"      {line}" for line in change.diff.lines)
        lines += [f"note: {text}" for text in self.warnings]
        hosts = len({change.host for change in self.changes} - {CLUSTER})
        lines.append(f"{len(self.changes)} change(s)" + (f" on {hosts} host(s)" if hosts or not self.changes else ""))
        return "\n".join(lines)


class Status(Enum):
    """What became of one resource on one host."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"
    FAILED = "failed"
    SKIPPED = "skipped"
    DIVERGED = "diverged"
    LOST = "lost"

    @property
    def bad(self) -> bool:
        return self in (Status.FAILED, Status.DIVERGED, Status.LOST)


@frozen
class Result:
    """What became of one resource on one host; ``seconds`` is the time that its change took on the host."""

    component: str
    stage: str
    host: str
    resource: str
    status: Status
    diff: Diff = Diff()
    seconds: float = 0.0
    exit: int = 0
    detail: str = ""

    def explain(self) -> str:
        """The status with its reason, in one sentence."""
        tail = self.detail.strip().splitlines()
        match self.status:
            case Status.FAILED:
                return f"failed with exit {self.exit}: " + ("\n      ".join(tail[-12:]) or "no message")
            case Status.DIVERGED:
                return "was carried out, and still differs: " + "; ".join(self.diff.lines[:6])
            case Status.LOST:
                return "the link was lost while it ran; it may have been carried out"
            case _:
                return str(self.status.value)


@frozen
class Report:
    """All results of an install, in order. ``trips`` is the number of programs sent to hosts, ``seconds`` wall time."""

    results: tuple[Result, ...] = ()
    trips: int = 0
    seconds: float = 0.0

    @property
    def changed(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status is Status.CHANGED)

    @property
    def ok(self) -> bool:
        return not any(result.status.bad for result in self.results)

    def __add__(self, other: Report) -> Report:
        return Report(self.results + other.results, self.trips + other.trips, self.seconds + other.seconds)

    def __str__(self) -> str:
        lines = [
            f"{result.status.value:>9} {result.seconds:6.1f} s  {result.host}: {result.resource}"
            for result in self.results
            if result.status is not Status.UNCHANGED
        ]
        same = sum(result.status is Status.UNCHANGED for result in self.results)
        lines.append(f"{len(self.changed)} changed, {same} unchanged, {self.trips} trips, {self.seconds:.1f} s")
        return "\n".join(lines)


@frozen
class Outcome:
    """What a stage saw last of each of its resources: how later stages learn what earlier ones made."""

    seen: tuple[tuple[str, str, bytes], ...] = ()

    def of(self, host: str, resource: str) -> bytes:
        """The last probe's output of a resource (by its key) on a host (by its name).

        Raises KeyError where the stage had no such resource: a mistake in the component.
        """
        for name, key, output in self.seen:
            if (name, key) == (host, resource):
                return output
        raise KeyError(f"{resource} on {host}")

    def __add__(self, other: Iterable[tuple[str, str, bytes]]) -> Outcome:
        return Outcome(self.seen + tuple(other))
