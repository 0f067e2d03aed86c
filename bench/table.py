"""What was measured, as Markdown, and what it says about the targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen

from bench.measure import Kind, Run, Traffic, median

__all__ = ["Target", "render", "targets"]


@frozen
class Target:
    """Something that must hold, with what was measured."""

    what: str
    wanted: str
    measured: str
    holds: bool


@frozen
class _Cell:
    """All runs of one tool at one size and kind."""

    runs: tuple[Run, ...]

    @classmethod
    def of(cls, runs: Sequence[Run], tool: str, hosts: int, kind: Kind) -> _Cell:
        return cls(tuple(run for run in runs if (run.tool, run.hosts, run.kind) == (tool, hosts, kind)))

    @property
    def wall(self) -> float:
        return median(run.wall for run in self.runs)

    @property
    def cpu(self) -> float:
        """Milliseconds of the controller's CPU per host."""
        return 1000 * median(run.cpu / run.hosts for run in self.runs)

    @property
    def host_cpu(self) -> float:
        """Milliseconds of CPU on a host."""
        return 1000 * median(run.host_cpu / run.hosts for run in self.runs)

    def __str__(self) -> str:
        if not self.runs:
            return "–"
        each = "" if len(self.runs) == 1 else f" ×{len(self.runs)}"
        return f"{self.wall:.2f} s{each} ({self.cpu:.0f}/{self.host_cpu:.0f})"


def render(runs: Sequence[Run], traffic: Mapping[str, Traffic], tools: Mapping[str, str]) -> str:
    """Three tables: times, traffic, targets."""
    sizes = sorted({run.hosts for run in runs})
    lines = [
        "Wall time, median of the interleaved rounds (CPU in ms per host: the controller's, with imports and children",
        "/ the host's, with sshd).",
        "",
        "| | " + " | ".join(f"{size} host{'s' if size > 1 else ''}" for size in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for kind, label in ((Kind.NO_OP, "nothing to do"), (Kind.FIRST, "first run")):
        for tool, version in tools.items():
            cells = [str(_Cell.of(runs, tool, size, kind)) for size in sizes]
            lines.append(f"| {version}, {label} | " + " | ".join(cells) + " |")
    loads = [[run.load for run in runs if run.hosts == size] for size in sizes]
    lines.append(
        "| load average at the start of a run | " + " | ".join(f"{min(x):.1f}–{max(x):.1f}" for x in loads) + " |"
    )
    lines += ["", "| nothing to do, per host | round trips | bytes to host | bytes from host |", "|---|---|---|---|"]
    for tool, version in tools.items():
        if tool in traffic:
            seen = traffic[tool]
            lines.append(f"| {version} | {seen.trips} | {seen.sent:,} | {seen.received:,} |")
    return "\n".join(lines)


def targets(runs: Sequence[Run], traffic: Mapping[str, Traffic], hosts: int = 50) -> tuple[Target, ...]:
    """What the product promises at this many hosts, as far as it was measured."""
    ours = _Cell.of(runs, "k8sha", hosts, Kind.NO_OP)
    found: list[Target] = []
    if ours.runs:
        for tool, least in (("pyinfra", 3), ("ansible", 25)):
            theirs = _Cell.of(runs, tool, hosts, Kind.NO_OP)
            if theirs.runs:
                times = theirs.wall / ours.wall
                what = f"nothing to do, {hosts} hosts, against {tool}"
                found.append(Target(what, f"≥ {least} × faster", f"{times:.1f} ×", times >= least))
        what = f"controller CPU per host, {hosts} hosts"
        found.append(Target(what, "≤ 25 ms", f"{ours.cpu:.1f} ms", ours.cpu <= 25))
    if "k8sha" in traffic:
        trips = traffic["k8sha"].trips
        found.append(Target("round trips per host", "≤ 8", str(trips), trips <= 8))
    return tuple(found)
