"""A snapshot of a real etcd, judged by the shell that hosts judge it with: by the programs in the PATH, whatever their
version."""

from __future__ import annotations

import shutil
import subprocess
import time
from pathlib import Path

import pytest

from k8sha.etcd.snapshot import CHECK, SnapshotFacts, local_problems
from k8sha.etcd.tools import BIN

from .local import SHELLS

FOUND = [shutil.which(name) for name in ("etcd", "etcdctl", "etcdutl")]
CLIENT, PEER = "http://127.0.57.22:2379", "http://127.0.57.22:2380"

pytestmark = [
    pytest.mark.skipif(None in FOUND[:2], reason="needs the programs etcd and etcdctl"),
    pytest.mark.timeout(120),
]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    (folder := tmp_path / "bin").mkdir()
    for path in filter(None, FOUND):
        (folder / Path(path).name).symlink_to(path)
    if not (utl := folder / "etcdutl").exists():  # before 3.5, and what tools.sh.j2 makes on hosts then
        utl.write_text(f'#!/bin/sh\nETCDCTL_API=3 exec {folder}/etcdctl "$@"\n')
        utl.chmod(0o755)
    return folder


@pytest.fixture
def snapshot(programs: Path, tmp_path: Path) -> Path:
    """Five keys, of which one is the cluster's identity and one the marker of a backup."""
    urls = {"client-urls": CLIENT, "peer-urls": PEER}
    given = {f"listen-{name}": url for name, url in urls.items()}
    given |= {"advertise-client-urls": CLIENT, "initial-advertise-peer-urls": PEER}
    given |= {"name": "m", "data-dir": str(tmp_path / "data"), "initial-cluster": f"m={PEER}", "log-level": "error"}
    ctl = [str(programs / "etcdctl"), f"--endpoints={CLIENT}"]
    process = subprocess.Popen([str(programs / "etcd"), *(f"--{name}={value}" for name, value in given.items())])
    try:
        end = time.monotonic() + 30
        while subprocess.run([*ctl, "endpoint", "health"], capture_output=True, check=False).returncode:
            assert time.monotonic() < end
            time.sleep(0.1)  # nothing tells us
        for key, value in {"a": "1", "b": "2", "c": "3", "k8sha/identity": "0c1f", "k8sha/backup/1": "it"}.items():
            subprocess.run([*ctl, "put", key, value], check=True, capture_output=True)
        subprocess.run([*ctl, "snapshot", "save", tmp_path / "s.db"], check=True, capture_output=True)
    finally:
        process.kill()
        process.wait()
    return tmp_path / "s.db"


def check(programs: Path, path: Path, marker: str = "", shell: str = "dash") -> SnapshotFacts:
    program = f"{CHECK.replace(BIN, str(programs))}\nif k8sha_check '{path}' '{path}.scratch' '{marker}'; then :; fi"
    done = subprocess.run([*SHELLS[shell], "-eus"], input=program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(Path(f"{path}.scratch").glob("*")) == []
    return SnapshotFacts.parse(done.stdout)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_it_is_proven(programs: Path, snapshot: Path, shell: str) -> None:
    facts = check(programs, snapshot, "it", shell)
    assert list(facts.problems("it")) == []
    assert facts.verified
    assert (facts.revision, facts.trial_revision, facts.keys, facts.identity) == (6, 6, 5, "0c1f")
    assert facts.members == (("m", PEER),)
    assert not check(programs, snapshot, "another", shell).verified


def test_a_damaged_one_is_refused(programs: Path, snapshot: Path) -> None:
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 1
    snapshot.write_bytes(data)
    assert not check(programs, snapshot).verified
    assert list(local_problems(snapshot))
