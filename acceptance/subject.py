"""The cluster under test, as the tests see it: its parts found by type, and what can be asked of it from outside."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import Protocol, TypeVar

import yaml
from attrs import frozen

from k8sha import (
    Check,
    Cluster,
    Component,
    ControlPlane,
    Endpoint,
    EtcdCluster,
    Host,
    LoadBalancer,
    NotYet,
    Workers,
    wait_for,
)
from k8sha.kube import Api

from .baseline import GuideBalancers
from .standin import StandIns
from .workload import EtcdTarget, Target

__all__ = ["NAMESPACE", "Power", "Subject", "open_namespace", "part"]

NAMESPACE = "k8sha-acceptance"

T = TypeVar("T")


class Power(Protocol):
    """Power over whole machines, by name. The lab's machines have it; for others a cluster's module may give it as
    ``power``: an object with these four methods (IPMI, a hypervisor, a cloud). Each returns when it is done.

    The two that silence a machine may return a moment, of ``time.monotonic()``, at which it still was not silent, as
    close to its silence as can be told. Without one, requests that the machine was answering count as failed.
    """

    def freeze(self, name: str) -> float | None:
        """Stop the machine's processors, without a word to anything in it."""

    def thaw(self, name: str) -> None:
        """Let it go on where it stood."""

    def power_off(self, name: str) -> float | None:
        """Cut its power."""

    def power_on(self, name: str) -> None:
        """Give it back; return when the machine lets us log in."""


def part(cluster: Cluster, kind: type[T]) -> T | None:
    """The first component of that kind, None where there is none."""
    return next((component for component in cluster.components if isinstance(component, kind)), None)


@frozen
class Subject:
    """A cluster to be certified. ``power`` is None where nobody can freeze or unplug its machines."""

    cluster: Cluster
    title: str
    power: Power | None = None

    @property
    def balancers(self) -> LoadBalancer | GuideBalancers | None:
        """The pair that has the VIP; None where it is somebody else's."""
        return part(self.cluster, LoadBalancer) or part(self.cluster, GuideBalancers)

    @property
    def plane(self) -> ControlPlane | None:
        """The control plane; None where stand-ins take its place."""
        return part(self.cluster, ControlPlane)

    @property
    def stand_ins(self) -> StandIns | None:
        """What takes the place of API servers, None for a real cluster."""
        return part(self.cluster, StandIns)

    @property
    def etcd(self) -> EtcdCluster | None:
        """The etcd: inside the control plane, or on its own hosts; None where there is none."""
        return self.plane.etcd if self.plane is not None else part(self.cluster, EtcdCluster)

    @property
    def workers(self) -> Workers | None:
        return part(self.cluster, Workers)

    @property
    def masters(self) -> tuple[Host, ...]:
        """The hosts with an API server, or with what stands in for one."""
        found: Component | None = self.plane or self.stand_ins
        return found.hosts if found is not None else ()

    @property
    def balancer_hosts(self) -> tuple[Host, ...]:
        """The hosts that hold the VIP by turns."""
        return self.balancers.balancers if self.balancers else ()

    @property
    def proxy_unit(self) -> str:
        """The systemd unit of the balancers' proxy."""
        return self.balancers.proxy.unit if self.balancers else ""

    @property
    def endpoint(self) -> Endpoint:
        """Where clients connect to. Raises LookupError where nothing in the cluster tells."""
        if self.plane is not None:
            return self.plane.endpoint
        if self.balancers is not None:
            return self.balancers.endpoint
        raise LookupError("the cluster has neither a control plane nor balancers: there is nothing to connect to")

    def role(self, host: Host) -> str:
        """What a host is in this cluster."""
        if host in self.masters:
            return "master" if self.plane else "stand-in"
        if self.workers is not None and host in self.workers.hosts:
            return "worker"
        return "balancer" if host in self.balancer_hosts else "host"

    def holders(self) -> tuple[Host, ...]:
        """The balancers that have the VIP at this moment: one, if all is well."""
        if self.balancers is None:
            return ()
        vip = self.balancers.vip
        return tuple(host for host in self.balancer_hosts if vip in _addresses(host))

    def etcd_leader(self) -> Host:
        """The host whose etcd member leads. Raises NotYet where members do not answer or do not agree."""
        etcd = self.etcd
        if etcd is None:
            raise LookupError("there is no etcd")
        for name, view in etcd.views().items():
            if view.own_id == view.leader:
                return next(host for host in etcd.hosts if host.name == name)
        raise LookupError("no etcd member says that it leads")

    def target(self, *, prefix: str = "write", watch: bool = True) -> Target:
        """Where a client's requests go, with the certificates that it needs."""
        endpoint = self.endpoint
        where = endpoint.address or endpoint.host
        if self.plane is None:
            ca = _output(self.masters[0], f"cat {self.stand_ins.ca.path}.crt" if self.stand_ins else "false")
            return Target(where, endpoint.port, endpoint.host, ca, watch=watch, prefix=prefix, etcd=self._etcd_target())
        ca, certificate, key = credentials(self.plane.kubeconfig())
        return Target(
            where,
            endpoint.port,
            endpoint.host,
            ca,
            certificate=certificate,
            key=key,
            namespace=NAMESPACE,
            prefix=prefix,
            watch=watch,
            # A read as clients read: known to the API server, allowed, and from etcd's majority. Not /readyz: where one
            # look at etcd fails, an API server says so for up to a second, while it serves everybody.
            probe=f"/api/v1/namespaces/{NAMESPACE}",
        )

    def _etcd_target(self) -> EtcdTarget | None:
        if self.etcd is None:
            return None
        pki = self.etcd.access.pki
        files = ("ca.crt", "healthcheck-client.crt", "healthcheck-client.key")
        ca, certificate, key = (_output(self.etcd.hosts[0], f"cat {pki}/{name}") for name in files)
        return EtcdTarget(tuple(host.address for host in self.etcd.hosts), ca, certificate, key)

    def serials(self) -> Mapping[str, str]:
        """Which master shows the certificate with a serial number (hexadecimal)."""
        path = "/usr/local/lib/k8sha-standin/tls.crt" if self.plane is None else "/etc/kubernetes/pki/apiserver.crt"
        found = {host: _output(host, f"openssl x509 -noout -serial -in {path}") for host in self.masters}
        return {text.strip().partition("=")[2]: host.name for host, text in found.items()}

    def loads(self) -> tuple[tuple[str, float], ...]:
        """Load averages over a minute: this machine's, and each host's where it has its own kernel."""
        here = os.getloadavg()[0]
        found = [("here", here)]
        kernels = {_boot_id()}
        for host in self.cluster.hosts:
            boot, load = _output(host, "cat /proc/sys/kernel/random/boot_id /proc/loadavg").split("\n")[:2]
            if boot not in kernels:
                kernels.add(boot)
                found.append((host.name, float(load.split()[0])))
        return tuple(found)


def open_namespace(api: Api) -> None:
    """The namespace that everything of ours is in; one that is about to go is waited for, as long as that takes."""
    path = f"/api/v1/namespaces/{NAMESPACE}"

    def look() -> str:
        found = api.found(path)
        if found is not None and found["status"]["phase"] == "Terminating":
            raise NotYet("an earlier one is still being emptied")
        return ""

    wait_for(Check(f"the namespace {NAMESPACE} can be made", look), timeout=300, interval=1.0)
    api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})


def credentials(kubeconfig: str) -> tuple[str, str, str]:
    """The CA, and the user's certificate and key, as PEM, from a kubeconfig of kubeadm's kind."""
    config = yaml.safe_load(kubeconfig)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    encoded = (
        cluster["certificate-authority-data"],
        user["client-certificate-data"],
        user["client-key-data"],
    )
    ca, certificate, key = (base64.b64decode(text).decode() for text in encoded)
    return ca, certificate, key


def _boot_id() -> str:
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def _addresses(host: Host) -> set[str]:
    lines = _output(host, "ip -o addr show").splitlines()
    return {line.split()[3].partition("/")[0] for line in lines}


def _output(host: Host, text: str) -> str:
    exit, out, err = host.read(text)[0]
    if exit != 0:
        raise RuntimeError(f"{host.name}: {text}: {err.decode(errors='replace').strip()}")
    return out.decode(errors="replace")
