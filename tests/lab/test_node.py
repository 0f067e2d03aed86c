"""Nodes on real hosts: bare, prepared, again, drifted, killed half-way; with what is in the bundle really running."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from attrs import evolve

from acceptance.vagrant import Lab
from k8sha.errors import PreflightError
from k8sha.hosts import Host
from k8sha.report import Plan
from k8sha.sources import Bundle
from k8sha.versions import Version

from .node_under_test import SETTINGS, Nodes
from .small_bundle import small_bundle

BARE = """\
if [ -e /etc/kubernetes/kubelet.conf ]; then echo joined; exit 0; fi
export DEBIAN_FRONTEND=noninteractive
systemctl list-unit-files kubelet.service containerd.service --no-legend | while read -r unit rest; do
  systemctl disable --quiet --now "$unit"
done
dpkg --configure -a
apt-get -q -y purge containerd runc containernetworking-plugins conntrack socat ethtool
rm -rf /etc/containerd /etc/crictl.yaml /etc/systemd/system/kubelet.service* /opt/cni /usr/local/bin/kube* \\
  /var/lib/k8sha /var/lib/containerd/* /etc/modules-load.d/k8sha.conf /etc/sysctl.d/90-k8sha.conf
sed -i '/k8sha/d' /etc/hosts
systemctl daemon-reload"""


def run(host: Host, text: str) -> str:
    exit, out, err = host.execute(text, timeout=120)
    assert exit == 0, err.decode()
    return out.decode().strip()


def names(plan: Plan) -> list[str]:
    return [change.resource for change in plan.changes]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return small_bundle(tmp_path_factory.mktemp("bundle") / "small")


@pytest.fixture(scope="module")
def host(hosts: Mapping[str, Host]) -> Iterator[Host]:
    """A worker, made bare."""
    with hosts["worker-1"] as found:
        if run(found, BARE) == "joined":
            pytest.skip("worker-1 is a node of a running cluster")
        yield found


@pytest.fixture(scope="module")
def node(host: Host, bundle: Bundle) -> Nodes:
    """The worker, prepared once for all tests of this module that come after the first."""
    found = Nodes((host,), bundle)
    found.install()
    return found


def test_a_bare_host_is_refused_for_its_reasons_and_left_as_it_is(host: Host, bundle: Bundle) -> None:
    node = Nodes((host,), bundle, settings=evolve(SETTINGS, skip_requirements=("disk-sync",)))
    before = names(node.plan())
    listener = "systemd-socket-activate -l 10250 /bin/true"
    run(host, f"systemd-run --quiet --unit=k8sha-test-port {listener}")
    try:
        with pytest.raises(PreflightError) as caught:
            node.install()
        causes = [problem.cause for problem in caught.value.problems]
        assert any(cause.startswith("port 10250 is taken by") for cause in causes)
        assert all(problem.remedy and problem.subject == host.name for problem in caught.value.problems)
    finally:
        run(host, "systemctl stop k8sha-test-port")
    assert names(node.plan()) == before
    assert run(host, "command -v containerd || echo absent") == "absent"


def test_clones_are_told_apart_before_anything_is_changed(hosts: Mapping[str, Host], bundle: Bundle) -> None:
    original, clone = hosts["worker-1"], hosts["worker-2"]
    kept = run(clone, "cat /etc/machine-id")
    run(clone, f"echo {original.facts.machine_id} >/etc/machine-id")
    clone.close()  # facts are read once a connection
    try:
        with pytest.raises(PreflightError, match=r"worker-1, worker-2: have the same machine-id"):
            Nodes((original, clone), bundle).install()
    finally:
        run(clone, f"echo {kept} >/etc/machine-id")
        clone.close()


def test_a_full_disk_is_refused(host: Host, bundle: Bundle) -> None:
    run(host, "mkdir -p /var/lib/containerd && mount -t tmpfs -o size=64m none /var/lib/containerd")
    try:
        run(host, "dd if=/dev/zero of=/var/lib/containerd/full bs=1M count=60 status=none")
        with pytest.raises(PreflightError, match=r"/var/lib/containerd has \d+ MiB free of 64"):
            Nodes((host,), bundle).install()
    finally:
        run(host, "umount /var/lib/containerd")


def test_a_damaged_bundle_changes_nothing(host: Host, tmp_path: Path) -> None:
    bundle = small_bundle(tmp_path / "bundle")
    archive = bundle.path / "images" / "pause.tar"
    data = bytearray(archive.read_bytes())
    data[1000] ^= 1
    archive.write_bytes(data)
    with pytest.raises(PreflightError, match=r"images/pause\.tar is damaged"):
        Nodes((host,), bundle).install()
    assert run(host, "command -v containerd || echo absent") == "absent"


def test_a_bare_host_becomes_a_node_and_then_nothing_is_left_to_do(host: Host, bundle: Bundle) -> None:
    node = Nodes((host,), bundle)
    planned = names(node.plan())
    report = node.install()
    assert [result.resource for result in report.changed] == planned
    again = node.plan()
    assert (names(again), again.waits, again.trips) == ([], (), 1)
    before = host.trips
    assert not node.install().changed
    assert host.trips - before == 3, "facts and lock, preflight, one stage"


def test_the_runtime_uses_systemd_cgroups_and_has_the_images_pinned(node: Nodes) -> None:
    (host,) = node.hosts
    listed = run(host, "ctr -n k8s.io images ls")
    for image in ("kube-proxy:v1.33.13", "coredns/coredns:v1.13.1", "pause:3.10"):
        (line,) = [line for line in listed.splitlines() if line.startswith(f"registry.k8s.io/{image} ")]
        assert "io.cri-containerd.pinned=pinned" in line
    assert "kube-apiserver" not in listed
    run(host, "sed -i 's/SystemdCgroup = true/SystemdCgroup = false/' /etc/containerd/config.toml")
    run(host, "systemctl restart containerd")
    waits = node.plan().waits
    assert [wait.diff.lines for wait in waits] == [("cgroup driver: cgroupfs -> systemd",)]
    node.install()
    assert not node.plan().waits


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ("rm /usr/local/bin/kubeadm", ["programs kubeadm"]),
        ("printf x >>/usr/local/bin/kubelet", ["programs kubelet", "service kubelet"]),
        (
            "printf x | dd of=/usr/local/bin/kubeadm bs=1 seek=50 conv=notrunc status=none;"
            " touch -r /etc/hostname /usr/local/bin/kubeadm",
            ["programs kubeadm"],
        ),
        ("chmod 0700 /usr/local/bin/kubeadm", ["programs kubeadm"]),
        (
            "sed -i 's/= true/= false/' /etc/containerd/config.toml",
            ["file /etc/containerd/config.toml", "service containerd"],
        ),
        ("touch /etc/containerd/config.toml", ["service containerd"]),
        ("systemctl stop containerd", ["service containerd"]),
        ("systemctl disable --quiet kubelet", ["service kubelet"]),
        ("rm /opt/cni/bin/portmap", ["CNI plugins /opt/cni/bin"]),
        ("ctr -n k8s.io images rm registry.k8s.io/pause:3.10", ["container images"]),
        ("sysctl -q -w net.ipv4.ip_forward=0", ["sysctl /etc/sysctl.d/90-k8sha.conf"]),
        ("sed -i 's/^192.168.56.100 api/192.168.56.99 api/' /etc/hosts", ["/etc/hosts: api.k8sha.test"]),
        ("apt-get -qq -y remove socat", ["packages "]),
    ],
)  # fmt: skip
def test_drift_is_named_exactly_and_mended_exactly(node: Nodes, change: str, found: list[str]) -> None:
    (host,) = node.hosts
    run(host, change)
    planned = names(node.plan())
    assert len(planned) == len(found)
    assert all(name.startswith(wanted) for name, wanted in zip(planned, found, strict=True)), planned
    assert [result.resource for result in node.install().changed] == planned
    assert names(node.plan()) == []


KILLS = (
    "sent",
    "began packages",
    "began file /etc/containerd/config.toml",
    "began service containerd",
    "began programs kubelet",
    "began service kubelet",
    "began container images",
)


def test_an_installer_killed_at_any_point_is_made_good_by_the_next(host: Host, bundle: Bundle, lab: Lab) -> None:
    run(host, BARE)
    host.close()
    arguments = [host.name, host.address, str(lab.ssh_key), str(lab.known_hosts), str(bundle.path)]
    command = [sys.executable, "-m", "tests.lab.node_under_test", *arguments]
    for mark in KILLS:
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as installer:
            assert installer.stdout is not None
            said = list(_until(installer.stdout, mark))
            installer.kill()
        assert said[-1].startswith(mark), f"the installer ended before {mark!r}: {said}"
    node = Nodes((host,), bundle)
    node.install()
    assert names(node.plan()) == []
    assert run(host, "ls /var/lib/k8sha/upload") == ""
    assert run(host, "dpkg --audit") == ""


def _until(lines: Iterator[str], mark: str) -> Iterator[str]:
    for line in lines:
        yield line
        if line.startswith(mark):
            return


@pytest.fixture(scope="module")
def real() -> Bundle:
    found = Bundle.find(version="1.33.13")
    if found is None:
        pytest.skip("there is no bundle of Kubernetes 1.33.13 below /var/lib/k8sha/bundles")
    return found


def test_a_kubelet_runs_once_its_host_is_a_node_and_restarts_with_its_program(host: Host, real: Bundle) -> None:
    """The host is given the two files by which a node is known; its kubelet then runs, and finds no API server."""
    node = Nodes((host,), real)
    node.install()
    assert run(host, "kubelet --version; kubeadm version -o short") == "Kubernetes v1.33.13\nv1.33.13"
    assert run(host, "systemctl show -P ActiveState kubelet") == "inactive"
    run(host, _KUBELET_FILES)
    try:
        assert names(node.plan()) == ["service kubelet"]
        node.install()
        first = run(host, "systemctl show -P MainPID kubelet")
        assert names(node.plan()) == []
        run(host, "printf x >>/usr/local/bin/kubeadm")
        node.install()
        assert run(host, "systemctl show -P MainPID kubelet") == first, "kubeadm is none of its business"
        run(host, "cp /usr/local/bin/kubelet /root/k && printf x >>/root/k && mv /root/k /usr/local/bin/kubelet")
        assert names(node.plan()) == ["programs kubelet", "service kubelet"]
        node.install()
        assert run(host, "systemctl show -P MainPID kubelet") not in (first, "0")
        assert names(node.plan()) == []
        with pytest.raises(PreflightError, match=r"is a node of Kubernetes 1\.33\.13, not 1\.33\.14"):
            evolve(node, version=Version(1, 33, 14)).install()
    finally:
        run(
            host,
            "systemctl stop kubelet; cd /var/lib/kubelet; rm -f config.yaml test.* /etc/kubernetes/kubelet.conf",
        )


_KUBELET_FILES = """\
mkdir -p /etc/kubernetes /var/lib/kubelet
openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /O=system:nodes/CN=system:node:worker-1 \\
  -keyout /var/lib/kubelet/test.key -out /var/lib/kubelet/test.crt 2>/dev/null
cat >/var/lib/kubelet/config.yaml <<'END'
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: systemd
failSwapOn: false
failCgroupV1: false
featureGates: {KubeletInUserNamespace: true}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
END
cat >/etc/kubernetes/kubelet.conf <<'END'
apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: none, user: {client-certificate: /var/lib/kubelet/test.crt, client-key: /var/lib/kubelet/test.key}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
END"""
