"""Who approves the kubelets' serving certificates: on real masters, with requests for what is and is not a node's own.

The kubelets of the lab's cluster are told to ask for such certificates, and told back at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from k8sha import Check, ControlPlane, Host, NotReady, NotYet, PreflightError, Workers, wait_for
from k8sha.addons import MetricsServer, Mirror
from k8sha.cluster import Cluster

from .test_addons import cluster, plane  # noqa: F401 (fixtures)

pytestmark = pytest.mark.timeout(300, func_only=True)  # without the installation of the cluster

CONFIG = "/var/lib/kubelet/config.yaml"
KUBECTL = "kubectl --kubeconfig=/etc/kubernetes/admin.conf --request-timeout=20s"


def do(host: Host, text: str) -> str:
    exit, out, err = host.execute(text)
    assert exit == 0, err.decode()
    return out.decode().strip()


@pytest.fixture(scope="module")
def nodes(cluster: Cluster) -> Iterator[tuple[Host, ...]]:  # noqa: F811
    """Every node, its kubelet asking the cluster for a serving certificate."""
    found = (*cluster.of(ControlPlane)[0].hosts, *cluster.of(Workers)[0].hosts)
    for host in found:
        do(host, f"grep -q serverTLSBootstrap {CONFIG} || echo 'serverTLSBootstrap: true' >>{CONFIG}")
        do(host, "systemctl restart kubelet")
    yield found
    for host in found:
        do(host, f"sed -i /serverTLSBootstrap/d {CONFIG}; rm -f /var/lib/kubelet/pki/kubelet-server-*")
        do(host, "systemctl restart kubelet")


def test_it_is_refused_while_kubelets_sign_for_themselves(plane: ControlPlane) -> None:  # noqa: F811
    with pytest.raises(PreflightError, match=r"signed themselves .*serverTLSBootstrap"):
        MetricsServer(plane, check_images=False).install()


def test_nodes_get_what_is_theirs_and_nothing_else(plane: ControlPlane, nodes: tuple[Host, ...]) -> None:  # noqa: F811
    folder = os.environ.get("K8SHA_MANIFESTS")
    if folder is None:
        pytest.skip("K8SHA_MANIFESTS names no folder that mirrors https://raw.githubusercontent.com")
    mirror = Mirror(urls={"https://raw.githubusercontent.com": Path(folder).resolve().as_uri()})
    asked = evolve(plane, settings=evolve(plane.settings, kubelet={"serverTLSBootstrap": True}))
    addon = MetricsServer(asked, mirror=mirror, check_images=False, patience=5)
    master = plane.hosts[0]
    try:
        with pytest.raises(NotReady, match="Deployment kube-system/metrics-server"):  # its image is not at hand
            addon.install()

        def look() -> str:
            for host in nodes:
                said = do(master, f"openssl s_client -connect {host.address}:10250 -CAfile /etc/kubernetes/pki/ca.crt "
                          "</dev/null 2>&1 | grep 'Verify return code' | head -n 1")  # fmt: skip
                if "0 (ok)" not in said:
                    raise NotYet(f"{host}: {said}")
            return ""

        wait_for(Check("every kubelet serves with a certificate of the cluster", look), timeout=150, interval=2)
        asked_for = do(master, ASK_FOR_MORE)
        said = do(master, "/usr/libexec/k8sha/approve-kubelet-certificates 2>&1")
        assert "asks for DNS:evil.example.org" in said
        assert (
            "its subject" in said or "refused by the API server" in asked_for
        )  # NodeRestriction: from 1.32 on, it seems
        got = do(
            master, f"{KUBECTL} get csr evil other --ignore-not-found -o jsonpath='{{.items[*].status.conditions}}'"
        )
        assert got == ""
    finally:
        do(master, f"{KUBECTL} delete csr evil other --ignore-not-found")
        addon.uninstall()
        assert do(master, "ls /etc/systemd/system /usr/libexec/k8sha | grep approve || echo none") == "none"
        assert not addon.uninstall().changed


ASK_FOR_MORE = """
set -eu
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
node=$(hostname)
ask() {
  openssl req -new -newkey rsa:2048 -nodes -keyout "$folder/key" -subj "$2" -addext "subjectAltName=$3" \\
    -out "$folder/csr" 2>/dev/null
  kubectl --kubeconfig=/etc/kubernetes/kubelet.conf create -f - <<END
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: $1}
spec:
  request: $(base64 -w 0 <"$folder/csr")
  signerName: kubernetes.io/kubelet-serving
  usages: [digital signature, key encipherment, server auth]
END
}
ask evil "/O=system:nodes/CN=system:node:$node" "DNS:$node,DNS:evil.example.org"
ask other "/O=system:nodes/CN=system:node:another" "DNS:another" || echo refused by the API server
"""
