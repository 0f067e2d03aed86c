"""What comes back after etcd when a control plane is restored: API servers, controllers, nodes, agents.

Whoever watched the old cluster remembers a future that is gone. So what watches is started anew: controllers because
they were stopped, kubelets (which also drop pods that no longer are), and every agent in the host's network, such as
kube-proxy and the pod network's, with CoreDNS.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from attrs import field, frozen

from k8sha.component import Stages
from k8sha.components.agents import AgentsAnew, AgentsOnDelete, AgentsReplaced, AgentsRun, AgentsSeen
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
    "ControllersHealthy",
    "EndpointServes",
    "KubeletAnew",
    "NoPhantoms",
    "external_members",
    "stacked_members",
]

_API = "kube-apiserver"
_MARKER = "/api/v1/namespaces/kube-system/configmaps/k8sha-backup"


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
    serves = EndpointServes(endpoint, whole.revision, whole.marker, whole.since)
    served = {host: (StaticPods((_API,)), *((serves,) if host == first else ())) for host in masters}
    yield Stage("start API servers, until the endpoint answers", served)
    whole.answered()
    yield Stage("every API server is ready", {host: (ApiReady(host.address, interval=0.3),) for host in masters})
    controllers = (StaticPods(CONTROLLERS), ControllersHealthy())
    work: dict[Host, tuple[Resource, ...]] = {host: (KubeletAnew(whole.id),) for host in alive}
    work |= {host: controllers for host in masters}  # their own kubelets were stopped, and started with etcd
    yield Stage("start controllers, and other kubelets anew", work)
    nodes = tuple(host.name for host in alive)
    yield Stage("agents", {first: (AgentsAnew(whole.id, first.address), AgentsSeen(whole.id, first.address))})
    run = AgentsRun(whole.id, first.address, nodes)
    old = (AgentsOnDelete(whole.id, first.address), AgentsReplaced(whole.id, first.address, nodes))
    outcome = yield Stage("agents run", {first: (*old, run)})
    whole.absent(run.absent(outcome.of(first.name, run.key)))
    yield Stage("pods that no longer are", {host: (NoPhantoms(host.name),) for host in alive})


@frozen
class EndpointServes(Condition):
    """Through the cluster's endpoint an API server answers from an etcd that is at ``revision`` or later, and that has
    the snapshot's ``marker``, if that has one: the ConfigMap that each backup writes. A later backup's, written after
    revision ``since``, is as good.

    A list that asks for no revision is read by quorum, so the one in the answer is etcd's own at that moment.
    """

    endpoint: Endpoint
    revision: int
    marker: str = ""
    since: int = 0
    interval: float = field(default=0.2, kw_only=True)

    @property
    def key(self) -> str:
        return f"the restored cluster answers at {self.endpoint}"

    def probe(self) -> str:
        host = self.endpoint.address or self.endpoint.host
        server = f"https://{Endpoint(host, self.endpoint.port)}"
        asked = f"{_asked(server, '/api/v1/namespaces?limit=1')} 2>&1 || echo ' (no answer)'"
        if not self.marker:
            return asked
        # Only once there is an answer: what it would say before is known.
        return f"""\
said=$({asked})
printf '%s\\n' "$said"
case $said in *'"resourceVersion"'*) {_asked(server, _MARKER)} 2>&1 || echo ;; esac"""

    def diff(self, seen: bytes) -> Diff:
        text, _, marker = seen.decode(errors="replace").strip().partition("\n")
        try:
            found = int(json.loads(text)["metadata"]["resourceVersion"])
        except (ValueError, KeyError, TypeError):
            return Diff.of(" ".join(f"{text} {marker}".split())[-300:] or "no answer")
        if found < self.revision:
            return Diff.of(f"what answers there is at revision {found}, and the restored etcd at {self.revision}")
        return self._marked(marker) if self.marker else Diff()

    def _marked(self, text: str) -> Diff:
        try:
            item = json.loads(text)
            found, at = str(item["data"]["marker"]), int(item["metadata"]["resourceVersion"])
        except (ValueError, KeyError, TypeError):
            return Diff.of(f"the backup's marker is not there: {' '.join(text.split())[-200:] or 'no answer'}")
        if found == self.marker or at > self.since:
            return Diff()
        return Diff.of(f"the backup's marker there is {found}, and the snapshot's {self.marker}")


def _asked(server: str, path: str) -> str:
    return (
        f"kubectl --kubeconfig={ADMIN_CONF} --server={server} --tls-server-name=kubernetes --request-timeout=5s \\\n"
        f"  get --raw '{path}'"
    )


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
