"""What is copied on a master for the backup of an etcd elsewhere, by real shells, in a folder that plays its root."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from k8sha import BackupError
from k8sha.etcd.beside import Beside, MasterFiles
from k8sha.etcd.taking import tidy

MASTER = MasterFiles("6f2a", "192.168.56.10")
FILES = {
    "pki/ca.key": "a key\n",
    "pki/sa.key": "another\n",
    "encryption/1.key": "of values\n",
    "enc.yaml": "kind: EncryptionConfiguration\n",
    "manifests/kube-apiserver.yaml": """\
spec:
  containers:
  - command:
    - --encryption-provider-config=ROOT/etc/kubernetes/enc.yaml
    image: registry.k8s.io/kube-apiserver:v1.33.13
""",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "etc/kubernetes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("ROOT", str(tmp_path)))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").write_text(
        f"#!/bin/sh\nif [ -e {tmp_path}/down ]; then echo refused; exit 1; fi\necho it\n"
    )
    (tmp_path / "bin/kubectl").chmod(0o755)
    return tmp_path


def run(root: Path, shell: tuple[str, ...], text: str) -> bytes:
    """What a host would run as root, with its folders below ours."""
    for folder in ("/etc/kubernetes", "/var/lib/k8sha"):
        text = text.replace(folder, f"{root}{folder}").replace(f"{root}{root}", str(root))
    env = {"PATH": f"{root}/bin:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run([*shell, "-eus"], input=text.encode(), capture_output=True, check=False, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


def test_a_masters_keys_are_copied_hashed_and_gone_afterwards(root: Path, shell: tuple[str, ...]) -> None:
    assert MASTER.diff(run(root, shell, MASTER.probe()))
    run(root, shell, MASTER.apply())
    seen = run(root, shell, MASTER.probe())
    assert not MASTER.diff(seen)
    beside = Beside.parse(seen)
    assert beside.kubernetes == "1.33.13"
    assert beside.notes == ()
    there = {f"files{root}/etc/kubernetes/{name}" for name in FILES} | {"files/kubeadm-config.yaml"}
    assert set(beside.files) - there == set()
    assert there - set(beside.files) == set()
    copy = Path(beside.folder) / f"files{root}/etc/kubernetes/pki/sa.key"
    assert copy.read_text() == "another\n"
    assert beside.files[str(copy.relative_to(beside.folder))][0] == len("another\n")
    assert Path(beside.folder).stat().st_mode & 0o777 == 0o700
    run(root, shell, tidy("6f2a"))
    assert not Path(beside.folder).exists()


def test_without_an_api_server_the_rest_is_copied_and_that_is_told(root: Path, shell: tuple[str, ...]) -> None:
    (root / "down").touch()
    run(root, shell, MASTER.apply())
    assert b"kubeadm-config not saved: refused" in run(root, shell, MASTER.probe())


def test_what_a_killed_one_left_goes_with_the_next(root: Path, shell: tuple[str, ...]) -> None:
    run(root, shell, MasterFiles("0001", "192.168.56.10").apply())
    run(root, shell, MASTER.apply())
    assert [path.name for path in (root / "var/lib/k8sha/etcd").glob("files.*")] == ["files.6f2a"]


def test_files_without_the_keys_are_no_backup() -> None:
    with pytest.raises(BackupError, match=r"sa\.key is missing"):
        Beside.parse(b"folder /x\nfile ab 3 files/etc/kubernetes/pki/ca.key\n")
