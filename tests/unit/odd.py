"""Resources and components with one peculiarity each, and what tests of the engine ask of results."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest
from attrs import field, frozen

from k8sha.component import Component
from k8sha.errors import ApplyError, PreflightError, Problem
from k8sha.report import Result
from k8sha.resources import Payload
from k8sha.stage import Stage
from k8sha.waiting import Check, NotYet

from .fake import Fact, Parts


def statuses(results: Iterable[Result]) -> list[tuple[str, str, str]]:
    """What became of each resource, as host, key and status."""
    return [(result.host, result.resource, result.status.value) for result in results]


def failure(component: Component) -> ApplyError:
    """The error of an install that fails."""
    with pytest.raises(ApplyError) as caught:
        component.install()
    return caught.value


@frozen
class Slow(Fact):
    @property
    def timeout(self) -> int:
        return 0


@frozen
class Brought(Fact):
    def payloads(self, seen: bytes) -> tuple[Payload, ...]:
        return () if seen == b"right" else (Payload(Path("/nowhere"), f"/staged/{self.name}", "0" * 64),)


@frozen
class Hides(Fact):
    @property
    def hidden(self) -> tuple[str, ...]:
        return ("global\n  auth_pass hunter2\n",)


@frozen(eq=False)
class Secret(Fact):
    name: str = "a"
    done: list[str] = field(factory=list)
    value: str = "right"
    error: Exception | None = None
    dirty: Exception | None = None

    def secrets(self) -> Mapping[str, str]:
        self.done.append(f"made {self.name}")
        if self.error is not None:
            raise self.error
        return {"token": "hush-hush", "text": "first line\n  SECRET LINE TWO\n"}

    def clean_up(self) -> None:
        self.done.append(f"cleaned {self.name}")
        if self.dirty is not None:
            raise self.dirty


@frozen(eq=False)
class Meets(Fact):
    """Its change begins when another's does."""

    name: str
    barrier: threading.Barrier = field(factory=lambda: threading.Barrier(1))
    value: str = "right"

    def secrets(self) -> Mapping[str, str]:
        self.barrier.wait(10)
        return {}


class GivesUp(Parts):
    def problems(self) -> Iterator[Problem]:
        raise PreflightError([Problem("one", "runs something else")])


class Checked(Parts):
    def __init__(self, given: tuple[Stage, ...], *, checks_out: bool = True) -> None:
        super().__init__(given)
        self.checks_out = checks_out

    def checks(self) -> tuple[Check, ...]:
        def look() -> str:
            if not self.checks_out:
                raise NotYet("it is grey")
            return "very"

        return (Check("the sky is blue", look),)
