"""An API server's certificate that is made anew, by a stand-in for kubeadm; and a settings probe against real files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha import ControlPlane, Endpoint, Host, Upstream, Version
from k8sha.components.serving import ServingCertificate
from k8sha.components.settings import plane_settings
from k8sha.resources import Resource

CLUSTER = {"apiVersion": "kubeadm.k8s.io/v1beta4", "kind": "ClusterConfiguration"}
WANTED = ("192.168.56.100", "api.example.org")
CERTIFICATE = ServingCertificate(CLUSTER, Version(1, 33, 13), "master-1", "192.168.56.10", WANTED)

# As kubeadm does: by the CA of the folder that its configuration names, and never over a certificate that is there.
KUBEADM = """\
#!/bin/sh -eu
folder=$(sed -n 's/^certificatesDir: //p' "$6")
[ -s "$folder/ca.crt" ] && [ -s "$folder/ca.key" ] && [ ! -e "$folder/apiserver.crt" ]
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 9 -subj /CN=kube-apiserver \\
  -addext subjectAltName=DNS:api.example.org,IP:192.168.56.100 -keyout "$folder/apiserver.key" \\
  -out "$folder/apiserver.crt" 2>/dev/null
"""


@pytest.fixture
def master(tmp_path: Path) -> Path:
    """A folder that stands for a master whose certificate lacks both names."""
    for name in ("bin", "pki", "state", "run"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin/kubeadm").write_text(KUBEADM)
    (tmp_path / "bin/kubeadm").chmod(0o755)
    for name in ("admin.conf", "pki/ca.crt", "pki/ca.key", "pki/apiserver.key"):
        (tmp_path / name).write_text("old")
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "/dev/null")
    names = ("-subj", "/CN=kube-apiserver", "-addext", "subjectAltName=DNS:old.example.org")
    out = ("-out", str(tmp_path / "pki/apiserver.crt"))
    subprocess.run(["openssl", "req", "-x509", *key, *names, *out], check=True, capture_output=True)
    return tmp_path


def run(master: Path, text: str) -> subprocess.CompletedProcess[str]:
    text = text.replace("/etc/kubernetes", str(master)).replace("/var/lib/k8sha", f"{master}/state")
    text = text.replace("/run/k8sha", f"{master}/run").replace("/var/lib/kubelet", f"{master}/kubelet")
    environment = {"PATH": f"{master}/bin:{os.environ['PATH']}"}
    return subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, env=environment, check=False)


def missing(master: Path, resource: Resource = CERTIFICATE) -> tuple[str, ...]:
    looked = run(master, resource.probe())
    assert looked.returncode == 0, looked.stderr
    return resource.diff(looked.stdout.encode()).lines


def matches(master: Path) -> bool:
    """Whether certificate and key belong together."""
    both = [
        subprocess.run(["openssl", *words, "-in", master / name], capture_output=True, check=False).stdout
        for words, name in (
            (("x509", "-noout", "-pubkey"), "pki/apiserver.crt"),
            (("pkey", "-pubout"), "pki/apiserver.key"),
        )
    ]
    return both[0] == both[1] != b""


def test_a_certificate_is_made_for_every_name_with_a_key_of_its_own(master: Path) -> None:
    assert missing(master) == ("+ 192.168.56.100", "+ api.example.org")
    for _ in range(2):
        done = run(master, CERTIFICATE.apply())
        assert (done.returncode, done.stderr) == (0, "")
        assert missing(master) == ()
        assert matches(master)
    assert (master / "pki/apiserver.key").stat().st_mode & 0o777 == 0o600
    assert (master / "pki/apiserver.crt").stat().st_mode & 0o777 == 0o644
    assert sorted(os.listdir(master / "pki")) == ["apiserver.crt", "apiserver.key", "ca.crt", "ca.key"]
    assert not any((master / "run").iterdir()), "a copy of the CA's key stays behind"
    assert not any((master / "state").iterdir())


@pytest.mark.parametrize("line", ["mv -fT", "rm -f "])
def test_an_exchange_that_was_cut_off_is_done_again(master: Path, line: str) -> None:
    """Before the key, and before the mark goes: an API server that starts in between has a key that does not fit."""
    lines = CERTIFICATE.apply().splitlines()
    at = max(number for number, text in enumerate(lines) if text.startswith(line))
    assert run(master, "\n".join(lines[:at])).returncode == 0
    assert missing(master) == ("its exchange was cut off",)
    assert run(master, CERTIFICATE.apply()).returncode == 0
    assert (missing(master), matches(master)) == ((), True)


def test_kubeadm_that_fails_changes_nothing(master: Path) -> None:
    (master / "bin/kubeadm").write_text("#!/bin/sh\nexit 1\n")
    assert run(master, CERTIFICATE.apply()).returncode == 1
    assert (master / "pki/apiserver.key").read_text() == "old"
    assert not any((master / "run").iterdir())


def test_what_is_half_way_into_a_cluster_is_left_to_kubeadm(master: Path) -> None:
    (master / "admin.conf").unlink()
    assert missing(master) == ()


def test_settings_are_read_from_what_is_there(master: Path) -> None:
    """And nothing from what is not: a host that is no node yet."""
    hosts = [Host("master-1", "192.168.56.10")]
    plane = ControlPlane(hosts=hosts, endpoint=Endpoint("192.168.56.100"), version="1.33.13", source=Upstream())
    settings = plane_settings(plane)
    bare = run(master, settings.probe())
    assert (bare.returncode, bare.stdout) == (0, "")
    (master / "manifests").mkdir()
    (master / "kubelet").mkdir()
    (master / "manifests/etcd.yaml").write_text("    - etcd\n    - --quota-backend-bytes=1\n    image: etcd\n")
    (master / "manifests/kube-scheduler.yaml").write_text("nothing\n")
    (master / "kubelet/config.yaml").write_text("clusterDomain: k8s.local\n")
    looked = run(master, settings.probe())
    assert looked.returncode == 0, looked.stderr
    assert list(settings.differences(looked.stdout.encode())) == [
        "etcd --quota-backend-bytes is 1, and 8589934592 is asked for",
        "kubelet clusterDomain is k8s.local, and cluster.local is asked for",
    ]
