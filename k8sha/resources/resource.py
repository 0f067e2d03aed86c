"""The contract of this room: a resource is a value with three pure methods, ``probe``, ``diff`` and ``apply``.

Seven laws hold for each of them (tests run them over every class here):

1. A probe changes nothing, needs nothing installed, and treats absence as an answer. If it exits non-zero, that is an
   error, never "not there".
2. ``diff`` compares parsed values, never substrings.
3. ``apply`` never looks at what was seen; it converges from any state, twice is once, and killing it is safe.
4. After ``apply``, ``diff`` of a new ``probe`` is empty.
5. One key, one claim: two different resources with one key on a host are a mistake.
6. Within a stage the only relations are list order and ``watches``.
7. A restart is state, not an event (:mod:`k8sha.resources.service`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.survey import Survey

__all__ = ["STATE", "Condition", "KnownAfter", "Payload", "Requirement", "Resource"]

STATE = "/var/lib/k8sha"
"""Where k8sha keeps marks on a host: stamps of restarts, begun commands, staged uploads."""


@frozen
class KnownAfter:
    """Stands for a value that only exists once something was done; a plan shows it as such."""

    what: str

    def __str__(self) -> str:
        return f"(known after {self.what})"


@frozen
class Payload:
    """A file of the caller's that must be on the host before ``apply`` runs: it is put at ``staged``, mode 0600."""

    source: Path
    staged: str
    sha256: str


@frozen
class Resource(ABC):
    """One fact about one host that we want to be true."""

    watches: tuple[Resource, ...] = field(default=(), kw_only=True)
    """If one of these changes, so do I."""

    @property
    @abstractmethod
    def key(self) -> str:
        """What it is, unique on its host: ``file /etc/hosts``."""

    @abstractmethod
    def probe(self) -> str:
        """POSIX sh that prints the present state. It only reads."""

    @property
    def surveys(self) -> tuple[tuple[Survey, str], ...]:
        """What the probe asks that others ask as well, so that one process may tell them all. It must not rely on it:
        what it does not find in a survey's variable it asks itself."""
        return ()

    @abstractmethod
    def diff(self, seen: bytes) -> Diff:
        """What differs between the wanted state and what a probe printed; empty where nothing does."""

    @abstractmethod
    def apply(self) -> str:
        """POSIX sh, run with ``-eu`` as root, that makes it so, whatever the state."""

    @property
    def timeout(self) -> int:
        """Seconds that ``apply`` may take."""
        return 300

    @property
    def probe_timeout(self) -> int:
        """Seconds that ``probe`` may take."""
        return 60

    @property
    def paths(self) -> tuple[str, ...]:
        """Files that it makes or removes: a service that watches it is stale where one of them has changed since its
        start."""
        return ()

    def payloads(self, seen: bytes) -> tuple[Payload, ...]:
        """Files that are brought to the host before ``apply``: those that are missing, by what a probe printed."""
        return ()

    def secrets(self) -> Mapping[str, str]:
        """Values made at the last moment; ``apply`` finds each as a shell variable of its name. Never shown."""
        return {}

    @property
    def hidden(self) -> tuple[str, ...]:
        """Texts beside ``secrets`` that must not be shown where ``apply`` fails and its output quotes them."""
        return ()

    def clean_up(self) -> None:  # noqa: B027 (most have nothing to clean up)
        """Called on the controller after ``apply`` was tried, however it ended, if ``secrets`` was called."""


@frozen
class Condition(Resource):
    """Something that becomes true by itself once the resources before it are so; it is waited for, never applied.

    A subclass gives ``probe`` and ``diff``; ``patience`` is the longest wait and ``interval`` that between two looks,
    in seconds.
    """

    patience: float = field(default=120, kw_only=True)
    interval: float = field(default=0.5, kw_only=True)

    def apply(self) -> str:
        """Nothing: there is nothing that one could do about it."""
        return ":"


@frozen
class Requirement(Resource):
    """Something that must be true of a host before anything is changed there. A non-empty ``diff`` is a problem.

    ``remedy`` tells the operator what to do about it.
    """

    remedy: str = field(default="", kw_only=True)

    def apply(self) -> str:
        """Nothing: requirements are checked, not made."""
        return ":"
