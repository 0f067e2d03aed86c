"""A component: something that is installed on hosts, in stages. Its three verbs are written once, in ``verbs``."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from k8sha import events, verbs
from k8sha.errors import Problem
from k8sha.events import Listener, ignore
from k8sha.hosts.host import Host
from k8sha.report import Outcome, Plan, Report
from k8sha.resources.resource import Requirement
from k8sha.stage import Step
from k8sha.waiting import Check

if TYPE_CHECKING:
    from k8sha.artifacts import Artifact

__all__ = ["Checks", "Component", "Requirements", "Stages"]

Stages: TypeAlias = Generator[Step, Outcome, None]
"""What a component's ``stages()`` returns: it yields stages and is sent back what each of them saw."""

Requirements: TypeAlias = Mapping[Host, tuple[Requirement, ...]]
Checks: TypeAlias = Iterable[Check]


class Component:
    """Something that is installed on hosts, in stages. Its three verbs may be used on their own.

    A subclass says what its ``hosts`` are, what it requires of them, its ``stages`` and its ``checks``.
    """

    begins_early: ClassVar[bool] = False
    """Whether its first stages are ``early`` ones, so that it may begin while earlier components are at work."""

    @property
    def name(self) -> str:
        """What plans, reports and events call it."""
        return type(self).__name__

    @property
    def owner(self) -> str:
        """The label by which its objects in the API server are known; empty where it makes none."""
        return ""

    apart: ClassVar[str] = ""
    """What to do where two of its kind are wanted and would have the same owner."""

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every host that it touches or reads."""
        raise NotImplementedError(type(self).__name__)  # abstract: each kind has its own

    @property
    def needs(self) -> tuple[Host, ...]:
        """Hosts of other components that its stages work on as well: they are locked with its own."""
        return ()

    @property
    def follows(self) -> tuple[Component, ...]:
        """Components whose work it builds on: a cluster lists them before it."""
        return ()

    def yields_to(self, other: Component) -> bool:
        """Whether the early stages of another component, listed before it, go before its own."""
        return False

    def problems(self) -> Iterator[Problem]:
        """What facts alone show to be wrong (the hosts are connected); looked at before the first change."""
        yield from ()

    def claims(self) -> Mapping[object, str]:
        """What only one component of a cluster can have, such as an object by its name: each with what to do where
        another component claims it too, empty where nothing better is known than to leave it out of one of them."""
        return {}

    def warnings(self) -> Iterator[str]:
        """What an operator should know before an install, though nothing stands in its way."""
        yield from ()

    def artifacts(self) -> Iterator[Artifact]:
        """Every image and file that it takes from elsewhere."""
        yield from ()

    def requirements(self) -> Requirements:
        """What must be true of the hosts before the first change."""
        return {}

    def stages(self) -> Stages:
        """The steps, in order. What stands between two yields may use what earlier ones saw."""
        yield from ()

    def checks(self) -> Checks:
        """What ``verify`` looks at, besides the plan being empty."""
        return ()

    def plan(self, listen: Listener = ignore) -> Plan:
        """What an install would change. Touches nothing."""
        return verbs.plan((self,), listen)

    def install(self, listen: Listener = ignore) -> Report:
        """Make it so. Safe to run again at any time, after a kill as well.

        Raises PreflightError with nothing changed, ApplyError with a report, NotReady, or an error of the link.
        """
        return verbs.install((self,), listen)

    def verify(self, listen: Listener = ignore) -> tuple[events.Checked, ...]:
        """Prove that it works; returns what was looked at. Raises VerifyError with everything that is wrong."""
        return verbs.verify((self,), listen)
