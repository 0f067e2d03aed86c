"""A ready listener that shows an install live: a line per host on a terminal, plain lines elsewhere.

An optional extra, ``k8sha[progress]``: it is drawn with rich, which loads when a :class:`Progress` is entered.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

from attrs import define, field

from k8sha.events import (
    Began,
    Checked,
    Connected,
    Event,
    Finished,
    Planned,
    StageBegan,
    StageEnded,
    Uploaded,
    Waiting,
    Warned,
)
from k8sha.report import Status

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.table import Table

__all__ = ["Progress"]

_MARKS = {
    Status.CHANGED: ("✔", "green"),
    Status.FAILED: ("✘", "red"),
    Status.DIVERGED: ("✘", "red"),
    Status.LOST: ("?", "red"),
    Status.SKIPPED: ("-", "dim"),
    Status.UNCHANGED: ("·", "dim"),
}


@define
class _Row:
    """What one host is at. Mutable: it changes with every event."""

    component: str = ""
    stage: str = ""
    done: bool = False
    now: str = ""
    since: float = 0.0
    changed: int = 0
    bad: int = 0
    sent: int = 0
    total: int = 0
    waiting: str = ""


@define
class Progress:
    """Shows what happens. Use it as a context manager, and give it to ``plan``, ``install`` or ``verify``.

    >>> with Progress() as progress:  # doctest: +SKIP
    ...     cluster.install(progress)

    ``console`` is a rich Console, by default one on stderr; where that is no terminal, each change is a line of text.
    ``warned`` are the warnings that were shown: none is twice. Give several the same one, and they share that.
    """

    console: Console | None = None
    warned: set[Warned] = field(factory=set, kw_only=True, repr=False)
    _rows: dict[str, _Row] = field(factory=dict, init=False)
    _live: Live | None = field(default=None, init=False)
    _began: float = field(default=0.0, init=False)
    _foot: str = field(default="", init=False)
    _told: dict[str, float] = field(factory=dict, init=False)

    def __enter__(self) -> Progress:
        from rich.console import Console
        from rich.live import Live

        if self.console is None:
            self.console = Console(stderr=True)
        self._began = time.monotonic()
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self._table, refresh_per_second=8)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._foot = ""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def __call__(self, event: Event) -> None:
        """Take in an event. Called by k8sha, in the thread that called it."""
        match event:
            case Connected(host):
                row = self._rows.setdefault(host, _Row())
                row.stage = row.stage or "connected"
            case StageBegan(component, stage, hosts):
                for host in hosts:
                    row = self._rows.setdefault(host, _Row())
                    row.component, row.stage, row.done, row.now, row.waiting = component, stage, False, "", ""
            case StageEnded(component, stage, seconds):
                self._end_stage(component, stage, seconds)
            case Began(host, resource):
                row = self._rows.setdefault(host, _Row())
                row.now, row.since, row.waiting, row.total = resource, time.monotonic(), "", 0
            case Uploaded(host, resource, sent, total):
                row = self._rows.setdefault(host, _Row())
                row.now, row.sent, row.total = resource, sent, total
            case Finished(result):
                row = self._rows.setdefault(result.host, _Row())
                row.now, row.total = "", 0
                row.changed += result.status is Status.CHANGED
                row.bad += result.status.bad
                mark, style = _MARKS[result.status]
                self._line(f"{mark} {result.host}: {result.resource}", f"{result.seconds:.1f} s", style)
            case Waiting(check, last, waited):
                self._wait(check, last, waited)
            case Checked(check, problem, detail, seconds):
                mark, style = ("✘", "red") if problem else ("✔", "green")
                words = problem or detail
                self._line(f"{mark} {check}", f"{words}  {seconds:.1f} s" if words else f"{seconds:.1f} s", style)
                self._foot = check
            case Warned() if event in self.warned:
                return
            case Warned(component, text):
                self.warned.add(event)
                self._foot = f"{component}: {text}"
                self._line(f"! {component}", text, "yellow")
            case Planned():
                return

    def _end_stage(self, component: str, stage: str, seconds: float) -> None:
        for row in self._rows.values():
            if (row.component, row.stage) == (component, stage):
                row.done, row.now, row.waiting = True, "", ""
        self._line(f"  {component}: {stage}", f"{seconds:.1f} s", "dim")

    def _wait(self, check: str, last: str, waited: float) -> None:
        host, _, what = check.partition(": ")
        if host in self._rows and what:
            self._rows[host].waiting = f"{what} ({last.splitlines()[-1] if last else 'not yet'})"
        else:
            self._foot = f"{check}: {last}"
        if waited - self._told.get(check, -30.0) >= 30:  # on paper, one line a wait and half a minute
            self._told[check] = waited
            self._line(f"  waiting for {check}", f"{last.strip()[:200]}", "dim")

    def _line(self, text: str, tail: str, style: str) -> None:
        """On paper only: the table tells the same."""
        if self._live is None and self.console is not None:
            from rich.text import Text

            self.console.print(Text.assemble((text, style), "  ", (tail, "dim")), soft_wrap=True)

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        seconds = int(time.monotonic() - self._began)
        table = Table(
            box=box.SIMPLE_HEAD, expand=True, pad_edge=False, caption=Text(self._foot) if self._foot else None
        )
        table.add_column("host", no_wrap=True, style="bold")
        table.add_column("stage", no_wrap=True, ratio=3, overflow="ellipsis")
        table.add_column("now", no_wrap=True, ratio=5, overflow="ellipsis")
        table.add_column(f"{seconds // 60}:{seconds % 60:02d}", justify="right", no_wrap=True)
        table.add_column("changed", justify="right", no_wrap=True)
        for host, row in self._rows.items():
            changed = Text(str(row.changed), "green" if row.changed else "dim")
            if row.bad:
                changed = Text(f"{row.bad} failed", "bold red")
            table.add_row(host, Text(row.stage, "dim" if row.done else "cyan"), _now(row), _since(row), changed)
        return table


def _now(row: _Row) -> str:
    if row.total and row.sent < row.total:
        filled = 16 * row.sent // row.total
        size = f"{row.sent / 1e6:.0f} of {row.total / 1e6:.0f} MB"
        return f"[blue]{'━' * filled}[/][dim]{'━' * (16 - filled)}[/] {size}  {_plain(row.now)}"
    if row.waiting:
        return f"[yellow]waiting:[/] {_plain(row.waiting)}"
    return _plain(row.now)


def _since(row: _Row) -> str:
    return f"{time.monotonic() - row.since:.0f} s" if row.now and row.since else ""


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)
