"""Nodes: the labels and taints that hosts declare, kept on their nodes."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping

from attrs import field, frozen

from k8sha import events
from k8sha.component import Component, Stages
from k8sha.components.control_plane import ControlPlane
from k8sha.components.workers import Workers, as_workers
from k8sha.errors import ApplyError, ConfigError, KubeError, Problem
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.kube import FIELD_MANAGER, Api, Json
from k8sha.objects.applied import not_there_yet
from k8sha.report import CLUSTER, Change, Diff, Outcome, Plan, Report, Result, Status
from k8sha.stage import Step
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["Nodes"]

TAINTS = "k8sha.io/taints"
"""The annotation with the taints that we set: a node's taints are one list, of which nobody owns a part."""

_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


def _wrong_key(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return not _NAME.fullmatch(name) or (bool(slash) and not _PREFIX.fullmatch(prefix))


def _problems(host: Host) -> Iterator[Problem]:
    for key, value in host.labels:
        if _wrong_key(key) or (value and not _NAME.fullmatch(value)):
            yield Problem(host.name, f"{key}={value} is no label", "write it as example.org/zone=a")
    seen = set()
    for text in host.taints:
        taint = _taint(text)
        if taint["effect"] not in _EFFECTS or _wrong_key(taint["key"]):
            yield Problem(host.name, f"{text} is no taint", f"write it as example.org/gpu=yes:{_EFFECTS[0]}")
        if _same(taint) in seen:
            yield Problem(host.name, f"taint {taint['key']}:{taint['effect']} is given twice", "give it once")
        seen.add(_same(taint))


def _taint(text: str) -> dict[str, str]:
    what, _, effect = text.rpartition(":")
    key, _, value = what.partition("=")
    return {"key": key, "effect": effect} | ({"value": value} if value else {})


def _text(taint: Mapping[str, str]) -> str:
    value = f"={taint['value']}" if taint.get("value") else ""
    return f"{taint['key']}{value}:{taint['effect']}"


def _same(taint: Mapping[str, str]) -> tuple[str, str]:
    return taint["key"], taint["effect"]


@frozen
class _Node:
    """A node as it is, and as its host wants it."""

    host: Host
    live: Json

    @property
    def labels(self) -> Mapping[str, str]:
        return self.live["metadata"].get("labels") or {}

    @property
    def taints(self) -> list[dict[str, str]]:
        return list(self.live.get("spec", {}).get("taints") or ())

    @property
    def wanted(self) -> list[dict[str, str]]:
        return [_taint(text) for text in self.host.taints]

    def own_labels(self) -> Iterator[str]:
        """Labels that we set."""
        for entry in self.live["metadata"].get("managedFields", ()):
            if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
                fields = (entry.get("fieldsV1") or {}).get("f:metadata", {}).get("f:labels", {})
                yield from (name.removeprefix("f:") for name in fields if name.startswith("f:"))

    def own_taints(self) -> list[dict[str, str]]:
        """Taints that we set."""
        said = (self.live["metadata"].get("annotations") or {}).get(TAINTS, "")
        return [_taint(text) for text in json.loads(said)] if said else []

    def after(self) -> list[dict[str, str]]:
        """All its taints as they shall be: those of others stay as they are."""
        wanted = {_same(taint) for taint in self.wanted}
        gone = {_same(taint) for taint in self.own_taints()} - wanted
        return [taint for taint in self.taints if _same(taint) not in wanted | gone] + [
            next((there for there in self.taints if _text(there) == _text(taint)), taint) for taint in self.wanted
        ]

    def ours(self) -> list[str]:
        """What the annotation shall say: taints that were there before us are not ours, and stay when given up."""
        before, there = {_same(taint) for taint in self.own_taints()}, {_text(taint) for taint in self.taints}
        return sorted(_text(each) for each in self.wanted if _same(each) in before or _text(each) not in there)

    def diff(self) -> Diff:
        lines = []
        wanted, owned = dict(self.host.labels), sorted(self.own_labels())
        for name, value in sorted(wanted.items()):
            if name not in self.labels:
                lines.append(f"+ label {name}={value}")
            elif self.labels[name] != value:
                lines.append(f"label {name}: {self.labels[name]} -> {value}")
            elif name not in owned:
                lines.append(f"label {name}={value}: is kept from now on")
        lines += [f"- label {name}" for name in owned if name not in wanted]
        now, then = [_text(taint) for taint in self.taints], [_text(taint) for taint in self.after()]
        lines += [f"+ taint {text}" for text in then if text not in now]
        lines += [f"- taint {text}" for text in now if text not in then]
        if not lines and self.ours() != sorted(_text(taint) for taint in self.own_taints()):
            lines.append("which taints are ours is not written down")
        return Diff(tuple(lines))


@frozen
class _Marks(Step):
    """Labels by server-side apply, which knows whose each of them is; taints as a whole, with what we set on record."""

    api: Api
    wanted: tuple[Host, ...]
    name: str = "labels and taints"
    early: bool = False

    def _nodes(self) -> list[_Node] | None:
        """None while there is no cluster; a host that is no node yet is left out."""
        try:
            nodes = self.api.nodes()
        except KubeError as error:
            if not_there_yet(error):
                return None
            raise
        return [_Node(host, nodes[host.name]) for host in self.wanted if host.name in nodes]

    def _found(self, listen: Listener, component: str) -> list[tuple[Host, Diff, _Node | None]]:
        nodes = self._nodes() or []
        there = {node.host.name: node for node in nodes}
        found: list[tuple[Host, Diff, _Node | None]] = []
        for host in self.wanted:
            node = there.get(host.name)
            if node is not None:
                found.append((host, node.diff(), node))
            elif host.labels or host.taints:
                lines = [f"+ label {name}={value}" for name, value in host.labels]
                found.append((host, Diff((*lines, *(f"+ taint {text}" for text in host.taints))), None))
        for host, diff, _ in found:
            if diff:
                listen(events.Planned(component, self.name, CLUSTER, f"v1 Node {host.name}", diff))
        return found

    def plan(self, component: str, listen: Listener) -> tuple[Outcome, Plan]:
        """See :meth:`Step.plan`."""
        before = self.api.requests
        listen(events.StageBegan(component, self.name, (CLUSTER,)))
        began = time.monotonic()
        changes = tuple(
            Change(component, self.name, CLUSTER, f"v1 Node {host.name}", diff)
            for host, diff, _ in self._found(listen, component)
            if diff
        )
        listen(events.StageEnded(component, self.name, time.monotonic() - began))
        return Outcome(), Plan(changes, requests=self.api.requests - before)

    def install(self, component: str, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
        """See :meth:`Step.install`."""
        listen(events.StageBegan(component, self.name, (CLUSTER,)))
        began, results = time.monotonic(), []
        for host, diff, node in self._found(listen, component):
            name = f"v1 Node {host.name}"
            status, detail = Status.CHANGED if diff else Status.UNCHANGED, ""
            if diff:
                listen(events.Began(CLUSTER, name))
                if node is None:
                    status, detail = Status.FAILED, "there is no such node"
                else:
                    try:
                        self._change(node)
                    except KubeError as error:
                        status, detail = Status.FAILED, str(error)
            bad = int(status is Status.FAILED)
            result = Result(component, self.name, CLUSTER, name, status, diff, 0.0, bad, detail)
            results.append(result)
            if diff:
                listen(events.Finished(result))
        if any(result.status.bad for result in results):
            raise ApplyError(Report(tuple(results)))
        listen(events.StageEnded(component, self.name, time.monotonic() - began))
        return Outcome(), tuple(results)

    def _change(self, node: _Node) -> None:
        """What we are about to set is on record first, so that a kill leaves no taint of which nobody knows."""
        own = {_text(taint) for taint in node.own_taints()}
        ours = node.ours()
        self._record(node, sorted(own | set(ours)))
        path = f"/api/v1/nodes/{node.host.name}"

        def once() -> str:
            live = _Node(node.host, self.api.get(path))
            after = live.after()
            if after == live.taints:
                return "nothing to do"
            meta = {"resourceVersion": live.live["metadata"]["resourceVersion"]}
            try:
                body = {"metadata": meta, "spec": {"taints": after or None}}
                self.api.request("patch", path, body, kind="merge-patch+json")
            except KubeError as error:
                if error.status == 409:  # its kubelet wrote to it meanwhile
                    raise NotYet(str(error)) from None
                raise
            return "done"

        wait_for(Check(f"the taints of {node.host.name} are written", once), timeout=30, interval=0.2)
        if own - set(ours):
            self._record(node, ours)

    def _record(self, node: _Node, taints: list[str]) -> None:
        meta: dict[str, Json] = {"name": node.host.name, "uid": node.live["metadata"]["uid"]}
        if node.host.labels:
            meta["labels"] = dict(node.host.labels)
        if taints:
            meta["annotations"] = {TAINTS: json.dumps(taints)}
        self.api.apply({"apiVersion": "v1", "kind": "Node", "metadata": meta}, force=True)


@frozen
class Nodes(Component):
    """The labels and taints of every host's node are those that its Host declares.

    Labels and taints that others set are left alone; one that is no longer declared is taken away if we set it.
    """

    plane: ControlPlane
    workers: tuple[Workers, ...] = field(default=(), converter=as_workers)

    def __attrs_post_init__(self) -> None:
        if problems := [problem for host in self.hosts for problem in _problems(host)]:
            raise ConfigError(problems)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every node."""
        return (*self.plane.hosts, *(host for workers in self.workers for host in workers.hosts))

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        yield _Marks(self.plane.api, self.hosts)
