"""The contract of this room: a fault knows whether it fits a cluster, picks its victim, and heals on every exit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from random import Random

from attrs import evolve, field, frozen

from k8sha import Host

from ..history import Outage
from ..subject import Subject

__all__ = ["Fault", "Injected", "Promise"]


@frozen
class Promise:
    """What a fault may cost at most; None: nothing is promised. Times in seconds.

    ``outage``, ``failed``: see :class:`~acceptance.history.Outage`. ``write_stall``: the longest time without an
    acknowledged write. ``watch_gap``: the longest time in which a watch is told nothing.
    """

    outage: float | None = field(default=None, kw_only=True)
    failed: int | None = field(default=None, kw_only=True)
    write_stall: float | None = field(default=None, kw_only=True)
    watch_gap: float | None = field(default=None, kw_only=True)

    def loosened(self, factor: float) -> Promise:
        """The same for a machine that can't give each host a core: times multiplied, and two more failed requests for
        each whole time that the factor goes beyond 1."""
        if factor == 1:
            return self
        times = {name: getattr(self, name) for name in ("outage", "write_stall", "watch_gap")}
        looser = {name: value * factor for name, value in times.items() if value is not None}
        failed = None if self.failed is None else self.failed + round(2 * (factor - 1))
        return evolve(self, **looser, failed=failed)

    def broken(self, seen: Outage, write_stall: float | None, watch_gap: float | None) -> tuple[str, ...]:
        """How what was seen breaks the promise, a sentence each."""
        found: list[str] = []
        if self.outage is not None and seen.seconds is None:
            found.append(f"the service did not recover; promised within {self.outage:g} s")
        elif self.outage is not None and seen.seconds is not None and seen.seconds > self.outage:
            found.append(f"requests failed for {seen.seconds:.2f} s; promised are at most {self.outage:g} s")
        if self.failed is not None and seen.failed > self.failed:
            found.append(f"{seen.failed} of {seen.total} requests failed; promised are at most {self.failed}")
        for what, value, most in (
            ("no write was acknowledged", write_stall, self.write_stall),
            ("the watch was told nothing", watch_gap, self.watch_gap),
        ):
            if most is not None and value is not None and value > most:
                found.append(f"{what} for {value:.2f} s; promised are at most {most:g} s")
        return tuple(found)

    def __str__(self) -> str:
        words = []
        if self.outage is not None:
            words.append(f"requests fail for at most {self.outage:g} s")
        if self.failed is not None:
            words.append("no request fails" if self.failed == 0 else f"at most {self.failed} requests fail")
        if self.write_stall is not None:
            words.append(f"writes stall for at most {self.write_stall:g} s")
        if self.watch_gap is not None:
            words.append(f"a watch is silent for at most {self.watch_gap:g} s")
        return "; ".join(words) or "nothing"


@frozen
class Injected:
    """A fault that is in place: on which host, said in a sentence for the report.

    ``since``: the last moment, of ``time.monotonic()``, at which it is known not to have been in place; None where
    nobody can tell.
    """

    host: Host
    sentence: str
    since: float | None = None


@frozen
class Fault(ABC):
    """Something that breaks, once, on one host.

    ``least``: seconds that it lasts at least; ``most``: seconds after which it is healed though the service has not
    come to rest; ``return_patience``: seconds within which the cluster must be whole again after the healing.
    """

    name: str
    title: str
    meaning: str
    promise: Promise
    least: float = field(default=6.0, kw_only=True)
    most: float = field(default=55.0, kw_only=True)
    return_patience: float = field(default=120.0, kw_only=True)

    @abstractmethod
    def missing(self, subject: Subject) -> str:
        """The capability that a cluster lacks for this fault, empty where it fits."""

    def fits(self, subject: Subject) -> bool:
        """Whether it is offered for this cluster."""
        return not self.missing(subject)

    @abstractmethod
    def inject(self, subject: Subject, random: Random) -> AbstractContextManager[Injected]:
        """Break it; heal it at the end of the ``with`` block, however that ends."""
