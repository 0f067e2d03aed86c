"""An API server's key and certificate for etcd by real shells and a real openssl, with folders in place of hosts'."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest

from k8sha.components.joins import join_command
from k8sha.etcd.certificates import PKI
from k8sha.etcd.clients import CLIENT_FILES, ClientKey
from k8sha.etcd.signing import Request, Signed
from k8sha.resources.resource import STATE, Resource

from .local import SHELLS

KUBERNETES = "/etc/kubernetes/pki"

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def sh(folder: Path, text: str, shell: tuple[str, ...] = ("sh",)) -> subprocess.CompletedProcess[str]:
    for old, new in (
        (KUBERNETES, f"{folder}/kubernetes"),
        (PKI, f"{folder}/etcd"),
        (STATE, f"{folder}/state"),
        ("/run/k8sha", f"{folder}/run"),
    ):
        text = text.replace(old, new)
    for name in ("etcd", "state", "run"):
        (folder / name).mkdir(exist_ok=True)
    return subprocess.run([*shell, "-eu", "-c", text], capture_output=True, text=True, timeout=60, check=False)


def probe(folder: Path, resource: Resource) -> bytes:
    done = sh(folder, resource.probe())
    assert done.returncode == 0, done.stderr
    return done.stdout.encode()


def apply(folder: Path, resource: Resource) -> None:
    done = sh(folder, resource.apply())
    assert done.returncode == 0, done.stderr


def authority(folder: Path) -> None:
    (folder / "etcd").mkdir()
    files = ["-keyout", folder / "etcd/ca.key", "-out", folder / "etcd/ca.crt"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=etcd-ca", "-days", "10"]
    subprocess.run([*command, *files], check=True, capture_output=True)


def certified(folder: Path, host: str, days: int = 365) -> str:
    """Bring a host's certificate up to date as the stages do; returns its subject and uses."""
    csr, _ = ClientKey.parse(probe(folder, ClientKey(host)))
    assert csr
    signed = Signed((Request(host, "192.168.56.10", "apiserver-etcd-client", csr),), days=days)
    apply(folder, signed)
    pem = Signed.certificates(probe(folder, signed))[host, "apiserver-etcd-client"]
    (folder / "kubernetes/apiserver-etcd-client.crt").write_text(pem)
    shutil.copy(folder / "etcd/ca.crt", folder / "kubernetes/etcd/ca.crt")
    shown = ["openssl", "x509", "-noout", "-subject", "-nameopt", "RFC2253", "-ext", "extendedKeyUsage"]
    return subprocess.run(shown, input=pem, capture_output=True, text=True, check=True).stdout


def test_a_key_is_made_signed_and_then_nothing_is_due(tmp_path: Path) -> None:
    authority(tmp_path)
    key = ClientKey("master-1")
    assert key.diff(probe(tmp_path, key))
    apply(tmp_path, key)
    said = certified(tmp_path, "master-1")
    assert "CN=master-1,O=apiserver-etcd-client" in said
    assert "TLS Web Client Authentication" in said
    assert "Server" not in said
    found = probe(tmp_path, key)
    assert ClientKey.parse(found) == (None, (tmp_path / "etcd/ca.crt").read_text())
    assert (tmp_path / "kubernetes/apiserver-etcd-client.key").stat().st_mode & 0o777 == 0o600
    assert b"PRIVATE" not in found


def test_one_that_ends_soon_is_due_with_the_same_key(tmp_path: Path) -> None:
    authority(tmp_path)
    apply(tmp_path, ClientKey("master-1"))
    before = (tmp_path / "kubernetes/apiserver-etcd-client.key").read_bytes()
    certified(tmp_path, "master-1", days=29)
    csr, _ = ClientKey.parse(probe(tmp_path, ClientKey("master-1")))
    assert csr
    assert b"PRIVATE" not in base64.b64decode(csr)
    certified(tmp_path, "master-1")
    assert ClientKey.parse(probe(tmp_path, ClientKey("master-1")))[0] is None
    assert (tmp_path / "kubernetes/apiserver-etcd-client.key").read_bytes() == before


def test_another_hosts_pair_is_replaced_and_not_signed_again(tmp_path: Path) -> None:
    authority(tmp_path)
    apply(tmp_path, ClientKey("master-1"))
    certified(tmp_path, "master-1")
    before = (tmp_path / "kubernetes/apiserver-etcd-client.key").read_bytes()
    other = ClientKey("master-2")
    assert ClientKey.parse(probe(tmp_path, other))[0] == ""
    apply(tmp_path, other)
    assert (tmp_path / "kubernetes/apiserver-etcd-client.key").read_bytes() != before


def test_another_authoritys_certificate_is_due(tmp_path: Path) -> None:
    authority(tmp_path)
    apply(tmp_path, ClientKey("master-1"))
    certified(tmp_path, "master-1")
    shutil.rmtree(tmp_path / "etcd")
    authority(tmp_path)
    shutil.copy(tmp_path / "etcd/ca.crt", tmp_path / "kubernetes/etcd/ca.crt")
    assert ClientKey.parse(probe(tmp_path, ClientKey("master-1")))[0]


@pytest.mark.parametrize("shell", sorted(SHELLS))
@pytest.mark.parametrize("fails", [False, True])
def test_a_join_brings_back_what_kubeadm_writes_over(tmp_path: Path, shell: str, fails: bool) -> None:
    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"needs {shell}")
    folder = tmp_path / "kubernetes/etcd"
    folder.mkdir(parents=True)
    for name in CLIENT_FILES:
        (tmp_path / "kubernetes" / name).write_text(f"own {name}")
    from k8sha import Endpoint, Host, NodeSettings, Version
    from k8sha.components.tickets import Ticket

    host, version = Host("master-2", "192.168.56.11"), Version.parse("1.33.13")
    join = join_command(
        host,
        Ticket((), version, True, {}),
        version=version,
        endpoint=Endpoint("192.168.56.100"),
        settings=NodeSettings(),
        files="",
        recover="",
        own=CLIENT_FILES,
    )
    over = "\n".join(f"printf foreign >{KUBERNETES}/{name}" for name in CLIENT_FILES)
    done = sh(
        tmp_path, f"join_config=x\nkubeadm() {{\n{over}\nreturn {int(fails)}\n}}\n{join.run}\necho whole", SHELLS[shell]
    )
    assert (done.returncode == 0) is not fails, done.stderr
    assert ("whole" in done.stdout) is not fails
    texts = [(tmp_path / "kubernetes" / name).read_text() for name in CLIENT_FILES]
    assert texts == (["foreign"] * 3 if fails else [f"own {name}" for name in CLIENT_FILES])
    assert list((tmp_path / "run").iterdir()) == []  # no key stays behind, whatever happens


@pytest.mark.parametrize("shell", sorted(SHELLS))
@pytest.mark.parametrize("keep", [(), ("ca.crt",), CLIENT_FILES])
def test_what_is_half_done_is_cleared_and_what_is_to_stay_stays(
    tmp_path: Path, shell: str, keep: tuple[str, ...]
) -> None:
    from k8sha.components.joins import reset

    if shutil.which(SHELLS[shell][0]) is None:
        pytest.skip(f"needs {shell}")
    (tmp_path / "kubernetes/etcd").mkdir(parents=True)
    (tmp_path / "kubernetes/ca.crt").write_text("ca")
    for name in CLIENT_FILES:
        (tmp_path / "kubernetes" / name).write_text(name)
    text = (
        reset("kubeadm join", keep=keep)
        .replace("/var/lib/etcd", f"{tmp_path}/data")
        .replace("/etc/cni", f"{tmp_path}/cni")
    )
    done = sh(tmp_path, f"kubeadm() {{ rm -rf {KUBERNETES}; }}\n{text}", SHELLS[shell])
    assert done.returncode == 0, done.stderr
    left = {str(path.relative_to(tmp_path / "kubernetes")) for path in (tmp_path / "kubernetes").rglob("*.*")}
    assert left == set(keep)
