"""What happens while k8sha works, one frozen class each. A listener is any callable that takes one of them.

It is always called in the thread that called ``plan``, ``install`` or ``verify``, so it needs no lock.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable

from attrs import frozen

from k8sha.report import Diff, Result

__all__ = [
    "Began",
    "Checked",
    "Connected",
    "Event",
    "Finished",
    "Listener",
    "Planned",
    "StageBegan",
    "StageEnded",
    "Uploaded",
    "Waiting",
    "Warned",
    "ignore",
    "warn",
]


@frozen
class Connected:
    """A host let us in."""

    host: str


@frozen
class StageBegan:
    """A stage of a component begins, on these hosts."""

    component: str
    stage: str
    hosts: tuple[str, ...]


@frozen
class StageEnded:
    """A stage has ended; ``seconds`` is its wall time."""

    component: str
    stage: str
    seconds: float


@frozen
class Planned:
    """A resource differs from what is wanted."""

    component: str
    stage: str
    host: str
    resource: str
    diff: Diff


@frozen
class Uploaded:
    """``sent`` of ``total`` bytes of a resource's payload have reached the host."""

    host: str
    resource: str
    sent: int
    total: int


@frozen
class Began:
    """A change begins on a host."""

    host: str
    resource: str


@frozen
class Finished:
    """A change ended on a host."""

    result: Result


@frozen
class Waiting:
    """A condition is waited for; ``last`` says what is still wrong, ``waited`` is in seconds."""

    check: str
    last: str
    waited: float


@frozen
class Checked:
    """``verify`` looked at one thing; ``problem`` is empty where it is right, ``detail`` is what was seen."""

    check: str
    problem: str
    detail: str
    seconds: float


@frozen
class Warned:
    """Something that an operator should know and that stands in no one's way: an end-of-life version, say."""

    component: str
    text: str


Event = Warned | Connected | StageBegan | StageEnded | Planned | Uploaded | Began | Finished | Waiting | Checked
Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """The listener of a caller who doesn't listen."""


def warn(component: str, text: str, listen: Listener) -> None:
    """Tell the listener, and the log ``k8sha``: that once in a process, however often the same is found."""
    _log(component, text)
    listen(Warned(component, text))


@functools.cache
def _log(component: str, text: str) -> None:
    logging.getLogger("k8sha").warning("%s: %s", component, text)
