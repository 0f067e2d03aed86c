"""What an operator sees while a certification runs: a live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from k8sha.events import Warned
from k8sha.progress import Progress

from .record import Verdict

__all__ = ["Tell"]

_MARKS: dict[Verdict, str] = {"kept": "[green]✔[/]", "broken": "[bold red]✘[/]", "error": "[yellow]![/]"}


class Tell:
    """Says what happens on a console. Its ``wait`` can be given to every wait of k8sha."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._status: Status | None = None
        self._began = 0.0
        self._title = ""
        self._told = ""
        self._at = 0.0
        self._warned: set[Warned] = set()

    def say(self, text: str) -> None:
        """A line for the record."""
        self.console.print(f"[dim]{escape(text)}[/]", soft_wrap=True, highlight=False)

    def begin(self, title: str, promise: str) -> None:
        """Something is put to the test now."""
        self._began, self._title, self._told = time.monotonic(), title, ""
        if self.console.is_terminal:
            self._show(promise)
        else:
            self.console.print(f"{title} ({promise}) ...", soft_wrap=True, highlight=False, markup=False)

    def end(self, title: str, verdict: Verdict, figures: str) -> None:
        """It is over."""
        self._hide()
        took = time.monotonic() - self._began
        self.console.print(
            f"{_MARKS[verdict]} [bold]{escape(title)}[/]  {escape(figures)}  [dim]{took:.0f} s[/]",
            soft_wrap=True,
            highlight=False,
        )

    def wait(self, check: str, last: str, waited: float) -> None:
        """Something is waited for: seen on a terminal at once, elsewhere twice a minute."""
        text = " ".join(f"{check}: {last}".split())[:240]
        if self.console.is_terminal:
            self._show(text)
        elif waited >= 30 and (text != self._told or time.monotonic() - self._at >= 30):
            self._told, self._at = text, time.monotonic()
            self.console.print(f"  {waited:.0f} s: {text}", soft_wrap=True, highlight=False, markup=False)

    @contextmanager
    def progress(self) -> Iterator[Progress]:
        """A listener for ``install`` and ``verify``."""
        self._hide()
        with Progress(self.console, warned=self._warned) as progress:
            yield progress

    def _show(self, text: str) -> None:
        first = (text.strip().splitlines() or [""])[0]
        line = f"[bold]{escape(self._title)}[/]  [dim]{escape(first[:160])}[/]"
        if self._status is None:
            self._status = self.console.status(line, spinner="dots")
            self._status.start()
        else:
            self._status.update(line)

    def _hide(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None
