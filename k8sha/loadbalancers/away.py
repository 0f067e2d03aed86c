"""A backend that is away: balancers can be mended without it, which its error says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from k8sha.errors import HostErrors, K8shaError, Unreachable
from k8sha.hosts.host import Host

__all__ = ["backends_may_be_away"]


@contextmanager
def backends_may_be_away(backends: Iterable[Host]) -> Iterator[None]:
    """Where one of them can't be reached within, the error says how to do without it."""
    names = frozenset(host.name for host in backends)

    def told(error: K8shaError) -> K8shaError:
        if not isinstance(error, Unreachable) or error.host not in names:
            return error
        remedy = (
            "or leave it out while it is away: with_backends([those that are up]).install() mends the balancers, and "
            "install() with all of them takes it in again"
        )
        return Unreachable(error.host, error.cause, f"{error.remedy}; {remedy}" if error.remedy else remedy)

    try:
        yield
    except Unreachable as error:
        raise told(error) from None
    except HostErrors as several:
        raise HostErrors(told(error) for error in several.errors) from None
