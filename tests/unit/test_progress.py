"""What an operator sees of an install: lines on paper, a table on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from k8sha.events import (
    Began,
    Checked,
    Connected,
    Event,
    Finished,
    StageBegan,
    StageEnded,
    Uploaded,
    Waiting,
    Warned,
)
from k8sha.progress import Progress
from k8sha.report import Diff, Result, Status

ODD = "said [/registry] of [bold]"
"""What a host may say, and rich would take for markup: an end of what never began."""

EVENTS: tuple[Event, ...] = (
    Connected("one"),
    StageBegan("Part", "prepare", ("one", "two")),
    Began("one", "file /etc/x"),
    Uploaded("one", "images", 1_000_000, 2_000_000),
    Finished(Result("Part", "prepare", "one", "file /etc/x", Status.CHANGED, Diff(("+ x",)), 1.5)),
    Finished(Result("Part", "prepare", "two", "file /etc/x", Status.FAILED, Diff(("+ x",)), 0.5, 1, ODD)),
    Waiting("two: node is Ready", ODD, 31.0),
    Waiting("all are there", ODD, 31.0),
    Warned("Part", ODD),
    Checked("it is whole", "", ODD, 0.2),
    Checked("it is quick", ODD, "", 0.2),
    StageEnded("Part", "prepare", 2.0),
)


def shown(*, terminal: bool) -> str:
    paper = io.StringIO()
    console = Console(file=paper, force_terminal=terminal, width=120, color_system=None, _environ={"TERM": "xterm"})
    with Progress(console) as progress:
        for event in EVENTS:
            progress(event)
            if progress._live is not None:
                progress._live.refresh()
    return paper.getvalue()


def test_on_paper_every_change_wait_and_check_is_a_line() -> None:
    assert shown(terminal=False).splitlines() == [
        "✔ one: file /etc/x  1.5 s",
        "✘ two: file /etc/x  0.5 s",
        f"  waiting for two: node is Ready  {ODD}",
        f"  waiting for all are there  {ODD}",
        f"! Part  {ODD}",
        f"✔ it is whole  {ODD}  0.2 s",
        f"✘ it is quick  {ODD}  0.2 s",
        "  Part: prepare  2.0 s",
    ]


def test_on_a_terminal_whatever_a_host_says_is_shown_as_it_is() -> None:
    text = shown(terminal=True)
    assert "one" in text
    assert ODD in text


def test_a_warning_is_shown_once_also_by_several_that_share_what_was_shown() -> None:
    paper = io.StringIO()
    warned: set[Warned] = set()
    for _ in range(2):
        with Progress(Console(file=paper, width=120), warned=warned) as progress:
            for _ in range(2):
                progress(Warned("Part", "is of an odd kind"))
    assert paper.getvalue() == "! Part  is of an odd kind\n"
