"""Objects: a step whose state is in the API server and on no host."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from attrs import field, frozen

from k8sha import events
from k8sha.errors import KubeError, PreflightError, Problem
from k8sha.events import Listener
from k8sha.kube import Api
from k8sha.objects.identity import Ref, kinds_defined
from k8sha.objects.inventory import NAMESPACE
from k8sha.objects.look import Look, Wanted, look, offline
from k8sha.objects.others import typed
from k8sha.objects.rollout import unfinished
from k8sha.objects.run import Run
from k8sha.report import CLUSTER, Change, Diff, Outcome, Plan, Result
from k8sha.stage import Step

__all__ = ["Objects", "not_there_yet"]


def not_there_yet(error: KubeError) -> bool:
    """Whether there is no API server because the cluster was not installed yet."""
    return error.status == 0 and "not installed yet" in error.message


@frozen(kw_only=True)
class Objects(Step):
    """All objects of one owner, as the API server shall have them.

    ``patience`` is how long their rollout may take, in seconds; ``pause`` passes the time between two looks, and is
    called before each change as well: it raises where the run was interrupted. ``gate`` is called before the first
    change: it raises where these objects could not come to work.
    """

    name: str
    api: Api
    wanted: Wanted
    patience: float = 300
    early: bool = False
    pause: Callable[[float], None] = field(default=time.sleep, eq=False, repr=False)
    gate: Callable[[], None] = field(default=lambda: None, eq=False, repr=False)

    def look(self) -> Look | None:
        """Look at all of it; None while the cluster is not installed."""
        try:
            return look(self.api, self.wanted)
        except KubeError as error:
            if not_there_yet(error):
                return None
            raise

    def plan(self, component: str, listen: Listener) -> tuple[Outcome, Plan]:
        """See :meth:`Step.plan`. Raises PreflightError where the server would refuse, with everything it refuses."""
        began, before = time.monotonic(), self.api.requests
        listen(events.StageBegan(component, self.name, (CLUSTER,)))
        seen = self.look()
        if seen is None:
            findings = tuple(offline(self.wanted.items, self.wanted.owner, self.wanted.namespace))
            found = [(str(finding.ref), finding.diff) for finding in findings]
        elif seen.problems:
            raise PreflightError(seen.problems)
        else:
            found = list(_told(seen))
        for name, diff in found:
            listen(events.Planned(component, self.name, CLUSTER, name, diff))
        changes, waits = (
            tuple(Change(component, self.name, CLUSTER, name, diff) for name, diff in part)
            for part in (found, _lacking(seen) if seen else ())
        )
        listen(events.StageEnded(component, self.name, time.monotonic() - began))
        return Outcome(), Plan(changes, waits, requests=self.api.requests - before)

    def install(self, component: str, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
        """See :meth:`Step.install`."""
        began = time.monotonic()
        listen(events.StageBegan(component, self.name, (CLUSTER,)))
        seen = look(self.api, self.wanted)
        run = Run(self, component, listen, seen)
        refused = {finding.ref: finding.problems for finding in seen.findings if finding.problems}
        refused |= {ref: (problem,) for ref, problem in _unknown(seen, self.wanted)}
        run.refuse(refused, (finding for finding in seen.findings if finding.diff or finding.ref in refused))
        if seen.changes:
            self.gate()
        results = run.carry_out()
        listen(events.StageEnded(component, self.name, time.monotonic() - began))
        return Outcome(), results


def _unknown(seen: Look, wanted: Wanted) -> Iterator[tuple[Ref, Problem]]:
    """Objects of kinds that nothing will have defined when their turn comes."""
    known = {**seen.kinds, **kinds_defined(wanted.items)}
    for finding in seen.findings:
        if finding.action == "apply" and (finding.ref.api_version, finding.ref.kind) not in known:
            problem = Problem(
                str(finding.ref), "the API server does not know this kind", "install what defines it before"
            )
            yield finding.ref, problem


def _told(seen: Look) -> Iterator[tuple[str, Diff]]:
    for finding in seen.changes:
        yield str(finding.ref), finding.diff
    if seen.inventory_differs:
        yield f"v1 ConfigMap {NAMESPACE}/{seen.after.name}", Diff.of(f"lists {len(seen.after.all)} objects")


def _lacking(seen: Look) -> list[tuple[str, Diff]]:
    """Objects that are as they should be, and don't work yet."""
    there = ((finding.ref, finding.live) for finding in seen.findings if finding.live is not None and not finding.diff)
    return [(str(ref), Diff.of(lacks)) for ref, live in there if (lacks := unfinished(typed(ref, live)))]
