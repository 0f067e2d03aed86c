"""One look at all objects of an owner: few requests where nothing differs, the server's dry run where something does.

One list for each kind, by our label. An object in it whose hash and fields are as we left them is left alone; every
other one goes to the server as a dry run, and what comes back is compared with what is there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from attrs import Attribute, field, frozen

from k8sha.errors import ConfigError, KubeError, Problem
from k8sha.kinds import Kind
from k8sha.kube import Api, Json
from k8sha.objects import fields
from k8sha.objects.claims import no_texts, node_ports
from k8sha.objects.identity import OWNER, Ref, expanded, in_order, kinds_defined, marked, with_namespaces
from k8sha.objects.inventory import Inventory
from k8sha.objects.others import at_once, bare, goes_with, holds_data, listed, strangers_in
from k8sha.objects.refusals import IMMUTABLE, MADE_ANEW, TAKEN, conflicts, fields_named, webhook_down
from k8sha.report import Diff

__all__ = ["Finding", "Look", "Wanted", "look", "look_again", "offline"]

Action = Literal["apply", "replace", "prune", "release", "leave"]
"""``release`` takes our fields from an object, ``leave`` our marks alone; both let it stay."""

_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")


@frozen
class Finding:
    """One object that is wanted (or must go), and how it differs. ``later`` if the server can't say yet."""

    ref: Ref
    item: Json
    diff: Diff
    live: Json = None
    action: Action = "apply"
    force: bool = False
    later: bool = False
    problems: tuple[Problem, ...] = ()


@frozen
class Look:
    """All that was seen: every wanted object in the order in which it is applied, then what must go."""

    findings: tuple[Finding, ...]
    before: Inventory
    after: Inventory
    kinds: Mapping[tuple[str, str], Kind]

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What stands in the way of an apply."""
        return tuple(problem for finding in self.findings for problem in finding.problems)

    @property
    def changes(self) -> tuple[Finding, ...]:
        """What differs."""
        return tuple(finding for finding in self.findings if finding.diff)

    @property
    def inventory_differs(self) -> bool:
        """Whether the inventory lists other objects than there will be."""
        return (self.before.made, self.before.adopted) != (self.after.made, self.after.adopted)


@frozen
class _Glass:
    """What is needed to look at one object."""

    api: Api
    owner: str
    kinds: Mapping[tuple[str, str], Kind]
    own_kinds: Mapping[tuple[str, str], Kind]
    ours: Mapping[Ref, Json]
    inventory: Inventory
    new_namespaces: frozenset[str]
    force: frozenset[str]
    adopt: frozenset[Ref]
    by_pods: tuple[str, ...]
    wanted: frozenset[Ref] = frozenset()

    @property
    def leaving(self) -> frozenset[Ref]:
        """What was made by us, is there, and is wanted no more."""
        return self.inventory.made & self.ours.keys() - self.wanted

    def examine(self, item: Json) -> Finding:
        """Find out how one wanted object differs."""
        ref, live = Ref.of(item), self.ours.get(Ref.of(item))
        if (ref.api_version, ref.kind) not in self.kinds:
            by_us = (ref.api_version, ref.kind) in self.own_kinds
            return _later(
                ref, item, "its definition is established" if by_us else "its kind is known to the API server"
            )
        if live is None:
            if problem := self._port_taken(ref, item):
                return Finding(ref, item, Diff(), live, problems=(problem,))
            if ref.namespace in self.new_namespaces:
                return _later(ref, item, f"namespace {ref.namespace} is made")
            live = self.api.found(self.path(ref))
            if live is not None and (problem := self._foreign(ref, live)):
                return Finding(ref, item, Diff(), live, problems=(problem,))
        if live is not None and fields.intact(item, live):
            return Finding(ref, item, Diff(), live)
        return self._dry_run(ref, item, live)

    def path(self, ref: Ref) -> str:
        return self.kinds[ref.api_version, ref.kind].path(ref.namespace, ref.name)

    def _foreign(self, ref: Ref, live: Json) -> Problem | None:
        """Why an object that is there and has not our label may not be touched; None if it may."""
        other = _owner(live)
        if other == self.owner:  # made by this very install, after the first look
            return None
        if other:
            if ref in self.adopt:
                return None
            remedy = f'leave it out of one of the two; where that one has left it out, take it over: adopt=("{ref}",)'
            return Problem(str(ref), f"belongs to {other}", remedy)
        if ref in self.adopt or (fields.written(live) and ref in self.inventory.all):
            return None
        return Problem(
            str(ref), f"is there already, made by {fields.managers(live)}", f'remove it, or adopt it: adopt=("{ref}",)'
        )

    def adopted(self, ref: Ref, live: Json) -> bool:
        """Whether an object that may be touched was there before us, so that it is never deleted. One that somebody
        made in place of ours is such as well, and so is what is to be adopted where the inventory was lost."""
        if ref in self.inventory.adopted or (ref in self.adopt and ref not in self.inventory.made):
            return True
        other = _owner(live)
        return other != self.owner and (bool(other) or not fields.written(live))

    def _port_taken(self, ref: Ref, item: Json) -> Problem | None:
        """Which other service has a node port that this one asks for; None if none has, or one of ours that goes."""
        wanted = node_ports(item)
        if not wanted:
            return None
        for service in self.api.get("/api/v1/services")["items"]:
            service |= {"apiVersion": "v1", "kind": "Service"}  # which those in a list have not
            other = Ref.of(service)
            if other != ref and other not in self.leaving and (both := wanted & node_ports(service)):
                remedy = "choose another node port, or take it from that one"
                return Problem(str(ref), f"asks for {min(both)}, which {other} has", remedy)
        return None

    def _dry_run(self, ref: Ref, item: Json, live: Json, force: bool = False) -> Finding:
        try:
            after = self.api.apply(item, dry_run=True, force=force)
        except KubeError as error:
            return self._refused(ref, item, live, error)
        if live is None:
            return Finding(ref, item, fields.created(item))
        return Finding(ref, item, fields.changed(live, after), live, force=force)

    def _refused(self, ref: Ref, item: Json, live: Json, error: KubeError) -> Finding:
        if error.status == 409 and (causes := tuple(conflicts(error))):
            wrong = [(who, path) for who, path, by_hand in causes if not by_hand and f"{ref} {path}" not in self.force]
            if not wrong:
                return self._dry_run(ref, item, live, force=True)
            problems = tuple(
                Problem(
                    f"{ref} {path}",
                    f"is owned by {who}",
                    f'leave it out, or take it over: force=("{ref} {path}",)',
                )
                for who, path in wrong
            )
            return Finding(ref, item, Diff(), live, problems=problems)
        if error.status == 404 and f'namespaces "{ref.namespace}" not found' in error.message:
            return _later(ref, item, f"namespace {ref.namespace} is made")
        if "does not support dry run" in error.message or webhook_down(error):
            note = Diff.of(f"~ (known after the apply: {error.message})")
            return Finding(ref, item, fields.created(item) + note if live is None else note, live, later=True)
        if error.status == 422 and TAKEN in error.message:
            problem = self._port_taken(ref, item)
            if problem is None:  # that one goes by what it knew when it last gave away a port: the apply asks etcd
                note = Diff.of("~ (known after the apply: the port is taken, but by no service that stays)")
                return Finding(ref, item, fields.created(item) + note if live is None else note, live, later=True)
            return Finding(ref, item, Diff(), live, problems=(problem,))
        if error.status == 422 and live is not None and IMMUTABLE.search(error.message):
            remedy = "delete it and run again (uninstall() takes all of the add-on away), or give it another name"
            if self.adopted(ref, live):
                remedy = "it was there before us and is not deleted: ask for it as it is, or give it another name"
            elif ref.kind in MADE_ANEW:
                return Finding(ref, item, Diff.of(f"is made anew: {MADE_ANEW[ref.kind]}"), live, "replace")
            problem = Problem(str(ref), f"can't be changed as asked for: {fields_named(error)}", remedy)
            return Finding(ref, item, Diff(), live, problems=(problem,))
        if not error.status:
            raise error
        remedy = "mend the manifest"
        if "because it is being terminated" in error.message:
            remedy = "run again once it is gone; the conditions in its status say what keeps it"
        return Finding(ref, item, Diff(), live, problems=(Problem(str(ref), error.message, remedy),))


def _owner(live: Json) -> str:
    """Whose object it is by its label; empty where nobody's."""
    return str((live["metadata"].get("labels") or {}).get(OWNER) or "")


def _later(ref: Ref, item: Json, what: str) -> Finding:
    return Finding(ref, item, fields.created(item, f"(known after {what})"), later=True)


def _prepared(items: Iterable[Json], kinds: Mapping[tuple[str, str], Kind], owner: str, namespace: str) -> list[Json]:
    placed = with_namespaces(expanded(items), kinds, namespace)
    return [marked(item, owner) for item in in_order(placed)]


def offline(items: Iterable[Json], owner: str, namespace: str) -> Iterator[Finding]:
    """What can be said of wanted objects while there is no API server."""
    for item in _prepared(items, kinds_defined(items), owner, namespace):
        yield _later(Ref.of(item), item, "the API server is there")


def _named(wanted: Wanted, attribute: Attribute[tuple[Json, ...]], items: tuple[Json, ...]) -> None:
    """An object is known by its kind and name: one that gets its name from the server is another one every time."""
    for item in expanded(items):
        meta = item.get("metadata") or {}
        if not all(
            isinstance(part, str) and part for part in (item.get("apiVersion"), item.get("kind"), meta.get("name"))
        ):
            what = f"{item.get('apiVersion')} {item.get('kind')} {meta.get('name') or meta.get('generateName')}"
            raise ConfigError.of(f"{wanted.owner}: object {what}", "has no name", "give it a metadata.name")
    if problems := tuple(no_texts(items, wanted.owner)):
        raise ConfigError(problems)


def _known_by(wanted: Wanted, attribute: Attribute[str], owner: str) -> None:
    """It is a label's value: of another one the API server would say so at the first list, and not before."""
    if not _LABEL.fullmatch(owner):
        cause = "can't be the label of its objects: it has other letters than a label's value, or more than 63"
        raise ConfigError.of(f"owner {owner!r}", cause, "give the add-on a shorter name, or an owner of its own")


@frozen(kw_only=True)
class Wanted:
    """What is looked at: the objects, whose they are, and what may be taken over."""

    owner: str = field(validator=_known_by)
    items: tuple[Json, ...] = field(validator=_named)
    namespace: str = "default"
    force: frozenset[str] = frozenset()
    adopt: frozenset[Ref] = frozenset()
    by_pods: tuple[str, ...] = ()
    """Kinds and names (``ConfigMap shop-*``) of what the programs among them make, and nobody else owns."""


def look(api: Api, wanted: Wanted) -> Look:
    """Look at all of it. Changes nothing."""
    own_kinds = kinds_defined(wanted.items)
    kinds = api.kinds()
    used = {(item["apiVersion"], item["kind"]) for item in expanded(wanted.items)}
    if not used <= kinds.keys():  # somebody may have defined it since
        kinds = api.kinds(again=True)
    items = _prepared(wanted.items, {**own_kinds, **kinds}, wanted.owner, wanted.namespace)
    inventory = Inventory.read(api, wanted.owner)
    refs = [*(Ref.of(item) for item in items), *inventory.all]
    there = (kinds[ref.api_version, ref.kind] for ref in refs if (ref.api_version, ref.kind) in kinds)
    ours = listed(api, wanted.owner, there)
    glass = _glass(api, wanted, kinds, own_kinds, ours, inventory, items)
    findings = at_once(glass.examine, items)
    left = sorted(inventory.all - {finding.ref for finding in findings})
    gone = [_going(glass, ref, ours[ref]) for ref in left if ref in ours]
    adopted = frozenset(
        finding.ref for finding in findings if finding.live is not None and glass.adopted(finding.ref, finding.live)
    )
    made = frozenset(finding.ref for finding in findings) - adopted
    after = Inventory(wanted.owner, made, adopted, True)
    return Look((*findings, *gone), inventory, after, kinds)


def _glass(
    api: Api,
    wanted: Wanted,
    kinds: Mapping[tuple[str, str], Kind],
    own_kinds: Mapping[tuple[str, str], Kind],
    ours: Mapping[Ref, Json],
    inventory: Inventory,
    items: Iterable[Json],
) -> _Glass:
    namespaces = (Ref.of(item) for item in items if item["kind"] == "Namespace")
    missing = frozenset(ref.name for ref in namespaces if ref not in ours and ref not in wanted.adopt)
    return _Glass(
        api, wanted.owner, kinds, own_kinds, ours, inventory, missing, wanted.force, wanted.adopt, wanted.by_pods,
        frozenset(Ref.of(item) for item in items),
    )  # fmt: skip


def look_again(api: Api, wanted: Wanted, findings: Iterable[Finding], seen: Look) -> tuple[Finding, ...]:
    """Look at those objects of which nothing could be known before definitions and namespaces were made."""
    kinds = api.kinds(again=True)
    glass = _glass(api, wanted, kinds, {}, {}, seen.before, ())
    items = _prepared((finding.item for finding in findings), kinds, wanted.owner, wanted.namespace)
    return at_once(glass.examine, items)


def _going(glass: _Glass, ref: Ref, live: Json) -> Finding:
    if ref in glass.inventory.adopted:
        return Finding(ref, bare(ref), Diff.of("is given up: it was there before us and stays"), live, "release")
    held = any(goes_with(ref, live, other) for other in glass.wanted)
    if held or holds_data(ref, live):
        why = ", and holds what is" if held else ", and holds data"
        note = Diff.of(f"is in the manifest no more{why}: stays, and is ours no more")
        return Finding(ref, bare(ref), note, live, "leave")
    staying = [other for other, it in glass.ours.items() if other in glass.inventory.adopted or holds_data(other, it)]
    found = strangers_in(
        glass.api, ref, live, glass.owner, by_pods=glass.by_pods, staying=staying,
        otherwise="leave this in the manifest",
    )  # fmt: skip
    return Finding(ref, {}, Diff.of("- is in the manifest no more: deleted"), live, "prune", problems=tuple(found))
