"""HostRoutes: a pod network of the plainest kind, without any image, for nodes on one layer-2 network.

On each node the CNI plugins bridge, host-local and portmap serve that node's own pod range, and one static route per
other node leads to that node's range. Nothing runs but the kernel.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping

from attrs import field, frozen

from k8sha.addons.network import network_checks
from k8sha.component import Checks, Component, Stages
from k8sha.components.control_plane import ControlPlane
from k8sha.components.workers import Workers, as_workers
from k8sha.errors import KubeError
from k8sha.hosts.host import Host
from k8sha.kube import Json
from k8sha.objects.applied import not_there_yet
from k8sha.report import Diff
from k8sha.resources.files import File
from k8sha.resources.resource import Condition, KnownAfter
from k8sha.resources.service import Service
from k8sha.stage import Stage

__all__ = ["HostRoutes"]

CNI_CONFIG = "/etc/cni/net.d/10-k8sha.conflist"
ROUTES = "/usr/libexec/k8sha/pod-routes"
UNIT = "k8sha-pod-routes"
_KUBELET_CONF = "/etc/kubernetes/kubelet.conf"


@frozen
class _OfNode(Condition):
    """What is true of the host's node, by the API server's word, asked on the node itself with its kubelet's own
    certificate."""

    node: str

    def probe(self) -> str:
        client = "/var/lib/kubelet/pki/kubelet-client-current.pem"
        return f"""\
if [ ! -s {_KUBELET_CONF} ] || [ ! -s {client} ]; then echo 'it has not joined yet'; exit 0; fi
server=$(sed -n 's/^ *server: //p' {_KUBELET_CONF})
curl -sS --max-time 10 --cacert /etc/kubernetes/pki/ca.crt --cert {client} --key {client} \\
  "$server/api/v1/nodes/{self.node}" 2>&1 || echo"""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace").strip()
        try:
            found = json.loads(text)
        except ValueError:
            return Diff.of(" ".join(text.split())[-300:] or "no answer")
        if found.get("kind") == "Node":
            return self.judge(found)
        if found.get("code") == 404:  # a kubelet makes its node when it starts, and not again where that is deleted
            return Diff.of(f"{self.node} is not a node: have its kubelet register it, by systemctl restart kubelet")
        return Diff.of(str(found.get("message") or "no answer"))

    def judge(self, node: Json) -> Diff:
        """What is still wrong with the node."""
        raise NotImplementedError  # abstract: each subclass judges


@frozen
class NodeReady(_OfNode):
    """The node is Ready."""

    patience: float = field(default=180, kw_only=True)

    @property
    def key(self) -> str:
        return f"node {self.node} is Ready"

    def judge(self, node: Json) -> Diff:
        """See :meth:`_OfNode.judge`."""
        for condition in node.get("status", {}).get("conditions", ()):
            if condition["type"] == "Ready":
                said = " ".join(str(condition.get("message", "")).split())[-300:]
                return Diff() if condition["status"] == "True" else Diff.of(said or "it is not Ready")
        return Diff.of("it has no condition yet")


@frozen
class PodRange(_OfNode):
    """The node has its range of pod addresses, which the controller manager gives it once it is registered."""

    patience: float = field(default=60, kw_only=True)

    @property
    def key(self) -> str:
        return f"pod range of node {self.node}"

    def judge(self, node: Json) -> Diff:
        """See :meth:`_OfNode.judge`."""
        return Diff() if _range(node) else Diff.of("the controller manager has given it none yet")

    def told(self, seen: bytes) -> str:
        """The range, empty where there is none yet."""
        return "" if self.diff(seen) else _range(json.loads(seen))


def _range(node: Json) -> str:
    return str(node.get("spec", {}).get("podCIDR", ""))


@frozen
class HostRoutes(Component):
    """The pod network of a control plane and its workers, by static routes.

    All nodes must be on one layer-2 network. ``mtu`` is the pods' interfaces', 0 for the plugin's default. Ranges are
    those that Kubernetes gave to the nodes, so this comes after all nodes have joined.
    """

    plane: ControlPlane
    workers: tuple[Workers, ...] = field(default=(), converter=as_workers)
    mtu: int = field(default=0, kw_only=True)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """Every node."""
        return (*self.plane.hosts, *(host for workers in self.workers for host in workers.hosts))

    def _ranges(self) -> dict[str, str]:
        """The pod range of each node that has one; none where the cluster is not there yet."""
        try:
            nodes = self.plane.api.nodes()
        except KubeError as error:
            if not_there_yet(error):
                return {}
            raise
        return {name: _range(node) for name, node in nodes.items() if _range(node)}

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        ranges = self._ranges()
        waits = {host: PodRange(host.name) for host in self.hosts if host.name not in ranges}
        if waits:
            outcome = yield Stage("every node has its pod range", {host: (wait,) for host, wait in waits.items()})
            told = {host.name: wait.told(outcome.of(host.name, wait.key)) for host, wait in waits.items()}
            ranges |= {name: given for name, given in told.items() if given}
        work = {}
        for host in self.hosts:
            script = File(ROUTES, self._routes(host, ranges), mode="0755")
            unit = File(f"/etc/systemd/system/{UNIT}.service", _UNIT_TEXT)
            config = File(CNI_CONFIG, self._conflist(host, ranges))
            service = Service(UNIT, watches=(script, unit))
            work[host] = (script, unit, service, config, NodeReady(host.name))
        yield Stage("routes to every node's pods", work)

    def _conflist(self, host: Host, ranges: Mapping[str, str]) -> str | KnownAfter:
        pod_range = ranges.get(host.name)
        if pod_range is None:  # only in a plan: an install has waited for it
            return KnownAfter(f"Kubernetes has given {host.name} its pod range")
        bridge: dict[str, object] = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "forceAddress": True,  # a node that was registered anew has another range: its bridge follows
            "hairpinMode": True,
            "ipMasq": False,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": pod_range}]],
                "routes": [{"dst": "::/0" if ":" in pod_range else "0.0.0.0/0"}],
            },
        }
        if self.mtu:
            bridge["mtu"] = self.mtu
        portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
        config = {"cniVersion": "1.0.0", "name": "k8sha", "plugins": [bridge, portmap]}
        return json.dumps(config, indent=2) + "\n"

    def _routes(self, host: Host, ranges: Mapping[str, str]) -> str | KnownAfter:
        """A script that may run any number of times: routes to the others and to nobody else, no masquerading between
        pods, and no packet to a service that leaves by the default route."""
        others = [other for other in self.hosts if other != host]
        if any(other.name not in ranges for other in others):
            return KnownAfter("Kubernetes has given every node its pod range")
        pods = self.plane.cluster.pod_cidr
        family, tables = ("-6", "ip6tables") if ipaddress.ip_network(pods).version == 6 else ("-4", "iptables")
        lines = ["#!/bin/sh", "# Written by k8sha: the nodes' way to pods and services.", "set -eu"]
        # Ranges are given anew: the way to a node that has left would lead this node's own pods astray.
        kept = "|".join(f"'via {ranges[other.name]}'" for other in others)
        lines += [
            f"ip {family} route show root {pods} | while read -r range way gateway rest; do",
            '  case "$way $range" in',
            *([f"    {kept}) ;;"] if kept else ()),
            f"""    'via '*) ip {family} route del "$range" via "$gateway" ;;""",
            "  esac",
            "done",
        ]
        lines += [f"ip {family} route replace {ranges[other.name]} via {other.address}" for other in others]
        rule = f"POSTROUTING -s {pods} ! -d {pods} -m comment --comment k8sha-pods -j MASQUERADE"
        lines.append(f"{tables} -w 5 -t nat -C {rule} 2>/dev/null || {tables} -w 5 -t nat -A {rule}")
        for way in ("-s", "-d"):
            rule = f"FORWARD {way} {pods} -m comment --comment k8sha-pods -j ACCEPT"
            lines.append(f"{tables} -w 5 -C {rule} 2>/dev/null || {tables} -w 5 -A {rule}")
        # What kube-proxy has not translated (yet) is refused here: by the default route it would leave the cluster, and
        # whoever answers there would keep the connection for as long as it lasts.
        for chain in ("OUTPUT", "FORWARD"):
            rule = f"{chain} -d {self.plane.cluster.service_cidr} -m comment --comment k8sha-services -j REJECT"
            lines.append(f"{tables} -w 5 -C {rule} 2>/dev/null || {tables} -w 5 -I {rule}")
        return "\n".join(lines) + "\n"

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        return network_checks(self.plane, self.hosts)


_UNIT_TEXT = f"""\
# Written by k8sha.
[Unit]
Description=Routes to the pods of the other nodes
After=network-online.target
Wants=network-online.target
Before=kubelet.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={ROUTES}

[Install]
WantedBy=multi-user.target
"""
