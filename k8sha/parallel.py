"""Doing one thing on many hosts at once, while the caller's own thread tells its listener what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue
from typing import TypeVar

from k8sha.errors import HostErrors, K8shaError
from k8sha.events import Event, Listener

__all__ = ["PARALLEL", "in_parallel"]

T = TypeVar("T")

PARALLEL = 64
"""Hosts that are worked on at once; each costs a thread here and one channel there."""


def in_parallel(
    step: Callable[[T], None],
    items: Iterable[T],
    *,
    listen: Listener,
    queue: SimpleQueue[Event],
    cancel: Callable[[], None],
) -> None:
    """Call ``step`` for every item, at most ``PARALLEL`` at once, and ``listen`` here for every event in ``queue``.

    All steps end before this does. Raises what the one step that failed raised, or HostErrors with all of several. On
    Ctrl-C ``cancel`` is called, which must make the steps end soon; the same where the listener raises.
    """
    items = list(items)
    if not items:
        return
    interrupted: BaseException | None = None
    with ThreadPoolExecutor(min(PARALLEL, len(items)), thread_name_prefix="k8sha") as pool:
        futures: list[Future[None]] = [pool.submit(step, item) for item in items]
        pending = set(futures)
        while pending:
            try:
                pending = wait(pending, timeout=0.05, return_when=FIRST_COMPLETED).not_done
                _drain(queue, listen)
            except BaseException as error:  # the hosts must not be left with steps that nobody watches
                interrupted = error
                cancel()
                for future in pending:
                    future.cancel()
                wait(pending)
                break
    if interrupted is not None:
        raise interrupted
    _drain(queue, listen)
    errors = [failed for future in futures if (failed := future.exception()) is not None]
    foreign = [failed for failed in errors if not isinstance(failed, K8shaError)]
    if foreign:
        raise foreign[0]
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise HostErrors([failed for failed in errors if isinstance(failed, K8shaError)])


def _drain(queue: SimpleQueue[Event], listen: Listener) -> None:
    while True:
        try:
            event = queue.get_nowait()
        except Empty:
            return
        listen(event)
