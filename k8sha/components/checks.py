"""What ``verify`` looks at in a cluster: nodes, static pods, API servers, certificates, DNS, pods reaching pods."""

from __future__ import annotations

import datetime
import shlex
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from k8sha.components.serving import NamesServed, wanted_names
from k8sha.components.settings import in_force, node_settings, plane_settings
from k8sha.etcd.unfinished import unfinished_check
from k8sha.hosts.host import Host
from k8sha.kube import Api, Json, ready
from k8sha.waiting import Check, NotYet, wait_for

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane
    from k8sha.components.workers import Workers

__all__ = ["control_plane_checks", "nodes_ready", "worker_checks"]

STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
EXPIRY_DAYS = 30
"""Certificates that end within so many days are a finding: time enough for a renewal in working hours."""

_TOLD = 30.0
"""Seconds within which the cluster hears of a static pod that has just started: kubelet's status manager goes round
every 10 s, and kubeadm's startup probes ask every 10 s, the first time after 10."""

_TRANSLATED = 30.0
"""Seconds that the kube-proxy of a new node may take to start and to write its rules. A kubelet that has not read the
Services when it first creates the container ("cannot construct envvars") tries again after some 13 s, as measured."""

_EXPIRY = """\
for file in $(find /etc/kubernetes/pki /var/lib/kubelet/pki -name '*.crt' -o -name 'kubelet-*-current.pem'); do
  end=$(openssl x509 -noout -enddate -in "$file")
  printf '%s %s\\n' "$(date -d "${end#notAfter=}" +%s)" "$file"
done
for file in admin controller-manager scheduler; do
  if [ -s "/etc/kubernetes/$file.conf" ]; then
    data=$(sed -n 's/^ *client-certificate-data: //p' "/etc/kubernetes/$file.conf")
    end=$(printf '%s' "$data" | base64 -d | openssl x509 -noout -enddate)
    printf '%s %s\\n' "$(date -d "${end#notAfter=}" +%s)" "/etc/kubernetes/$file.conf"
  fi
done"""


def control_plane_checks(plane: ControlPlane) -> Iterator[Check]:
    """What is true of a control plane that works."""
    api = plane.api
    names = ", ".join(host.name for host in plane.hosts)
    yield Check(
        f"nodes {names} are Ready at v{plane.version}", lambda: nodes_ready(api, plane.hosts, f"v{plane.version}")
    )
    pods = STATIC_PODS if plane.etcd.stacked else STATIC_PODS[1:]
    yield Check(f"every static pod runs on {names}", lambda: _static_pods(api, plane.hosts, pods))
    for host in plane.hosts:
        yield Check(f"the API server of {host.name} is ready", lambda host=host: _readyz(host, host.address, 6443))  # type: ignore[misc] # mypy infers no lambda with a default
    yield Check(
        f"an API server answers through {plane.endpoint}",
        lambda: _readyz(plane.hosts[-1], plane.endpoint.host, plane.endpoint.port, name=plane.endpoint.host),
    )
    yield Check("every API server shows a certificate for every name under which it is asked", lambda: _names(plane))
    yield Check(
        f"the programs of {names} run with the settings that are given",
        lambda: in_force(plane.hosts, plane_settings(plane)),
    )
    if plane.etcd.stacked:  # one on its own hosts is a component of its own
        yield from plane.etcd.checks()
    else:
        yield unfinished_check(plane.hosts, "any master", members=plane.etcd.hosts)
    yield Check(f"no certificate ends within {EXPIRY_DAYS} days", lambda: _certificates(plane.hosts))
    yield Check("CoreDNS runs, and resolves the kubernetes Service from every master", lambda: _dns(api, plane.hosts))


def worker_checks(workers: Workers) -> Iterator[Check]:
    """What is true of workers that work."""
    names = ", ".join(host.name for host in workers.hosts)
    version = f"v{workers.plane.version}"
    api = workers.plane.api
    yield Check(f"nodes {names} are Ready at {version}", lambda: nodes_ready(api, workers.hosts, version))
    yield Check("every worker resolves the kubernetes Service", lambda: _dns(api, workers.hosts))
    if (settings := node_settings(workers.settings or workers.plane.settings)).files:
        yield Check(
            f"the programs of {names} run with the settings that are given",
            lambda: in_force(workers.hosts, settings),
        )
    yield Check(f"no certificate of {names} ends within {EXPIRY_DAYS} days", lambda: _certificates(workers.hosts))


def nodes_ready(api: Api, hosts: Iterable[Host], version: str) -> str:
    """Every host is a Ready node of this version."""
    nodes = api.nodes()
    wrong = []
    hosts = tuple(hosts)
    for host in hosts:
        node = nodes.get(host.name)
        if node is None:
            wrong.append(f"{host.name} is not a node")
            continue
        found = node["status"]["nodeInfo"]["kubeletVersion"]
        if found != version:
            wrong.append(f"{host.name} runs {found}")
        if not ready(node):
            conditions = node["status"].get("conditions", [])
            said = next((item.get("message", "") for item in conditions if item["type"] == "Ready"), "no condition")
            wrong.append(f"{host.name} is not Ready: {said}")
    if wrong:
        raise NotYet("; ".join(wrong))
    return f"{len(hosts)} nodes"


def _static_pods(
    api: Api, hosts: Sequence[Host], names: Sequence[str], *, pause: Callable[[float], None] = time.sleep
) -> str:
    """Every one is ready by the cluster's word, which is waited for where it is not there yet."""
    pods: dict[str, Json] = {}
    wanted = [f"{name}-{host.name}" for host in hosts for name in names]

    def told() -> str:
        pods.clear()
        pods.update({pod["metadata"]["name"]: pod for pod in api.get("/api/v1/namespaces/kube-system/pods")["items"]})
        if late := [name for name in wanted if _starts(pods.get(name))]:
            raise NotYet("; ".join(f"{name} {_state(pods.get(name))}" for name in late))
        return ""

    wait_for(Check("every static pod has started", told), timeout=_TOLD, pause=pause)
    if wrong := [f"{name} {_state(pods[name])}" for name in wanted if not ready(pods[name])]:
        raise NotYet("; ".join(wrong))
    return f"{len(wanted)} pods"


def _starts(pod: Json | None) -> bool:
    """Whether a pod may be at work without its kubelet having said so."""
    if pod is None or pod["status"].get("phase", "Pending") == "Pending":
        return True
    return not all(container.get("started") for container in pod["status"].get("containerStatuses", ()))


def _state(pod: Json | None) -> str:
    return "is missing" if pod is None else f"is not ready ({pod['status'].get('phase', 'Pending')})"


def _names(plane: ControlPlane) -> str:
    """As a client sees it, by whatever name it asks."""
    wrong = []
    for host in plane.hosts:
        shown = NamesServed(host.address, wanted_names(plane, host))
        _, out, err = host.read(shown.probe())[0]
        if missing := shown.diff(out + err).lines:
            wrong.append(f"{host.name}: {', '.join(missing)}")
    if wrong:
        raise NotYet("; ".join(wrong))
    return f"asked of {len(plane.hosts)} API servers"


def _readyz(asker: Host, address: str, port: int, *, name: str = "kubernetes") -> str:
    where = f"[{address}]" if ":" in address else address
    command = (
        f"kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://{where}:{port} --tls-server-name={name} "
        "--request-timeout=5s get --raw '/readyz?verbose'"
    )
    exit, out, err = asker.read(command)[0]
    text = out.decode(errors="replace")
    failed = [line for line in text.splitlines() if line.startswith("[-]")]
    if exit != 0 or failed or "readyz check passed" not in text:
        raise NotYet("; ".join(failed) or err.decode(errors="replace").strip()[-300:] or f"exit {exit}")
    return f"{text.count('[+]')} parts ready"


def _certificates(hosts: Sequence[Host]) -> str:
    now = datetime.datetime.now(datetime.UTC).timestamp()
    wrong = []
    nearest = float("inf")
    for host in hosts:
        exit, out, err = host.read(_EXPIRY)[0]
        if exit != 0 or not out.strip():
            raise NotYet(f"{host.name}: {err.decode(errors='replace').strip() or 'no certificate is there'}")
        for line in out.decode().splitlines():
            end, _, path = line.partition(" ")
            days = (int(end) - now) / 86400
            nearest = min(nearest, days)
            if days < EXPIRY_DAYS:
                wrong.append(f"{host.name}:{path} ends in {days:.0f} days")
    if wrong:
        raise NotYet("; ".join(wrong))
    return f"the first ends in {nearest:.0f} days"


_QUERY = (
    r"\022\064\001\000\000\001\000\000\000\000\000\000"  # one question, recursion desired
    r"\012kubernetes\007default\003svc{labels}\000\000\001\000\001"  # type A, class IN
)


def _dns(api: Api, hosts: Sequence[Host], *, pause: Callable[[float], None] = time.sleep) -> str:
    """A DNS question put to the cluster's DNS Service from each host, as a raw datagram: no tool is needed there.

    A node that has just joined translates no service address until its kube-proxy has started.
    """
    service = api.get("/api/v1/namespaces/kube-system/services/kube-dns")["spec"]["clusterIP"]
    wanted = api.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"]
    config = api.get("/api/v1/namespaces/kube-system/configmaps/kubeadm-config")["data"]["ClusterConfiguration"]
    domain = next((line.split()[1] for line in config.splitlines() if "dnsDomain" in line), "cluster.local")
    labels = "".join(rf"\{len(label):03o}{label}" for label in domain.split("."))
    query = _QUERY.format(labels=labels)
    script = (
        # dd makes one datagram of it: printf alone would send one for each line, and the question has a line feed
        f"exec 3<>/dev/udp/{service}/53; printf {shlex.quote(query)} | dd bs=512 iflag=fullblock status=none >&3; "
        "timeout 3 dd bs=512 count=1 status=none <&3 | od -An -tu1 -v | tr -s ' \\n' ' '"
    )
    answer, left = " ".join(wanted.split(".")), list(hosts)

    def look() -> str:
        wrong = {}
        for host in left:
            _, out, err = host.read(f"bash -c {shlex.quote(script)}")[0]
            if not out.decode().strip().endswith(answer):
                wrong[host] = err.decode(errors="replace").strip() or out.decode().strip() or "no answer within 3 s"
                if "not permitted" in wrong[host]:  # as HostRoutes has it refused
                    wrong[host] = f"no rule for the Service {service} there: does its kube-proxy run?"
        left[:] = wrong
        if wrong:
            raise NotYet("; ".join(f"{host.name}: {said[:200]}" for host, said in wrong.items()))
        return f"kubernetes.default.svc.{domain} is {wanted}, asked from {len(hosts)} hosts"

    return wait_for(Check("the kubernetes Service is resolved", look), timeout=_TRANSLATED, pause=pause)
