"""Questions that one process answers for many probes at once: to start one costs a host a millisecond, and a program of
many libraries ten.

A survey is a help and no more. It runs in the process that probes share, before them; each finds what it told in a
shell variable, and asks on its own what it does not find there.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from attrs import frozen

__all__ = ["Survey", "surveyed"]


@frozen
class Survey:
    """``text`` is POSIX sh that prints what it can tell of its arguments, without an error for what it can't.

    What it printed is in the shell variable ``name``, after one newline and before another.
    """

    name: str
    text: str


def surveyed(asked: Iterable[tuple[Survey, str]]) -> str:
    """Shell that carries out surveys, each once for all that is asked of it; none for a single question."""
    items: dict[Survey, dict[str, None]] = {}
    for survey, item in asked:
        items.setdefault(survey, {})[item] = None
    return "".join(_carried_out(survey, tuple(of)) for survey, of in items.items() if len(of) > 1)


def _carried_out(survey: Survey, items: tuple[str, ...]) -> str:
    return f"""\
{survey.name}="
$(exec 2>/dev/null; set -- {" ".join(shlex.quote(item) for item in items)}
{survey.text})
"
"""
