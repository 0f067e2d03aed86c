"""Doing one thing on many hosts at once, while the caller's own thread tells its listener what happens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from typing import Protocol, TypeAlias, TypeVar

from k8sha.errors import K8shaError, merged
from k8sha.events import Event, Listener

__all__ = ["PARALLEL", "Haltable", "News", "attend", "in_parallel", "raise_all"]

T = TypeVar("T")

PARALLEL = 64
"""Hosts that are worked on at once; each costs a thread here and one channel there."""

News: TypeAlias = "SimpleQueue[Event | Future[None]]"
"""What comes from the threads at work: events, and each one's end."""


class Haltable(Protocol):
    """What work on a host needs to be cut short: a :class:`~k8sha.hosts.host.Host`, or a stand-in for one."""

    def halt(self) -> None:
        """Make whatever is at work there fail soon, and all that comes after it."""

    def close(self) -> None:
        """Close its link, and let it be used again."""


def attend(futures: Sequence[Future[None]], news: News, listen: Listener) -> None:
    """Tell the listener, in this thread, what comes as news until all of these have ended."""
    for future in futures:
        future.add_done_callback(news.put)
    left = len(futures)
    while left:
        item = news.get()
        if isinstance(item, Future):
            left -= 1
        else:
            listen(item)


def in_parallel(
    step: Callable[[T], None], items: Iterable[T], *, listen: Listener, news: News, hosts: Iterable[Haltable]
) -> None:
    """Call ``step`` for every item, at most ``PARALLEL`` at once, and ``listen`` here for every event in ``news``.

    All steps end before this does. Raises what the one step that failed raised, or HostErrors with all of several. On
    Ctrl-C, or where the listener raises, ``hosts`` are halted, which makes the steps end soon; then that flies.
    """
    items = list(items)
    hosts = tuple(hosts)
    if not items:
        return
    futures: list[Future[None]] = []
    with ThreadPoolExecutor(min(PARALLEL, len(items)), thread_name_prefix="k8sha") as pool:
        try:
            futures.extend(pool.submit(step, item) for item in items)
            attend(futures, news, listen)
        except BaseException:  # the hosts must not be left with steps that nobody watches
            for host in hosts:
                host.halt()
            for future in futures:
                future.cancel()
            wait(futures)
            for host in hosts:
                host.close()
            raise
    raise_all([failed for future in futures if (failed := future.exception()) is not None])


def raise_all(errors: Sequence[BaseException]) -> None:
    """Raise one error for all of these: a mistake of ours first, with the others as notes."""
    foreign = [error for error in errors if not isinstance(error, K8shaError)]
    if foreign:
        for error in errors:
            if error is not foreign[0]:
                foreign[0].add_note(f"besides: {error}")
        raise foreign[0]
    if errors:
        raise merged([error for error in errors if isinstance(error, K8shaError)])
