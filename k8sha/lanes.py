"""Lanes: each component is installed in a thread of its own, so that what is independent runs side by side.

What depends on earlier components waits for them; the caller's own thread tells its listener what happens.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import TypeAlias

from k8sha.events import Listener
from k8sha.parallel import Haltable, News, attend, raise_all

__all__ = ["Hold", "Lane", "in_lanes"]

Hold: TypeAlias = Callable[[bool], None]
"""Called before each step, with whether that is an early one. Early: until the lanes that go first have no early step
left; else until all lanes before this one have ended. Ends the lane where another has failed."""

Lane: TypeAlias = Callable[[int, Listener, Hold], None]
"""Called with its number, a listener for its thread, and its hold."""


class _Stopped(Exception):
    """Another lane has failed: this one begins nothing more."""


def in_lanes(first: Sequence[Collection[int]], lane: Lane, *, listen: Listener, hosts: Iterable[Haltable]) -> None:
    """Run lanes beside each other. Raises what the one that failed raised, or an error for all of several.

    ``first`` are, for each lane, those before it whose early steps go first. A lane that failed lets the others finish
    the step that they are at, and begin no other. On Ctrl-C, or where the listener raises, ``hosts`` are halted, which
    makes the steps end soon; then that flies.
    """
    news: News = SimpleQueue()
    futures: list[Future[None]] = []
    stopped: list[BaseException] = []
    prepared = [threading.Event() for _ in first]

    def hold_of(index: int) -> Hold:
        def hold(early: bool) -> None:
            if early:
                for other in first[index]:
                    prepared[other].wait()
            else:
                prepared[index].set()
            if stopped or (not early and any(future.exception() is not None for future in futures[:index])):
                raise _Stopped

        return hold

    def run(index: int) -> None:
        try:
            lane(index, news.put, hold_of(index))
        except _Stopped:
            raise
        except BaseException as error:
            stopped.append(error)
            raise
        finally:
            prepared[index].set()

    with ThreadPoolExecutor(max(1, len(first)), thread_name_prefix="k8sha-lane") as pool:
        try:
            for index in range(len(first)):
                futures.append(pool.submit(run, index))
            attend(futures, news, listen)
        except BaseException as error:
            stopped.append(error)
            for host in hosts:
                host.halt()
            wait(futures)
            raise
    raise_all(stopped)
