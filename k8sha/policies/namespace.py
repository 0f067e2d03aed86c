"""Namespace: a namespace with what may run in it, and how much of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

from attrs import field, frozen

from k8sha.addons.addon import Addon
from k8sha.addons.admission import admitting
from k8sha.component import Checks
from k8sha.errors import ConfigError, HostError, KubeError, Problem
from k8sha.kube import Json
from k8sha.policies.quota import amount, used
from k8sha.policies.security import LEVELS, PRIVILEGED, refused
from k8sha.waiting import Check

__all__ = ["Namespace"]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_ROOM = 63
_DEFAULTS = {"cpu": ("100m", "500m"), "memory": ("128Mi", "256Mi")}
"""What a container asks for, and what it may use, where it says nothing: small enough to fit many times into a quota,
large enough for a program to start."""


def _strings(given: Mapping[str, object] | None) -> Mapping[str, str]:
    return {str(name): str(value) for name, value in (given or {}).items()}


@frozen(kw_only=True)
class Namespace(Addon):
    """A namespace, its ResourceQuota, the LimitRange that makes the quota usable, and its Pod Security Standard.

    ``quota`` is a ResourceQuota's ``hard`` (``{"requests.cpu": "4", "pods": "20"}``). A quota of cpu or memory refuses
    every pod that does not say what it needs, so containers get defaults: ours, or ``limits``, a LimitRange's item of
    type Container. ``pod_security`` is enforced, warned of and audited at the cluster's own minor version.
    """

    namespace_name: str = field(alias="called")
    quota: Mapping[str, str] = field(default=None, converter=_strings, hash=False)
    limits: Mapping[str, Json] | None = field(default=None, hash=False)
    pod_security: str | None = None

    def __attrs_post_init__(self) -> None:
        if not _LABEL.fullmatch(self.namespace_name):
            raise ConfigError.of(f"namespace {self.namespace_name!r}", "is not a DNS label", "use a-z, 0-9 and -")
        if self.pod_security is not None and self.pod_security not in LEVELS:
            raise ConfigError.of(self.name, f"pod_security={self.pod_security!r}", f"take one of {', '.join(LEVELS)}")
        for value in self.quota.values():
            amount(value)

    @property
    def name(self) -> str:
        """See :attr:`Component.name`."""
        return f"Namespace-{self.namespace_name}"

    @property
    def owner(self) -> str:
        """See :attr:`Addon.owner`: a label's value, which has no room for the longest names. A point is in none."""
        whole = super().owner
        if len(whole) <= _ROOM:
            return whole
        return f"{whole[: _ROOM - 11].rstrip('-')}.{hashlib.sha256(whole.encode()).hexdigest()[:10]}"

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return self.namespace_name

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        meta: dict[str, Json] = {"name": self.namespace_name}
        if self.pod_security is not None:
            meta["labels"] = admitting(self.pod_security, self.plane.version)
        items: list[Json] = [{"apiVersion": "v1", "kind": "Namespace", "metadata": meta}]
        if self.quota:
            items.append(self._object("ResourceQuota", {"hard": dict(self.quota)}))
        if limits := self._limits():
            items.append(self._object("LimitRange", {"limits": [{"type": "Container", **limits}]}))
        return tuple(items)

    def _object(self, kind: str, spec: Json) -> Json:
        meta = {"name": "k8sha", "namespace": self.namespace_name}
        return {"apiVersion": "v1", "kind": kind, "metadata": meta, "spec": spec}

    def _limits(self) -> Mapping[str, Json]:
        if self.limits is not None:
            return self.limits
        limited = {name.rpartition(".")[2] for name in self.quota} & _DEFAULTS.keys()
        return {
            key: {resource: _DEFAULTS[resource][at] for resource in sorted(limited)}
            for at, key in enumerate(("defaultRequest", "default"))
            if limited
        }

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`: a quota that is below what runs already would refuse the next pod of it."""
        yield from super().problems()
        try:
            there = used(self.plane.api, self.namespace_name, self.quota)
        except (KubeError, HostError):  # no cluster, or one that this very install mends: nothing that we know of runs
            return
        for resource, wanted in self.quota.items():
            if resource in there and there[resource] > amount(wanted):
                yield Problem(
                    self.name,
                    f"its quota of {resource} is {wanted}, and what is in it uses {there[resource].normalize():f}",
                    "raise the quota, or remove some of it first",
                )

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        if self.pod_security in ("baseline", "restricted"):
            yield Check(f"{self.namespace_name} refuses a privileged pod", self._refuses_privileged)
        if "pods" in self.quota or any(name.rpartition(".")[2] in _DEFAULTS for name in self.quota):
            yield Check(f"{self.namespace_name} refuses a pod above its quota or limits", self._refuses_large)

    def _refuses_privileged(self) -> str:
        return refused(self.plane.api, self.namespace_name, PRIVILEGED, "violates PodSecurity")

    def _refuses_large(self) -> str:
        more = {"cpu": "1000000", "memory": "1000Ti"}
        named = {name.rpartition(".")[2] for name in self.quota} & _DEFAULTS.keys()
        if not named:
            return "pods are counted; no pod is too large for it"
        resources = {name: more[name] for name in named}
        context = {
            "allowPrivilegeEscalation": False,
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        body = {"resources": {"requests": resources, "limits": resources}, "securityContext": context}
        # A LimitRange with a maximum is asked before the quota is.
        return refused(self.plane.api, self.namespace_name, body, "exceeded quota", "usage per Container is")
