"""PodSecurityDefaults: which pods are admitted in a namespace that says nothing about it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import yaml
from attrs import field, frozen

from k8sha.component import Checks
from k8sha.components.apiserver import ApiServerPolicy, Volume
from k8sha.errors import ConfigError, KubeError
from k8sha.kube import Api, Json
from k8sha.resources.files import File
from k8sha.resources.resource import Resource
from k8sha.versions import Version
from k8sha.waiting import Check, NotYet

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["LEVELS", "PRIVILEGED", "PodSecurityDefaults", "refused"]

LEVELS = ("privileged", "baseline", "restricted")
"""The Pod Security Standards, from the laxest on."""


PRIVILEGED: Json = {"securityContext": {"privileged": True}}
"""What makes a container one that baseline and restricted refuse."""


def refused(api: Api, namespace: str, container: Json, *why: str) -> str:
    """That a pod with such a container is not admitted, for one of these reasons. Asked as a dry run: nothing is made.

    Raises NotYet where it is admitted, or is refused for another reason.
    """
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "k8sha-check"},
        "spec": {"containers": [{"name": "main", "image": "k8sha.io/none", **container}]},
    }
    try:
        api.request("post", f"/api/v1/namespaces/{namespace}/pods", pod, query={"dryRun": "All"})
    except KubeError as error:
        if error.status == 403 and any(text in error.message for text in why):
            return error.message[:200]
        raise NotYet(f"it was refused for another reason: {error.message}") from None
    raise NotYet("it was admitted")


_ADMINISTRATOR = "kubernetes-admin"
"""As whom ``verify`` asks: kubeadm's name for it."""

_PART = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_EXEMPT = {
    "exempt": re.compile(_PART),
    "exempt_users": re.compile(".+"),
    "exempt_runtime_classes": re.compile(rf"(?=.{{1,253}}$){_PART}(\.{_PART})*"),
}
"""What may be exempted, and how such names look."""


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


@frozen(kw_only=True)
class PodSecurityDefaults(ApiServerPolicy):
    """What the Pod Security admission does in namespaces without labels of their own.

    ``version`` is that of the cluster, whose minor pins the standards: an upgrade alone changes nothing that is
    admitted. ``exempt`` namespaces are never looked at; ``kube-system`` must be among them, or the cluster's own parts
    would be refused. Nor are pods of ``exempt_runtime_classes``, and what ``exempt_users`` ask for: a user who makes a
    Deployment is not the one who makes its pods.
    """

    version: str
    enforce: str = "baseline"
    warn: str = "restricted"
    audit: str = "restricted"
    exempt: tuple[str, ...] = field(default=("kube-system",), converter=_names)
    exempt_users: tuple[str, ...] = field(default=(), converter=_names)
    exempt_runtime_classes: tuple[str, ...] = field(default=(), converter=_names)

    def __attrs_post_init__(self) -> None:
        for mode in ("enforce", "warn", "audit"):
            if (level := getattr(self, mode)) not in LEVELS:
                raise ConfigError.of("PodSecurityDefaults", f"{mode}: {level!r}", f"take one of {', '.join(LEVELS)}")
        if "kube-system" not in self.exempt and self.enforce != "privileged":
            raise ConfigError.of("PodSecurityDefaults", "kube-system is not exempt", "add it to exempt")
        for what, pattern in _EXEMPT.items():
            names = getattr(self, what)
            for name in names:
                if not isinstance(name, str) or not pattern.fullmatch(name) or names.count(name) > 1:
                    cause = f"{what}: {name!r} is none, or is given twice: no API server would start with it"
                    raise ConfigError.of("PodSecurityDefaults", cause, "give each name once")
        Version.parse(self.version)

    @property
    def _text(self) -> str:
        pinned = f"v{Version.parse(self.version).minor}"
        defaults: dict[str, str] = {}
        for mode in ("enforce", "audit", "warn"):
            defaults |= {mode: getattr(self, mode), f"{mode}-version": pinned}
        pod_security = {
            "apiVersion": "pod-security.admission.config.k8s.io/v1",
            "kind": "PodSecurityConfiguration",
            "defaults": defaults,
            "exemptions": {
                "usernames": list(self.exempt_users),
                "runtimeClasses": list(self.exempt_runtime_classes),
                "namespaces": list(self.exempt),
            },
        }
        config = {
            "apiVersion": "apiserver.config.k8s.io/v1",
            "kind": "AdmissionConfiguration",
            "plugins": [{"name": "PodSecurity", "configuration": pod_security}],
        }
        return yaml.safe_dump(config, sort_keys=False)

    @property
    def path(self) -> str:
        """Where it is on every master."""
        return f"/etc/kubernetes/admission/config-{hashlib.sha256(self._text.encode()).hexdigest()[:12]}.yaml"

    def arguments(self) -> Mapping[str, str]:
        """See :meth:`ApiServerPolicy.arguments`."""
        return {"admission-control-config-file": self.path}

    def volumes(self) -> tuple[Volume, ...]:
        """See :meth:`ApiServerPolicy.volumes`."""
        return (Volume("admission", self.path),)

    def files(self) -> tuple[Resource, ...]:
        """See :meth:`ApiServerPolicy.files`."""
        return (File(self.path, self._text, mode="0600"),)

    def checks(self, plane: ControlPlane) -> Checks:
        """See :meth:`ApiServerPolicy.checks`."""
        asked = "default" not in self.exempt and _ADMINISTRATOR not in self.exempt_users
        if self.enforce != "privileged" and asked:
            yield Check("a privileged pod is refused where a namespace says nothing", lambda: self._refuses(plane.api))

    def _refuses(self, api: Api) -> str:
        labels = api.get("/api/v1/namespaces/default")["metadata"].get("labels") or {}
        if level := labels.get("pod-security.kubernetes.io/enforce"):
            return f"not asked: namespace default says {level} itself"
        return refused(api, "default", PRIVILEGED, "violates PodSecurity")
