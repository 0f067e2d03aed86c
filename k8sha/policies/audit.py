"""AuditLog: who did what, written down by every API server."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import yaml
from attrs import field, frozen

from k8sha.component import Checks
from k8sha.components.apiserver import ApiServerPolicy, Volume
from k8sha.errors import ConfigError, Problem
from k8sha.resources.files import Directory, File
from k8sha.resources.resource import STATE, Resource
from k8sha.waiting import Check, NotYet

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["DEFAULT_POLICY", "AuditLog"]

DEFAULT_POLICY = """\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
  # Never more than who and when of what holds secrets.
  - level: Metadata
    resources:
      - {group: "", resources: [secrets, configmaps, serviceaccounts/token]}
      - {group: authentication.k8s.io, resources: [tokenreviews]}
  # What the cluster's own parts read all the time says nothing about anybody.
  - level: None
    users: ["system:kube-proxy"]
    verbs: [get, list, watch]
  - level: None
    userGroups: ["system:nodes"]
    verbs: [get, list, watch]
  - level: None
    users: ["system:kube-scheduler", "system:kube-controller-manager", "system:apiserver"]
    verbs: [get, list, watch]
  - level: None
    resources:
      - {group: coordination.k8s.io, resources: [leases]}
      - {group: "", resources: [events]}
  - level: None
    nonResourceURLs: ["/healthz*", "/readyz*", "/livez*", "/version", "/openapi*"]
    users: ["system:anonymous", "system:apiserver"]
  - level: Metadata
"""

_LEVELS = ("None", "Metadata", "Request", "RequestResponse")
_STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_POLICY = ("apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields")
_METADATA = ("name", "namespace", "labels", "annotations", "creationTimestamp")
_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs")
_RULE = ("level", *_LISTS, "resources", "omitStages", "omitManagedFields")
_RESOURCE = ("group", "resources", "resourceNames")

_PART = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_GROUP = re.compile(rf"(?=.{{1,253}}$){_PART}(\.{_PART})*")


def policy_problems(text: str) -> Iterator[str]:
    """What an API server would not start with, or would pass over: a wrong policy stops it for good, and a field that
    it does not know is a wish that nobody hears. A field that is ``null`` is one that is not there, as in its reader.
    """
    try:
        policy = yaml.safe_load(text)
    except yaml.YAMLError as error:
        yield f"does not parse: {' '.join(str(error).split())}"
        return
    if not isinstance(policy, Mapping):
        yield "is no mapping"
        return
    if (policy.get("apiVersion"), policy.get("kind")) != ("audit.k8s.io/v1", "Policy"):
        yield f"is {policy.get('apiVersion')} {policy.get('kind')}, not audit.k8s.io/v1 Policy"
    for name in _others(policy, _POLICY):
        yield f"has an unknown field {name}"
    yield from _metadata(policy.get("metadata"))
    yield from _common("", policy)
    rules = policy.get("rules")
    if not isinstance(rules, list) or not rules:
        yield "has no rules"
        return
    for number, rule in enumerate(rules, 1):
        yield from _rule(f"rule {number}: ", rule)


def _others(given: Mapping[object, object], known: tuple[str, ...]) -> list[object]:
    return [name for name in given if name not in known]


def _texts(value: object) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(item, str) for item in value))


def _metadata(given: object) -> Iterator[str]:
    if given is None:
        return
    if not isinstance(given, Mapping):
        yield "metadata is no mapping"
        return
    for name in _others(given, _METADATA):
        yield f"metadata: has an unknown field {name}"
    for name in ("name", "namespace"):
        if not isinstance(given.get(name), str | None):
            yield f"metadata: {name} {given[name]!r} is no text"
    for name in ("labels", "annotations"):
        values = given.get(name)
        pairs = values.items() if isinstance(values, Mapping) else ()
        if not isinstance(values, Mapping | None) or not all(isinstance(text, str) for pair in pairs for text in pair):
            yield f"metadata: {name} is no mapping of texts"
    if given.get("creationTimestamp") is not None:
        yield "metadata: creationTimestamp is not for a file"


def _common(where: str, given: Mapping[str, object]) -> Iterator[str]:
    """What a policy and a rule both have."""
    stages = given.get("omitStages")
    if not _texts(stages):
        yield f"{where}omitStages is no list of texts"
    for stage in stages if isinstance(stages, list) else ():
        if stage not in _STAGES:
            yield f"{where}omitStages: {stage!r} is no stage: take {', '.join(_STAGES)}"
    if not isinstance(given.get("omitManagedFields"), bool | None):
        yield f"{where}omitManagedFields {given['omitManagedFields']!r} is neither true nor false"


def _rule(where: str, rule: object) -> Iterator[str]:
    if not isinstance(rule, Mapping):
        yield f"{where}is no mapping"
        return
    if rule.get("level") not in _LEVELS:
        yield f"{where}level {rule.get('level')!r} is none of {', '.join(_LEVELS)}"
    for name in _others(rule, _RULE):
        yield f"{where}has an unknown field {name}"
    yield from _common(where, rule)
    for name in _LISTS:
        if not _texts(rule.get(name)):
            yield f"{where}{name} is no list of texts"
    resources = rule.get("resources")
    if not isinstance(resources, list | None):
        yield f"{where}resources is no list of group, resources, resourceNames"
    for item in resources if isinstance(resources, list) else ():
        yield from _resource(where, item)
    urls = rule.get("nonResourceURLs")
    for url in urls if isinstance(urls, list) else ():
        if url != "*" and (not str(url).startswith("/") or "*" in str(url)[:-1]):
            yield f"{where}{url!r} does not begin with /, or has a * before its end"
    if urls and (resources or rule.get("namespaces")):
        yield f"{where}has nonResourceURLs beside resources or namespaces"


def _resource(where: str, item: object) -> Iterator[str]:
    if not isinstance(item, Mapping):
        yield f"{where}resources is no list of group, resources, resourceNames"
        return
    for name in _others(item, _RESOURCE):
        yield f"{where}resources: has an unknown field {name}"
    group = item.get("group")
    if group not in (None, "") and not (isinstance(group, str) and _GROUP.fullmatch(group)):
        yield f"{where}group {group!r} is no name of an API group (which has no version)"
    for name in ("resources", "resourceNames"):
        if not _texts(item.get(name)):
            yield f"{where}resources: {name} {item[name]!r} is no list of texts"
    if item.get("resourceNames") and not item.get("resources"):
        yield f"{where}resourceNames needs resources"


def _object(line: bytes) -> str:
    """The name of the object that a line of the log is about; nothing where the line is not whole yet."""
    try:
        about = json.loads(line).get("objectRef") or {}
    except json.JSONDecodeError:
        return ""
    return str(about.get("name", ""))


_SHARED = ("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/var", "/var/lib", "/var/log", "/var/tmp")
"""Folders that many share: as the log's own one they would be closed to everybody but root."""

_OTHERS = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr", "/var/run"),
    *("/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet", STATE),
    *("/var/log/audit", "/var/log/containers", "/var/log/journal", "/var/log/pods"),
)
"""Folders that are somebody's with all that is in them; auditd's own log is /var/log/audit/audit.log."""


def _owned(directory: str) -> bool:
    """Whether a folder can't be the audit log's alone."""
    path = PurePosixPath("/" + directory.lstrip("/"))
    return str(path) in _SHARED or any(path.is_relative_to(other) for other in _OTHERS)


_POSITIVE = {"max_age_days": 30, "max_files": 10, "max_size_mb": 100}


@frozen(kw_only=True)
class AuditLog(ApiServerPolicy):
    """Every API server writes down who did what, by a policy (audit.k8s.io/v1, as text).

    The log is turned over at ``max_size_mb`` megabytes; at most ``max_files`` old ones, none older than
    ``max_age_days``, are kept on each master. The default policy: who, what and when of everything, nothing of the
    cluster's own reading, and never the body of a request.
    """

    policy: str = field(default=DEFAULT_POLICY, repr=False)
    directory: str = "/var/log/kubernetes/audit"
    max_age_days: int = 30
    max_files: int = 10
    max_size_mb: int = 100

    def __attrs_post_init__(self) -> None:
        problems = [
            Problem("AuditLog", f"its policy {text}", "see audit.k8s.io/v1 Policy")
            for text in policy_problems(self.policy)
        ]
        problems += [
            Problem("AuditLog", f"{name} is {getattr(self, name)}", f"take 1 or more, such as {value}")
            for name, value in _POSITIVE.items()
            if getattr(self, name) < 1
        ]
        if not self.directory.startswith("/"):
            problems.append(Problem("AuditLog", f"directory {self.directory} is no absolute path", "begin it with /"))
        elif ".." in self.directory.split("/") or _owned(self.directory):
            remedy = "give the log a folder of its own, such as /var/log/kubernetes/audit"
            problems.append(Problem("AuditLog", f"directory {self.directory} is not the log's alone", remedy))
        if problems:
            raise ConfigError(problems)

    @property
    def path(self) -> str:
        """Where the policy is on every master: another policy is another file, which the API server starts with."""
        return f"/etc/kubernetes/audit/policy-{hashlib.sha256(self.policy.encode()).hexdigest()[:12]}.yaml"

    @property
    def log(self) -> str:
        """The log of a master."""
        return f"{self.directory}/audit.log"

    def arguments(self) -> Mapping[str, str]:
        """See :meth:`ApiServerPolicy.arguments`."""
        return {
            "audit-policy-file": self.path,
            "audit-log-path": self.log,
            "audit-log-maxage": str(self.max_age_days),
            "audit-log-maxbackup": str(self.max_files),
            "audit-log-maxsize": str(self.max_size_mb),
        }

    def volumes(self) -> tuple[Volume, ...]:
        """See :meth:`ApiServerPolicy.volumes`."""
        log = Volume("audit-log", self.directory, "DirectoryOrCreate", read_only=False)
        return (Volume("audit-policy", self.path), log)

    def files(self) -> tuple[Resource, ...]:
        """See :meth:`ApiServerPolicy.files`."""
        return (File(self.path, self.policy, mode="0600"), Directory(self.directory, mode="0700"))

    def checks(self, plane: ControlPlane) -> Checks:
        """See :meth:`ApiServerPolicy.checks`."""
        yield Check("an event of our own request is in a master's audit log", lambda: self._event(plane))

    def _event(self, plane: ControlPlane) -> str:
        """Ask for an object of a name that nobody else asks for, and look for it."""
        name = f"k8sha-audit-{secrets.token_hex(6)}"
        plane.api.found(f"/api/v1/namespaces/kube-system/configmaps/{name}")
        look = f"grep -h -m 1 {name} {shlex.quote(self.log)}"
        script = f"for at in 1 2 3 4 5 6 7 8 9 10; do if {look}; then break; fi; sleep 0.2; done"
        unread: list[str] = []
        for host in plane.hosts:
            _, out, err = host.read(script)[0]
            for line in out.splitlines():
                if _object(line) == name:
                    return f"configmaps/{name} in the log of {host.name}"
            unread += [f"{host.name}: {err.decode(errors='replace').strip()}"] if err else []
        raise NotYet("; ".join(unread[:3]) or f"configmaps/{name} is in none of the masters' logs")
