"""Taking objects away again: what we made, in the opposite order, and nothing that others keep in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from attrs import frozen

from k8sha import events
from k8sha.errors import KubeError, PreflightError, Problem
from k8sha.events import Listener
from k8sha.kinds import Kind
from k8sha.kube import Api, Json
from k8sha.objects.identity import Ref, in_order
from k8sha.objects.inventory import Inventory
from k8sha.objects.others import holds_data, listed, passing, strangers_in, typed
from k8sha.objects.release import give_up, let_go
from k8sha.report import CLUSTER, Change, Diff, Outcome, Plan, Result, Status
from k8sha.stage import Step
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Removal", "delete_in_order"]

Tell = Callable[[str, str, float], None]

_LAST = ("CustomResourceDefinition", "Namespace")
_DELETED, _STAYS = Diff.of("- deleted"), Diff.of("stays, and is ours no more")


def delete_in_order(
    api: Api,
    kinds: Mapping[tuple[str, str], Kind],
    going: Iterable[tuple[Ref, Json]],
    tell: Tell,
    *,
    patience: float,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Delete exactly these objects, those that were applied last first: own kinds while their controller still runs,
    definitions and namespaces at the end, each group gone before the next.

    Raises NotReady that names what does not go, with its finalizers.
    """
    by_ref = dict(going)
    ordered = [Ref.of(item) for item in reversed(in_order(typed(ref, live) for ref, live in by_ref.items()))]
    definitions = ("CustomResourceDefinition",)
    own = {_plural_group(by_ref[ref]) for ref in ordered if ref.kind in definitions}
    groups = (
        [ref for ref in ordered if "Webhook" in ref.kind or _of_own(ref, own)],
        [ref for ref in ordered if not ("Webhook" in ref.kind or _of_own(ref, own) or ref.kind in _LAST)],
        [ref for ref in ordered if ref.kind in definitions],
        [ref for ref in ordered if ref.kind == "Namespace"],
    )
    for group in groups:
        waiting = {}
        for ref in group:
            kind = kinds.get((ref.api_version, ref.kind))
            if kind is not None:
                path = kind.path(ref.namespace, ref.name)
                api.delete(path, uid=by_ref[ref]["metadata"]["uid"])
                waiting[ref] = (path, by_ref[ref]["metadata"]["uid"])
        _await_gone(api, waiting, tell, patience, pause)


def _plural_group(definition: Json) -> tuple[str, str]:
    return definition["spec"]["group"], definition["spec"]["names"]["kind"]


def _of_own(ref: Ref, own: set[tuple[str, str]]) -> bool:
    return (ref.group, ref.kind) in own


def _held_by(live: Json) -> str:
    """What keeps an object that is being deleted: a namespace says more than who its finalizers are."""
    spec, status = live.get("spec") or {}, live.get("status") or {}
    who = ", ".join(live["metadata"].get("finalizers") or spec.get("finalizers") or ())
    why = [item for item in status.get("conditions") or () if item.get("status") == "True"]
    if live.get("kind") != "Namespace" or not why:
        return who
    said = "; ".join(str(item.get("message") or item["type"]) for item in why)
    if any(item["type"] == "NamespaceDeletionDiscoveryFailure" for item in why):
        said += " — no namespace goes while an aggregated API is down: mend or delete its APIService"
    return f"{who}: {said}"


def _await_gone(
    api: Api, waiting: dict[Ref, tuple[str, str]], tell: Tell, patience: float, pause: Callable[[float], None]
) -> None:
    def once() -> str:
        left = []
        for ref, (path, uid) in tuple(waiting.items()):
            try:
                live = api.found(path)
            except KubeError as error:
                if not passing(error):
                    raise
                left.append(f"{ref}: {error}")  # an API server that is slow answers the next time
                continue
            if live is None or live["metadata"]["uid"] != uid:
                del waiting[ref]
            else:
                left.append(f"{ref}" + (f": held by {reasons}" if (reasons := _held_by(live)) else ""))
        if left:
            raise NotYet("; ".join(left))
        return ""

    if waiting:
        wait_for(Check("what was deleted is gone", once), timeout=patience, interval=0.5, tell=tell, pause=pause)


@frozen(kw_only=True)
class Removal(Step):
    """All that an owner made is gone, its inventory last. What it adopted stays, without our fields; so do claims.

    A namespace or a definition of ours that others have put objects into stands in the way, unless it is among
    ``keep``: it then stays as it is, and belongs to nobody. What our own programs made (``by_pods``) goes with it.
    """

    name: str
    api: Api
    owner: str
    patience: float = 300
    keep: frozenset[Ref] = frozenset()
    by_pods: tuple[str, ...] = ()
    early: bool = False

    def _seen(self) -> tuple[Inventory, dict[Ref, Json], set[Ref]]:
        """The inventory, what of it is there, and what of that is not deleted."""
        inventory = Inventory.read(self.api, self.owner)
        kinds = self.api.kinds(again=True)
        used = (kinds[ref.api_version, ref.kind] for ref in inventory.all if (ref.api_version, ref.kind) in kinds)
        ours = listed(self.api, self.owner, used)
        there = {ref: live for ref, live in ours.items() if ref in inventory.all}
        staying = {ref for ref, live in there.items() if ref in self.keep | inventory.adopted or holds_data(ref, live)}
        problems: list[Problem] = []
        for ref in sorted(there.keys() - staying):
            otherwise = f'keep this: keep=("{ref}",)'
            problems += strangers_in(
                self.api, ref, there[ref], self.owner, by_pods=self.by_pods, staying=staying, otherwise=otherwise
            )
        if problems:
            raise PreflightError(problems)
        return inventory, there, staying

    def plan(self, component: str, listen: Listener) -> tuple[Outcome, Plan]:
        """See :meth:`Step.plan`."""
        before = self.api.requests
        _, there, staying = self._seen()
        changes = tuple(
            Change(component, self.name, CLUSTER, str(ref), _STAYS if ref in staying else _DELETED)
            for ref in sorted(there)
        )
        return Outcome(), Plan(changes, requests=self.api.requests - before)

    def install(self, component: str, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
        """See :meth:`Step.install`. Raises PreflightError with nothing changed where others' objects would go too."""
        began = time.monotonic()
        listen(events.StageBegan(component, self.name, (CLUSTER,)))
        inventory, there, staying = self._seen()

        def tell(check: str, last: str, waited: float) -> None:
            listen(events.Waiting(check, last, waited))

        for ref in sorted(staying):
            (give_up if ref in inventory.adopted - self.keep else let_go)(self.api, ref)
        going = {ref: live for ref, live in there.items() if ref not in staying}
        delete_in_order(self.api, self.api.kinds(), going.items(), tell, patience=self.patience)
        if inventory.present:
            self.api.delete(inventory.path)
        self.api.kinds(again=True)  # without the definitions that have gone: whoever looks next would ask for theirs
        results = tuple(
            Result(component, self.name, CLUSTER, str(ref), Status.CHANGED, _STAYS if ref in staying else _DELETED)
            for ref in sorted(there)
        )
        listen(events.StageEnded(component, self.name, time.monotonic() - began))
        return Outcome(), results
