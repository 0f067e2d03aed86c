"""Lanes: each component is installed in a thread of its own, so that what is independent runs side by side.

What depends on earlier components waits for them; the caller's own thread tells its listener what happens.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from queue import Empty, SimpleQueue

from k8sha.errors import ApplyError
from k8sha.events import Event, Listener

__all__ = ["Lane", "in_lanes"]

Lane = Callable[[int, Listener, Callable[[], None]], None]
"""Called with its number, a listener for its thread, and a call that waits until all lanes before it have ended."""


class _Stopped(Exception):
    """Another lane has failed: this one begins nothing more."""


def in_lanes(count: int, lane: Lane, *, listen: Listener, cancel: Callable[[], None]) -> None:
    """Run lanes beside each other. Raises what the first one that failed raised, once all have ended.

    A lane that failed lets the others finish the stage that they are at, and begin no other. On Ctrl-C, or where the
    listener raises, ``cancel`` is called, which must make the stages end soon.
    """
    queue: SimpleQueue[Event] = SimpleQueue()
    futures: list[Future[None]] = []
    stopped: list[BaseException] = []

    def earlier(index: int) -> Callable[[], None]:
        def hold() -> None:
            for future in futures[:index]:
                if future.exception() is not None:
                    raise _Stopped
            if stopped:
                raise _Stopped

        return hold

    def run(index: int) -> None:
        def tell(event: Event) -> None:
            queue.put(event)

        try:
            lane(index, tell, earlier(index))
        except _Stopped:
            raise
        except BaseException as error:
            stopped.append(error)
            raise

    with ThreadPoolExecutor(max(1, count), thread_name_prefix="k8sha-lane") as pool:
        for index in range(count):
            futures.append(pool.submit(run, index))
        pending = set(futures)
        try:
            while pending:
                pending = wait(pending, timeout=0.05, return_when=FIRST_COMPLETED).not_done
                _drain(queue, listen)
        except BaseException as error:
            stopped.append(error)
            cancel()
            wait(futures)
            raise
    _drain(queue, listen)
    failed = [error for error in stopped if isinstance(error, ApplyError)] or stopped
    if failed:
        raise failed[0]


def _drain(queue: SimpleQueue[Event], listen: Listener) -> None:
    while True:
        try:
            event = queue.get_nowait()
        except Empty:
            return
        listen(event)
