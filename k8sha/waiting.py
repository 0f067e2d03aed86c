"""The one wait loop. A :class:`Check` is a sentence and one look; waiting is done here and nowhere else."""

from __future__ import annotations

import time
from collections.abc import Callable

from attrs import frozen

from k8sha.errors import NotReady

__all__ = ["Check", "NotYet", "wait_for"]


class NotYet(Exception):
    """What a look raises while the thing is not so yet; its text says what is still wrong."""


@frozen
class Check:
    """A condition, said as a sentence, and one look at it.

    ``look`` returns what it saw (a short text for reports), or raises :class:`NotYet`. Any other exception is not
    waited for: it flies.
    """

    sentence: str
    look: Callable[[], str]


def wait_for(
    check: Check,
    *,
    timeout: float,
    interval: float = 0.5,
    tell: Callable[[str, str, float], None] | None = None,
    pause: Callable[[float], None] = time.sleep,
) -> str:
    """Look until the check holds, at most ``timeout`` seconds with ``interval`` seconds between looks.

    Returns what the last look saw. Raises :class:`~k8sha.errors.NotReady` with the last :class:`NotYet` once the time
    is over. ``tell(sentence, last, waited)`` hears of every look that found it not so; ``pause`` passes the time
    between two.
    """
    import tenacity

    began = time.monotonic()

    def before_sleep(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if tell is not None:
            tell(check.sentence, str(error), time.monotonic() - began)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(NotYet),
        stop=tenacity.stop_after_delay(timeout),
        wait=tenacity.wait_fixed(interval),
        before_sleep=before_sleep,
        sleep=pause,
        reraise=True,
    )
    try:
        return retrying(check.look)
    except NotYet as error:
        raise NotReady(check.sentence, time.monotonic() - began, str(error)) from None
