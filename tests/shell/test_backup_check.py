"""Snapshots judged by the shell that hosts judge them with: damaged ones are refused, and nothing is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from k8sha.etcd.snapshot import CHECK, SnapshotFacts, local_problems
from k8sha.etcd.tools import BIN

from .etcd_stand_in import EtcdStandIn, snapshot_bytes
from .local import SHELLS

DAMAGES = 200


@pytest.fixture
def etcd(tmp_path: Path) -> EtcdStandIn:
    return EtcdStandIn(tmp_path / "etcd")


def text(etcd: EtcdStandIn) -> str:
    return CHECK.replace(BIN, str(etcd.bin))


def check(etcd: EtcdStandIn, path: Path, scratch: Path, marker: str = "", shell: str = "dash") -> SnapshotFacts:
    program = f"{text(etcd)}\nif k8sha_check '{path}' '{scratch}' '{marker}'; then :; fi"
    done = subprocess.run([*SHELLS[shell], "-eus"], input=program, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return SnapshotFacts.parse(done.stdout)


def damaged(whole: bytes, chance: random.Random) -> bytes:
    """One flipped bit, or the end cut off, anywhere; now and then nothing at all."""
    kind = chance.choice(("flip", "flip", "flip", "cut", "cut to a page", "empty"))
    if kind == "empty":
        return b""
    if kind == "cut":
        return whole[: chance.randrange(1, len(whole))]
    if kind == "cut to a page":  # its size is then like that of a whole one
        return whole[: chance.randrange(1, len(whole) // 512) * 512 + 32]
    data = bytearray(whole)
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def test_200_damaged_snapshots_are_refused_and_none_is_touched(tmp_path: Path, etcd: EtcdStandIn) -> None:
    chance, whole = random.Random(62), snapshot_bytes(2)
    files = tmp_path / "files"
    files.mkdir()
    contents = {f"{number:03}": damaged(whole, chance) for number in range(DAMAGES)}
    for name, data in contents.items():
        (files / name).write_bytes(data)
    loop = f"for file in {files}/*; do if k8sha_check $file {tmp_path}/scratch; then :; fi; done"
    done = subprocess.run(["sh", "-eus"], input=f"{text(etcd)}\n{loop}", capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert sum(line.startswith("refused ") for line in lines) == DAMAGES
    assert {line.split(" ")[1].strip(":") for line in lines if line.startswith("refused ")} == {
        "damaged",
        "empty",
        "no-hash",
    }
    assert "verified yes" not in lines
    assert {path.name: path.read_bytes() for path in files.iterdir()} == contents
    assert not (tmp_path / "scratch").exists()
    assert all(list(local_problems(files / name)) for name in contents)


def test_a_good_one_is_proven_and_nothing_is_left(tmp_path: Path, etcd: EtcdStandIn) -> None:
    path = tmp_path / "it's good.db"
    path.write_bytes(snapshot_bytes(3, text=b'"peerURLs":["https://192.168.56.10:2380"],"name":"master-1"'))
    path = path.rename(tmp_path / "good.db")
    for shell in ("dash", "bash"):
        facts = check(etcd, path, tmp_path / "scratch", "nothing", shell)
        assert facts.verified
        assert (facts.revision, facts.trial_revision, facts.keys, facts.etcd) == (70, 70, 6, "3.5.30")
        assert facts.members == (("master-1", "https://192.168.56.10:2380"),)
        assert facts.identity == "0c1f"
        assert list(facts.problems("it")) == []
        assert list((tmp_path / "scratch").iterdir()) == []


STORED = b'k8s\0\n\x0f\n\x02v1\x12\tConfigMap\x12F{"f:data":{}}B\x00\n\x06marker\x12<%s\x1a\0'


def test_the_marker_that_the_api_shows_is_read_as_etcd_stores_it(tmp_path: Path, etcd: EtcdStandIn) -> None:
    (path := tmp_path / "s.db").write_bytes(snapshot_bytes())
    marker = '{"id":"0a1b","time":"2026-11-30T06:00:00Z","host":"master-2"}'
    for stored, shown in (
        (STORED % marker.encode(), marker),
        (b"k8s:enc:secretbox:v1:k:\x97\x03\n", ""),
        (b"", ""),
    ):
        (etcd.told / "shown").write_bytes(stored)
        for shell in ("dash", "bash"):
            facts = check(etcd, path, tmp_path / "scratch", "nothing", shell)
            assert (facts.verified, facts.shown) == (True, shown)


@pytest.mark.parametrize(
    ("step", "code"),
    [("status", "damaged"), ("restore", "restore"), ("start", "start"), ("marker", "marker")],
)
def test_each_deeper_step_refuses(step: str, code: str, tmp_path: Path, etcd: EtcdStandIn) -> None:
    (path := tmp_path / "s.db").write_bytes(snapshot_bytes())
    etcd.fails(step)
    (etcd.bin / "etcdctl").write_text(
        (etcd.bin / "etcdctl")
        .read_text()
        .replace('*"endpoint health"*) exit 0', '*"endpoint health"*) [ ! -e $told/fail-start ]')
    )
    facts = check(etcd, path, tmp_path / "scratch", "nothing")
    assert (facts.verified, facts.code) == (False, code)
    (problem,) = facts.problems("s.db")
    assert problem.remedy
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_snapshot_of_a_newer_etcd_is_refused_before_it_is_tried(tmp_path: Path, etcd: EtcdStandIn) -> None:
    (path := tmp_path / "s.db").write_bytes(snapshot_bytes(text=b"clusterVersion3.4.0..storageVersion3.6.0"))
    facts = check(etcd, path, tmp_path / "scratch")
    assert facts.code == "newer"
    assert facts.made_by == "3.6.0"
    assert "3.6" in facts.refused
    (etcd.told / "version").write_text("3.6.2\n")
    assert check(etcd, path, tmp_path / "scratch").verified


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path, etcd: EtcdStandIn) -> None:
    assert check(etcd, tmp_path / "none.db", tmp_path / "scratch").code == "unreadable"
    assert check(etcd, tmp_path, tmp_path / "scratch").code == "unreadable"


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], capture_output=True, check=False)
    if made.returncode != 0:
        pytest.skip("needs the right to mount")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_refuses_and_leaves_nothing(tmp_path: Path, tiny: Path, etcd: EtcdStandIn) -> None:
    (path := tmp_path / "s.db").write_bytes(snapshot_bytes())
    assert check(etcd, path, tiny / "scratch").code == "no-space"
    (tiny / "filler").write_bytes(bytes(1 << 20))
    facts = check(etcd, path, tiny / "scratch")
    assert facts.code == "no-space"
    assert [entry.name for entry in tiny.rglob("*") if entry.is_file()] == ["filler"]


def processes(needle: str) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/environ"):
        try:
            if needle in os.readlink(entry.parent / "cwd"):
                found.append(int(entry.parent.name))
        except OSError:  # it ended, or is somebody else's
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_judgement_leaves_no_etcd_and_its_folder_is_swept(
    number: signal.Signals, tmp_path: Path, etcd: EtcdStandIn
) -> None:
    (path := tmp_path / "s.db").write_bytes(snapshot_bytes())
    etcdctl = etcd.bin / "etcdctl"
    whole = etcdctl.read_text()
    etcdctl.write_text(whole.replace('*"endpoint health"*) exit 0', '*"endpoint health"*) exit 1'))  # never healthy
    scratch = tmp_path / "scratch"
    program = f"{text(etcd)}\nif k8sha_check {path} {scratch}; then :; fi"
    shell = subprocess.Popen(["sh", "-eus"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    assert shell.stdin is not None
    shell.stdin.write(program.encode())
    shell.stdin.close()
    wait_until(lambda: any(scratch.glob("check.*/log")) and bool(processes(str(scratch))))
    os.killpg(shell.pid, number)
    shell.wait()
    wait_until(lambda: processes(str(scratch)) == [])
    etcdctl.write_text(whole)
    assert check(etcd, path, scratch).verified
    assert list(scratch.iterdir()) == []


def wait_until(holds: object, seconds: float = 20) -> None:
    assert callable(holds)
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.05)
