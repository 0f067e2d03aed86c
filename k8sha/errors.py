"""Everything that k8sha raises, drawn by what a caller can do about it.

::

    K8shaError
    ├── ConfigError            what you wrote cannot work; nothing was changed        .problems
    ├── PreflightError         the hosts are not fit for it; nothing was changed      .problems
    ├── BundleError            the bundle is damaged or lacks something; nothing changed  .problems
    ├── BackupError            no backup that may be relied on, or none that can be read  .problems
    ├── HostErrors             several hosts, each with an error of its own            .errors
    ├── HostError              about one host                                          .host
    │   ├── Unreachable        the link; worth running again
    │   ├── AccessDenied       key, password, host key or sudo; not worth retrying
    │   └── HostBusy           another k8sha is at work there                          .holder
    ├── ProbeError             reading a host's state failed          .host .resource .stderr .remedy
    ├── ApplyError             something failed or did not converge   .report .errors
    ├── NotReady               a wait ran out                         .check .waited .last .remedy
    ├── VerifyError            all that is wrong, not the first       .problems
    └── KubeError              the API server refused                 .verb .object .status
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from k8sha.report import Report

__all__ = [
    "AccessDenied",
    "ApplyError",
    "BackupError",
    "BundleError",
    "ConfigError",
    "HostBusy",
    "HostError",
    "HostErrors",
    "K8shaError",
    "KubeError",
    "NotReady",
    "PreflightError",
    "ProbeError",
    "Problem",
    "Unreachable",
    "VerifyError",
    "merged",
]


@frozen
class Problem:
    """One thing that is wrong: where, what, and what to do about it."""

    subject: str
    cause: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.subject}: {self.cause}" + (f" — {self.remedy}" if self.remedy else "")


class K8shaError(Exception):
    """The root: catch this to catch everything that k8sha raises on purpose."""


class _Problems(K8shaError):
    headline = "{count} problem(s)"

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [self.headline.format(count=len(self.problems)), *(f"  - {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines) if len(self.problems) != 1 else str(self.problems[0]))


class ConfigError(_Problems, ValueError):
    """What was written cannot work. Raised before any host is touched; ``problems`` has all of them."""

    headline = "the configuration has {count} problems; nothing was changed:"

    @classmethod
    def of(cls, subject: str, cause: str, remedy: str = "") -> ConfigError:
        return cls([Problem(subject, cause, remedy)])


class PreflightError(_Problems):
    """Hosts that are not fit for what is asked. Raised before the first change; ``problems`` has all of them."""

    headline = "{count} problems stand in the way; nothing was changed:"


class BundleError(_Problems):
    """A bundle that is damaged, incomplete or for another architecture. Raised before the first change."""

    headline = "the bundle has {count} problems; nothing was changed:"


class BackupError(_Problems):
    """There is no backup that may be relied on, or one can't be read. What was there before is untouched."""

    headline = "the backup has {count} problems:"

    @classmethod
    def of(cls, subject: str, cause: str, remedy: str = "") -> BackupError:
        return cls([Problem(subject, cause, remedy)])


class VerifyError(_Problems):
    """Everything that ``verify()`` found wrong, not only the first."""

    headline = "{count} things are wrong:"


class HostError(K8shaError):
    """Something about one host; ``host`` is its name."""

    def __init__(self, host: str, cause: str, remedy: str = "") -> None:
        self.host = host
        self.cause = cause
        self.remedy = remedy
        super().__init__(str(Problem(host, cause, remedy)))


class Unreachable(HostError):
    """No link to the host, or the link was lost. Worth running again once the network is mended."""


class AccessDenied(HostError):
    """The host answers and lets us not in: host key, user, key, password or sudo. Running again won't help."""


class HostBusy(HostError):
    """Another k8sha is at work on the host; ``holder`` says who. Nothing was changed there.

    ``process`` is the one on the host that its link lives in: to end that ends the other run after its present step.
    """

    def __init__(self, host: str, holder: str, *, orphaned: bool = False, process: int = 0) -> None:
        self.holder = holder
        self.orphaned = orphaned
        self.process = process
        cause = (
            f"the last step of a run that died ({holder}) has not ended yet"
            if orphaned
            else f"another k8sha is at work there ({holder})"
        )
        remedy = "wait until it has ended, then run again"
        if process and not orphaned:
            remedy += f"; if its machine is gone for good, end its login there: kill {process}"
        super().__init__(host, cause, remedy)


class HostErrors(K8shaError):
    """Several hosts failed at the same step, each with an error of its own; ``errors`` has all of them."""

    def __init__(self, errors: Iterable[K8shaError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join([f"{len(self.errors)} errors:", *(f"  - {error}" for error in self.errors)]))


class ProbeError(K8shaError):
    """Reading the state of a resource failed (which is not the same as the thing being absent)."""

    def __init__(
        self, host: str, resource: str, stderr: str, remedy: str = "mend what it says on that host, then run again"
    ) -> None:
        self.host = host
        self.resource = resource
        self.stderr = stderr
        self.remedy = remedy
        cause = f"could not read the state of {resource}: {stderr.strip() or 'no message'}"
        super().__init__(str(Problem(host, cause, remedy)))


class ApplyError(K8shaError):
    """Something failed or did not converge. ``report`` has every result so far, what went right included; ``errors``
    are what else went wrong at the same time, such as a link to another host."""

    def __init__(self, report: Report, errors: Iterable[K8shaError] = ()) -> None:
        self.report = report
        self.errors = tuple(errors)
        bad = [result for result in report.results if result.status.bad]
        lines = [f"{len(bad)} resource(s) failed; what is done stays done, run again to go on:"]
        lines += [f"  - {result.host}: {result.resource}: {result.explain()}" for result in bad]
        lines += [f"  - {error}" for error in self.errors]
        super().__init__("\n".join(lines))


class NotReady(K8shaError):
    """A wait ran out. ``last`` says what was still wrong, ``waited`` is in seconds."""

    def __init__(
        self,
        check: str,
        waited: float,
        last: str,
        remedy: str = "look into that, then run again: what is done stays done",
    ) -> None:
        self.check = check
        self.waited = waited
        self.last = last
        self.remedy = remedy
        super().__init__(f"waited {waited:.0f} s for: {check}; still: {last}" + (f" — {remedy}" if remedy else ""))


class KubeError(K8shaError):
    """The API server refused or could not be asked. ``status`` is the HTTP status, 0 where there was no answer;
    ``details`` is what its answer says beside the ``message``, such as the causes of a conflict."""

    def __init__(self, verb: str, object: str, status: int, message: str, details: object = None) -> None:
        self.verb = verb
        self.object = object
        self.status = status
        self.message = message
        self.details = details
        super().__init__(f"{verb} {object}: {message}" + (f" (HTTP {status})" if status else ""))


def merged(errors: Sequence[K8shaError]) -> K8shaError:
    """One error that says all of these, each once."""
    reports: list[Report] = []
    others: list[K8shaError] = []
    for error in errors:
        if isinstance(error, ApplyError):
            reports.append(error.report)
        others += error.errors if isinstance(error, ApplyError | HostErrors) else [error]
    if reports:
        return ApplyError(functools.reduce(operator.add, reports), others)
    return others[0] if len(others) == 1 else HostErrors(others)
