"""One install of objects: what differs is applied in order and waited for, what must go goes, then a second look."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from k8sha import events
from k8sha.errors import ApplyError, KubeError, NotReady, Problem
from k8sha.events import Listener
from k8sha.objects.claims import node_ports
from k8sha.objects.identity import Ref
from k8sha.objects.inventory import Inventory
from k8sha.objects.look import Finding, Look, look, look_again
from k8sha.objects.others import listed, passing, typed
from k8sha.objects.reasons import why
from k8sha.objects.release import give_up, let_go
from k8sha.objects.removal import delete_in_order
from k8sha.objects.rollout import AWAITED, unfinished
from k8sha.report import CLUSTER, Report, Result, Status
from k8sha.waiting import Check, NotYet, wait_for

if TYPE_CHECKING:
    from k8sha.objects.applied import Objects

__all__ = ["Run"]

_DEFINED = 60.0
"""Seconds that a definition may take to be established: the server does it by itself, within one as a rule."""

_WEBHOOK = 30.0
"""Seconds that an admission webhook may take to answer again while one of its pods is replaced."""

_EARLY = ("Namespace", "CustomResourceDefinition")


@define(eq=False)
class Run:
    """One install. Mutable: results are written down as they come."""

    step: Objects
    component: str
    listen: Listener
    seen: Look
    results: list[Result] = field(factory=list)

    def carry_out(self) -> tuple[Result, ...]:
        seen, api = self.seen, self.step.api
        changes = seen.changes
        for finding in changes:
            self.listen(events.Planned(self.component, self.step.name, CLUSTER, str(finding.ref), finding.diff))
        if changes or seen.inventory_differs:  # before the first change: what a kill leaves behind is listed
            before = seen.before
            made, adopted = before.made | seen.after.made, before.adopted | seen.after.adopted
            Inventory(before.owner, made - adopted, adopted).write(api)
        early = [finding for finding in changes if finding.ref.kind in _EARLY and finding.action == "apply"]
        self._apply(early)
        definitions = [finding for finding in seen.findings if finding.ref.kind == "CustomResourceDefinition"]
        self._await([item.ref for item in definitions if item.action == "apply"], _DEFINED)
        rest = [finding for finding in changes if finding not in early and finding.action != "prune"]
        going = [finding for finding in changes if finding.action == "prune"]
        asked = {port for finding in rest for port in node_ports(finding.item)}
        first = [finding for finding in going if asked & node_ports(typed(finding.ref, finding.live))]
        self._prune(first)  # a node port is free once the service that has it is gone
        self._apply(self._looked_at_again(rest) if early else rest)
        self._await([item.ref for item in seen.findings if item.action in ("apply", "replace")], self.step.patience)
        self._prune([finding for finding in going if finding not in first])
        if changes or seen.inventory_differs:
            seen.after.write(api)
            self._look_back()
        same = (finding for finding in seen.findings if not finding.diff)
        return (*(self._result(finding, Status.UNCHANGED) for finding in same), *self.results)

    def _looked_at_again(self, findings: list[Finding]) -> list[Finding]:
        later = [finding for finding in findings if finding.later]
        if not later:
            return findings
        again = {found.ref: found for found in look_again(self.step.api, self.step.wanted, later, self.seen)}
        self.refuse({found.ref: found.problems for found in again.values() if found.problems}, findings)
        return [
            evolve(again[finding.ref], diff=finding.diff) if finding.ref in again else finding for finding in findings
        ]

    def refuse(self, bad: Mapping[Ref, tuple[Problem, ...]], findings: Iterable[Finding]) -> None:
        """Raises ApplyError where something stands in the way of some of these: earlier steps have changed things."""
        if not bad:
            return
        self.results += [
            self._result(finding, Status.FAILED, detail="; ".join(map(str, bad[finding.ref])))
            if finding.ref in bad
            else self._result(finding, Status.SKIPPED)
            for finding in findings
        ]
        raise ApplyError(Report(tuple(self.results)))

    def _apply(self, findings: Iterable[Finding]) -> None:
        findings = list(findings)
        for position, finding in enumerate(findings):
            self.step.pause(0)  # raises where the run was interrupted
            self.listen(events.Began(CLUSTER, str(finding.ref)))
            began = time.monotonic()
            try:
                self._change(finding)
            except (KubeError, NotReady) as error:
                self._note(finding, Status.FAILED, began, str(error))
                self.results += [self._result(left, Status.SKIPPED) for left in findings[position + 1 :]]
                raise ApplyError(Report(tuple(self.results))) from None
            self._note(finding, Status.CHANGED, began)

    def _change(self, finding: Finding) -> None:
        api, ref = self.step.api, finding.ref
        if finding.action == "replace":
            delete_in_order(api, self.seen.kinds, [(ref, finding.live)], self._told_wait, patience=self.step.patience)

        if finding.action in ("release", "leave"):
            (give_up if finding.action == "release" else let_go)(api, ref)
            return

        def once() -> str:
            try:
                api.apply(finding.item, force=finding.force)
            except KubeError as error:
                if "failed calling webhook" in error.message:
                    raise NotYet(f"{ref}: {error.message}") from None
                raise KubeError("apply", str(ref), error.status, error.message, error.details) from None
            return ""

        wait_for(Check(f"{ref} is admitted", once), timeout=_WEBHOOK, interval=1, tell=self._told_wait)

    def _told_wait(self, check: str, last: str, waited: float) -> None:
        self.listen(events.Waiting(check, last, waited))

    def _await(self, refs: list[Ref], patience: float) -> None:
        """Wait until all of these work. One request a kind and look, one or two more while something lacks."""
        api, awaited = self.step.api, [ref for ref in refs if ref.kind in AWAITED]
        if not awaited or all(
            finding.live is not None and not finding.diff and not unfinished(typed(finding.ref, finding.live))
            for finding in self.seen.findings
            if finding.ref in awaited
        ):
            return

        def once() -> str:
            try:
                return look_once()
            except KubeError as error:
                if passing(error):
                    raise NotYet(str(error)) from None
                raise

        def look_once() -> str:
            there = listed(api, self.step.wanted.owner, {api.kinds()[ref.api_version, ref.kind] for ref in awaited})
            lacking: list[str] = []
            told = False  # one pod's word is enough, and costs a request or two
            for ref in awaited:
                item = there.get(ref)
                lacks = "it was deleted meanwhile" if item is None else unfinished(item)
                if lacks:
                    said = why(api, item) if item is not None and not told else ""
                    told = told or bool(said)
                    lacking.append(f"{ref}: {lacks}" + (f"; {said}" if said else ""))
                    if lacks.startswith("Failed:"):
                        raise NotReady(f"{ref} completes", 0, lacking[-1])
            if lacking:
                raise NotYet("\n".join(lacking))
            return ""

        check = Check(f"{self.component}: what was applied works", once)
        wait_for(check, timeout=patience, interval=1, tell=self._told_wait, pause=self.step.pause)

    def _prune(self, findings: list[Finding]) -> None:
        self.step.pause(0)
        began = time.monotonic()
        going = [(finding.ref, finding.live) for finding in findings]
        delete_in_order(self.step.api, self.seen.kinds, going, self._told_wait, patience=self.step.patience)
        for finding in findings:
            self._note(finding, Status.CHANGED, began)

    def _look_back(self) -> None:
        """The second look: what was applied must be what is there now."""
        left = {finding.ref: finding for finding in look(self.step.api, self.step.wanted).changes}
        if not left:
            return
        named = {str(ref): finding for ref, finding in left.items()}
        self.results = [
            evolve(result, status=Status.DIVERGED, diff=named.pop(result.resource).diff)
            if result.resource in named
            else result
            for result in self.results
        ]
        self.results += [self._result(finding, Status.DIVERGED) for finding in named.values()]
        raise ApplyError(Report(tuple(self.results)))

    def _result(self, finding: Finding, status: Status, seconds: float = 0.0, detail: str = "") -> Result:
        exit = int(status is Status.FAILED)
        return Result(
            self.component, self.step.name, CLUSTER, str(finding.ref), status, finding.diff, seconds, exit, detail
        )

    def _note(self, finding: Finding, status: Status, began: float, detail: str = "") -> None:
        result = self._result(finding, status, time.monotonic() - began, detail)
        self.results.append(result)
        self.listen(events.Finished(result))
