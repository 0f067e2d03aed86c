"""What comes back after etcd when a control plane is restored: API servers, controllers, nodes, agents.

Whoever watched the old cluster remembers a future that is gone. So what watches is started anew: controllers because
they were stopped, kubelets (which also drop pods that no longer are), and every agent in the host's network, such as
kube-proxy and the pod network's, with CoreDNS.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator

from attrs import field, frozen

from k8sha.component import Stages
from k8sha.components.masters import ADMIN_CONF, ApiReady
from k8sha.endpoint import Endpoint
from k8sha.etcd.access import Access
from k8sha.etcd.fence import CONTROLLERS, StaticPods
from k8sha.etcd.members import Members, Whole
from k8sha.etcd.record import PLACE
from k8sha.hosts.host import Host
from k8sha.report import Diff
from k8sha.resources.resource import Condition, Resource
from k8sha.stage import Stage

__all__ = [
    "PODS_OF_CGROUPS",
    "AgentsAnew",
    "AgentsRun",
    "ControllersHealthy",
    "EndpointServes",
    "KubeletAnew",
    "NoPhantoms",
    "external_members",
    "stacked_members",
]

_API = "kube-apiserver"
_MARK = "k8sha-restored"


def stacked_members(masters: tuple[Host, ...], workers: Iterable[Host], endpoint: Endpoint) -> Members:
    """A control plane's etcd, with all that depends on it."""
    workers = tuple(workers)
    return Members(
        access=Access(stacked=True),
        hosts=masters,
        others=workers,
        after=lambda whole: _after(whole, endpoint, whole.hosts, whole.alive),
        apart=lambda served: StaticPods((_API, *CONTROLLERS) if served else ()),
    )


def external_members(
    hosts: tuple[Host, ...], masters: tuple[Host, ...], workers: Iterable[Host], endpoint: Endpoint
) -> Members:
    """An etcd on hosts of its own, with the control plane that is its client."""
    workers = tuple(workers)

    def after(whole: Whole) -> Stages:
        nodes = tuple(host for host in whole.alive if host not in hosts)
        yield from _after(whole, endpoint, tuple(host for host in nodes if host in masters), nodes)

    return Members(
        access=Access(stacked=False),
        hosts=hosts,
        others=(*masters, *workers),
        clients=masters,
        after=after,
        apart=lambda served: StaticPods((_API, *CONTROLLERS) if served else ()),
        owner="etcd:etcd",
    )


def _after(whole: Whole, endpoint: Endpoint, masters: tuple[Host, ...], alive: tuple[Host, ...]) -> Stages:
    """Stages that bring these masters' programs back, and start anew what runs on all nodes that are ``alive``."""
    if not masters:
        return
    first = masters[0]
    serves = EndpointServes(endpoint, whole.revision)
    served = {host: (StaticPods((_API,)), *((serves,) if host == first else ())) for host in masters}
    yield Stage("start API servers, until the endpoint answers", served)
    whole.answered()
    yield Stage("every API server is ready", {host: (ApiReady(host.address, interval=0.3),) for host in masters})
    controllers = (StaticPods(CONTROLLERS), ControllersHealthy())
    work: dict[Host, tuple[Resource, ...]] = {host: (KubeletAnew(whole.id),) for host in alive}
    work |= {host: controllers for host in masters}  # their own kubelets were stopped, and started with etcd
    yield Stage("start controllers, and other kubelets anew", work)
    agents, nodes = AgentsAnew(whole.id, first.address), tuple(host.name for host in alive)
    yield Stage("agents", {first: (agents, AgentsRun(whole.id, first.address, nodes))})
    yield Stage("pods that no longer are", {host: (NoPhantoms(host.name),) for host in alive})


@frozen
class EndpointServes(Condition):
    """Through the cluster's endpoint an API server answers from an etcd that is at ``revision`` or later.

    A list that asks for no revision is read by quorum, so the one in the answer is etcd's own at that moment.
    """

    endpoint: Endpoint
    revision: int
    interval: float = field(default=0.2, kw_only=True)

    @property
    def key(self) -> str:
        return f"the restored cluster answers at {self.endpoint}"

    def probe(self) -> str:
        host = self.endpoint.address or self.endpoint.host
        server = f"https://{Endpoint(host, self.endpoint.port)}"
        return f"""\
kubectl --kubeconfig={ADMIN_CONF} --server={server} --tls-server-name=kubernetes --request-timeout=5s \\
  get --raw '/api/v1/namespaces?limit=1' 2>&1 || echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        try:
            found = int(json.loads(text)["metadata"]["resourceVersion"])
        except (ValueError, KeyError, TypeError):
            return Diff.of(" ".join(text.split())[-300:] or "no answer")
        if found < self.revision:
            return Diff.of(f"what answers there is at revision {found}, and the restored etcd at {self.revision}")
        return Diff()


@frozen
class ControllersHealthy(Condition):
    """The controller manager and the scheduler of a master say that they are well, asked on loopback."""

    @property
    def key(self) -> str:
        return "controllers are healthy"

    def probe(self) -> str:
        ports = {"kube-controller-manager": 10257, "kube-scheduler": 10259}
        ask = "curl -sSk --max-time 5 https://127.0.0.1:{port}/healthz 2>&1 || echo ' (no answer)'; echo"
        return "\n".join(f"printf '{name} '; {ask.format(port=port)}" for name, port in ports.items())

    def diff(self, seen: bytes) -> Diff:
        lines = (line.split(" ", 1) for line in seen.decode(errors="replace").splitlines() if " " in line)
        return Diff(tuple(f"{name}: {said[-200:]}" for name, said in lines if said.strip() != "ok"))


@frozen
class KubeletAnew(Resource):
    """A kubelet that was started after the restore of this id."""

    id: str

    @property
    def key(self) -> str:
        return "kubelet started anew"

    @property
    def _mark(self) -> str:
        return f"{PLACE}/kubelet-{self.id}"

    def probe(self) -> str:
        return f"if [ -e {self._mark} ]; then echo started; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of("restart it")

    def apply(self) -> str:
        return f"systemctl restart kubelet\nmkdir -p -m 0700 {PLACE}\n: >{self._mark}"


_COLUMNS = (
    ".kind",
    ".metadata.namespace",
    ".metadata.name",
    ".spec.template.spec.hostNetwork",
    ".spec.template.metadata.labels.k8s-app",
    f".spec.template.metadata.annotations.{_MARK}",
    ".metadata.generation",
    ".status.observedGeneration",
    ".status.desiredNumberScheduled",
    ".status.updatedNumberScheduled",
    ".status.numberAvailable",
    ".spec.replicas",
    ".status.updatedReplicas",
    ".status.availableReplicas",
)


@frozen
class _Agent:
    """A DaemonSet or Deployment whose pods must be started anew, and how far that is."""

    kind: str
    namespace: str
    name: str
    mark: str
    seen: bool
    wanted: int
    fresh: int
    available: int


def _listing(address: str) -> str:
    columns = "|".join(f"{{{column}}}" for column in _COLUMNS)
    template = f'{{range .items[*]}}agent|{columns}{{"\\n"}}{{end}}'
    return f"{_kubectl(address)} get daemonsets,deployments -A -o jsonpath={shlex.quote(template)}"


def _kubectl(address: str) -> str:
    host = f"[{address}]" if ":" in address else address
    return f"kubectl --kubeconfig={ADMIN_CONF} --server=https://{host}:6443 --request-timeout=20s"


def _agents(seen: bytes) -> Iterator[_Agent]:
    for line in seen.decode(errors="replace").splitlines():
        head, *words = line.split("|")
        if head != "agent" or len(words) != len(_COLUMNS):
            continue
        kind, namespace, name, network, app, mark, generation, observed, *numbers = words
        if network != "true" and app != "kube-dns":
            continue
        counts = [int(number or 0) for number in (numbers[:3] if kind == "DaemonSet" else numbers[3:])]
        yield _Agent(kind.lower(), namespace, name, mark, generation == observed, *counts)


@frozen
class AgentsAnew(Resource):
    """The pods of every DaemonSet and Deployment in the hosts' network, and of CoreDNS, are of a revision that was made
    after the restore of this id, by a mark in their template. They are exchanged as their own strategy has it."""

    id: str
    address: str

    @property
    def key(self) -> str:
        return "agents started anew"

    def probe(self) -> str:
        return f"{{ {_listing(self.address)} 2>&1 || echo 'the API server does not answer'; }}"

    def diff(self, seen: bytes) -> Diff:
        if b"the API server does not answer" in seen:
            return Diff.of("the API server does not answer")
        return Diff(tuple(f"{each.namespace}/{each.name}: restart" for each in _agents(seen) if each.mark != self.id))

    def apply(self) -> str:
        patch = json.dumps({"spec": {"template": {"metadata": {"annotations": {_MARK: self.id}}}}})
        return f"""\
{_listing(self.address)} | while IFS='|' read -r head kind namespace name network app rest; do
  if [ "$head" = agent ] && {{ [ "$network" = true ] || [ "$app" = kube-dns ]; }}; then
    {_kubectl(self.address)} -n "$namespace" patch "$kind" "$name" --type=merge -p {shlex.quote(patch)} </dev/null
  fi
done"""


@frozen
class AgentsRun(Condition):
    """Those agents run on every node that is to have them, and every one of ``nodes`` is Ready."""

    id: str
    address: str
    nodes: tuple[str, ...]
    patience: float = field(default=600, kw_only=True)

    @property
    def key(self) -> str:
        return "agents and nodes are ready"

    def probe(self) -> str:
        template = '{range .items[*]}node|{.metadata.name}|{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}'
        return f"""\
{{ {_listing(self.address)} && {_kubectl(self.address)} get nodes -o jsonpath={shlex.quote(template)}; }} 2>&1 \\
  || echo 'the API server does not answer'"""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace")
        if "the API server does not answer" in text:
            return Diff.of("the API server does not answer")
        ready = {tuple(line.split("|")[1:3]) for line in text.splitlines() if line.startswith("node|")}
        lines = [f"{name} is not Ready" for name in self.nodes if (name, "True") not in ready]
        for each in _agents(seen):
            if each.mark != self.id or not each.seen or not each.wanted == each.fresh == each.available:
                lines.append(f"{each.namespace}/{each.name}: {each.available} of {each.wanted} run")
        return Diff(tuple(lines))


PODS_OF_CGROUPS = (
    r"""sed -n 's#.*/kubepods.*[-/]pod\([0-9a-f_-]*\)\(\.slice\)\{0,1\}\(/.*\)\{0,1\}$#\1#p' | tr _ - | sort -u"""
)
"""Shell that reads lines of ``/proc/*/cgroup`` and prints the pods in them: by uid, static ones by their hash."""


@frozen
class NoPhantoms(Condition):
    """No pod has a process on this host that the API server does not have for it. Asked with the kubelet's own
    certificate; what runs is what kubelet's cgroups hold, for not every host has ``crictl``."""

    name: str
    patience: float = field(default=180, kw_only=True)
    interval: float = field(default=1, kw_only=True)

    @property
    def key(self) -> str:
        return "no pod runs that no longer is"

    def probe(self) -> str:
        own = "/var/lib/kubelet/pki/kubelet-client-current.pem"
        return f"""\
if [ ! -s /etc/kubernetes/kubelet.conf ]; then exit 0; fi
server=$(sed -n 's/^ *server: //p' /etc/kubernetes/kubelet.conf)
cat /proc/[0-9]*/cgroup 2>/dev/null | {PODS_OF_CGROUPS} | sed 's/^/runs /'
curl -sS --max-time 10 --cacert /etc/kubernetes/pki/ca.crt --cert {own} --key {own} \\
  -H 'Accept: application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io' \\
  "$server/api/v1/pods?fieldSelector=spec.nodeName={self.name}" | tr ',{{}}' '\\n' |
  sed -n 's/^ *"uid": *"\\(.*\\)" *$/known \\1/p; s#^ *"kubernetes.io/config.hash": *"\\(.*\\)" *$#known \\1#p'"""

    def diff(self, seen: bytes) -> Diff:
        words = [line.split() for line in seen.decode(errors="replace").splitlines()]
        known = {word[1] for word in words if word[0] == "known"}
        runs = {word[1] for word in words if word[0] == "runs"}
        if not known:
            return Diff.of("the API server does not tell which pods are to run here")
        return Diff(tuple(f"the pod {uid} runs, and is none any more" for uid in sorted(runs - known)))
