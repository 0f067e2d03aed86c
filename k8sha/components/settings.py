"""What the settings of a cluster say beside what its programs run with. API servers follow the settings; what else
kubeadm writes down once, when a cluster is made or a node joins, is told where it differs, and left alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import yaml
from attrs import field, frozen

from k8sha import events
from k8sha.component import Stages
from k8sha.components.apiserver_host import arguments_of, flag_lines, flags_of
from k8sha.components.formation import cluster_configuration
from k8sha.components.kubeadm import plain
from k8sha.events import Listener
from k8sha.hosts.host import Host
from k8sha.report import Diff, Outcome, Plan, Result
from k8sha.resources.resource import Resource
from k8sha.stage import Step
from k8sha.waiting import NotYet

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane
    from k8sha.components.node import NodeSettings

__all__ = ["Notes", "SettingsInForce", "in_force", "node_settings", "note_stages", "plane_settings"]

REMEDY = "install() leaves them as they are: see Known limits in docs/support.md"

_MANIFESTS = "/etc/kubernetes/manifests"
_PARTS = {"kube-controller-manager": "controllerManager", "kube-scheduler": "scheduler", "etcd": "etcd"}
"""Static pods, and the part of kubeadm's configuration that each is made of."""

_SERVER = "kube-apiserver"
_FILES = {
    "kubelet": "/var/lib/kubelet/config.yaml",
    "kube-proxy": "/var/lib/kubelet/pods/*/volumes/kubernetes.io~configmap/kube-proxy/config.conf",
}
"""Programs that read a file, and where a node has it: kube-proxy's is its pod's own, as it was mounted."""

_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:h|ms|m|s))+")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@frozen
class SettingsInForce(Resource):
    """With which settings the programs of a node were started. Only reads.

    ``arguments`` are wanted ones by static pod, ``derived`` those that follow from the cluster's networks and count
    only where they are there; ``files`` are wanted fields of configuration files by program.
    """

    arguments: Mapping[str, Mapping[str, str]] = field(factory=dict, hash=False)
    derived: Mapping[str, Mapping[str, str]] = field(factory=dict, hash=False)
    files: Mapping[str, Mapping[str, object]] = field(factory=dict, hash=False)

    @property
    def key(self) -> str:
        return "settings in force"

    def probe(self) -> str:
        text = ""
        if self.arguments:
            pods = " ".join(f"{_MANIFESTS}/{name}.yaml" for name in self.arguments)
            text = f"""\
set --
for file in {pods}; do if [ -f "$file" ]; then set -- "$@" "$file"; fi; done
if [ $# -gt 0 ]; then grep -He '^ *- .\\{{0,1\\}}--' -- "$@" || [ $? -le 1 ]; fi
"""
        for name in self.files:
            text += f"""\
for file in {_FILES[name]}; do
  if [ -f "$file" ]; then printf '\\nfile {name}\\n'; cat "$file"; break; fi
done
"""
        return text or ":"

    def diff(self, seen: bytes) -> Diff:
        return Diff()

    def apply(self) -> str:
        return ":"

    def running(self, seen: bytes) -> dict[str, str] | None:
        """The arguments of a master's API server, None where there is none."""
        return _flags(_split(seen)[""]).get(_SERVER)

    def server_differs(self, seen: bytes) -> bool:
        """Whether an API server that is there has not all arguments that are wanted."""
        found = self.running(seen)
        return found is not None and any(flag_lines(found, self.arguments.get(_SERVER, {})))

    def differences(self, seen: bytes) -> Iterator[str]:
        """What differs and stays so, in words; nothing of a program that is not there yet."""
        parts = _split(seen)
        flags = _flags(parts[""])
        for name in (name for name in self.arguments if name != _SERVER and name in flags):
            found, derived = flags[name], self.derived.get(name, {})
            wanted = {key: value for key, value in derived.items() if key in found} | dict(self.arguments[name])
            for key, value in sorted(wanted.items()):
                if found.get(key) != value:
                    yield _differs(f"{name} --{key}", found.get(key), value)
        for name, fields in self.files.items():
            if name in parts:
                yield from _fields_differ(name, _mapping(parts[name]), fields)


def _split(seen: bytes) -> dict[str, str]:
    """What a probe printed: the arguments under no name, then each file by its program."""
    parts = re.split(r"^file (\S+)\n", seen.decode(errors="replace"), flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def _flags(text: str) -> dict[str, dict[str, str]]:
    """Arguments by static pod, from lines of their manifests: ``PATH:    - --name=value``."""
    words: dict[str, list[str]] = {}
    for line in text.splitlines():
        path, _, item = line.partition(":")
        word = item.strip().removeprefix("- ").strip()
        if word.startswith(("'", '"')):
            try:
                word = str(yaml.safe_load(word))
            except yaml.YAMLError:
                continue
        words.setdefault(path.rpartition("/")[2].removesuffix(".yaml"), []).append(word)
    return {name: flags_of(found) for name, found in words.items()}


def _mapping(text: str) -> Mapping[str, object]:
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, Mapping) else {}


def _differs(what: str, found: object, wanted: object) -> str:
    return f"{what} is {'not there' if found in (None, '') else found}, and {wanted} is asked for"


def _fields_differ(what: str, found: Mapping[str, object], wanted: Mapping[str, object]) -> Iterator[str]:
    """Fields of a configuration that are not as wanted; what is empty is left out of a file, and so is the same."""
    for name, value in sorted(wanted.items()):
        there = found.get(name)
        if isinstance(value, Mapping) and isinstance(there, Mapping):
            yield from _fields_differ(f"{what} {name}", there, value)
        elif _seconds(there) != _seconds(value) and (there or value):
            yield _differs(f"{what} {name}", there, value)


def _seconds(value: object) -> object:
    """A duration in seconds, which Go writes in a way of its own (``1m0s``); any other value as it is."""
    if isinstance(value, str) and _DURATION.fullmatch(value):
        return sum(float(count) * _SECONDS[unit] for count, unit in re.findall(r"(\d+(?:\.\d+)?)(h|ms|m|s)", value))
    return value


def node_settings(settings: NodeSettings) -> SettingsInForce:
    """What is looked at on a node that is no master."""
    return SettingsInForce(files=_files(plain(settings.kubelet), plain(settings.kube_proxy)))


def _files(kubelet: Mapping[str, object], kube_proxy: Mapping[str, object]) -> dict[str, Mapping[str, object]]:
    return {name: wanted for name, wanted in (("kubelet", kubelet), ("kube-proxy", kube_proxy)) if wanted}


def plane_settings(plane: ControlPlane) -> SettingsInForce:
    """What is looked at on a master."""
    config = cluster_configuration(plane)
    parts = {_SERVER: "apiServer", **_PARTS}
    arguments = {name: arguments_of(_of(config, part).get("extraArgs")) for name, part in parts.items()}
    if plane.etcd.stacked:
        arguments["etcd"] = arguments_of(_of(_of(config, "etcd"), "local").get("extraArgs"))
    else:
        del arguments["etcd"]
    cluster = plane.cluster
    networks = {
        "cluster-cidr": cluster.pod_cidr,
        "service-cluster-ip-range": cluster.service_cidr,
        "cluster-name": cluster.name,
    }
    kubelet = {"clusterDomain": cluster.dns_domain, **plain(plane.settings.kubelet)}
    return SettingsInForce(
        arguments=arguments,
        derived={"kube-controller-manager": networks},
        files=_files(kubelet, plain(plane.settings.kube_proxy)),
    )


def _of(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = config.get(name)
    return part if isinstance(part, Mapping) else {}


def notes(seen: Iterable[tuple[Host, bytes]], settings: SettingsInForce) -> tuple[str, ...]:
    """What differs, each once with the hosts where it does."""
    found: dict[str, list[str]] = {}
    for host, output in seen:
        for text in settings.differences(output):
            found.setdefault(text, []).append(host.name)
    return tuple(f"{', '.join(names)}: {text}" for text, names in found.items())


def note_stages(hosts: Sequence[Host], outcome: Outcome, settings: SettingsInForce) -> Stages:
    """What tells of settings that differ, by what a stage has seen of these hosts; no step at all where none does."""
    if texts := notes(((host, outcome.of(host.name, settings.key)) for host in hosts), settings):
        yield Notes("settings", tuple(f"{text} — {REMEDY}" for text in texts))


def in_force(hosts: Sequence[Host], settings: SettingsInForce) -> str:
    """For ``verify``: the programs of these hosts run with what the settings say."""
    seen = []
    for host in hosts:
        exit, out, err = host.read(settings.probe())[0]
        if exit != 0:
            raise NotYet(f"{host.name}: {err.decode(errors='replace').strip()[-300:] or f'exit {exit}'}")
        seen.append((host, out))
    if wrong := notes(seen, settings):
        raise NotYet(f"{'; '.join(wrong)} — {REMEDY}")
    return f"on {len(hosts)} hosts"


@frozen
class Notes(Step):
    """Tells an operator what differs and stays so. It touches nothing, and asks nobody."""

    name: str
    texts: tuple[str, ...]

    def plan(self, component: str, listen: Listener) -> tuple[Outcome, Plan]:
        """See :meth:`Step.plan`."""
        for text in self.texts:
            events.warn(component, text, listen)
        return Outcome(), Plan(warnings=tuple(f"{component}: {text}" for text in self.texts))

    def install(self, component: str, listen: Listener) -> tuple[Outcome, tuple[Result, ...]]:
        """See :meth:`Step.install`."""
        self.plan(component, listen)
        return Outcome(), ()
