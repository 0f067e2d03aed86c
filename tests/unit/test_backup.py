"""Backups as far as they are logic: which member, what counts as proven, what an archive is, where copies go."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from k8sha import S3, BackupError, BackupSchedule, ConfigError, EtcdCluster, Folder, Host, NotYet, OnHost, Passphrase
from k8sha.etcd.access import Access
from k8sha.etcd.age import encrypting
from k8sha.etcd.archive import Descriptor, Part, opened, write_archive
from k8sha.etcd.backup import _Result, _Work
from k8sha.etcd.beside import master_with_keys
from k8sha.etcd.choosing import Chosen, best_member
from k8sha.etcd.destinations import keep
from k8sha.etcd.snapshot import SnapshotFacts, local_problems
from k8sha.etcd.taking import Taken
from k8sha.etcd.tools import ToolFlags, etcd_release
from k8sha.hosts.program import End, Frame, Program, Saw
from k8sha.report import Outcome
from k8sha.stage import Stage

from .fake import Fake


@pytest.mark.parametrize(
    ("version", "bumps", "own", "etcdctl"),
    [
        ("3.4.23", False, False, True),
        ("3.4.27", True, False, True),
        ("3.4.34", True, False, True),
        ("3.5.0", False, True, True),
        ("3.5.9", False, True, True),
        ("3.5.10", True, True, True),
        ("3.5.30-0", True, True, True),
        ("v3.6.0", True, True, False),
        ("3.7.1", True, True, False),
    ],
)
def test_what_each_version_of_etcd_can_do(version: str, bumps: bool, own: bool, etcdctl: bool) -> None:
    flags = ToolFlags.of(version)
    assert (flags.bumps, flags.own_etcdutl, flags.etcdctl_restores) == (bumps, own, etcdctl)
    assert flags.bump(10) == (("--bump-revision", "10", "--mark-compacted") if bumps else ())


def test_what_is_no_version_is_refused() -> None:
    with pytest.raises(ConfigError):
        etcd_release("latest")


GOOD = """\
size 24608
sha256 69c5
cluster_version 3.5.0
member master-1 https://192.168.56.10:2380
member gone https://192.168.56.12:2380
etcd 3.5.16
revision 43
hash 3900968185
total_keys 50
trial_revision 43
keys 42
marker {"id":"279d"}
identity d127
verified yes
"""


def test_facts_of_a_good_snapshot() -> None:
    facts = SnapshotFacts.parse(GOOD)
    assert facts.verified
    assert (facts.revision, facts.keys, facts.total_keys, facts.made_by) == (43, 42, 50, "3.5.0")
    assert facts.marker == '{"id":"279d"}'
    assert list(facts.problems("s.db", names=("master-1", "master-2"), identity="d127")) == []


@pytest.mark.parametrize("lines", range(GOOD.count("\n")))
def test_a_judgement_that_was_cut_off_is_a_refusal(lines: int) -> None:
    facts = SnapshotFacts.parse("".join(GOOD.splitlines(keepends=True)[:lines]))
    assert not facts.verified
    assert list(facts.problems("s.db"))


def test_a_snapshot_of_another_cluster_is_refused() -> None:
    facts = SnapshotFacts.parse(GOOD)
    (problem,) = facts.problems("s.db", identity="ffff")
    assert "of another cluster" in problem.cause
    unnamed = SnapshotFacts.parse(GOOD.replace("identity d127\n", ""))
    (problem,) = unnamed.problems("s.db", names=("cp-1", "cp-2"), identity="d127")
    assert "its members are gone, master-1, and here are cp-1, cp-2" in problem.cause
    assert list(unnamed.problems("s.db", names=("master-1", "new"))) == []


def test_a_refusal_has_a_cause_and_a_remedy() -> None:
    (problem,) = SnapshotFacts.parse("size 9\nrefused no-hash: it has 9 bytes\n").problems("s.db")
    assert problem.cause == "it has 9 bytes"
    assert "etcdctl snapshot save" in problem.remedy


def snapshot(body: bytes = bytes(4096 * 4)) -> bytes:
    page = bytearray(body)
    page[16:20] = (0xED0CDAED).to_bytes(4, "little")
    return bytes(page) + hashlib.sha256(page).digest()


def test_bytes_of_a_snapshot_here(tmp_path: Path) -> None:
    file = tmp_path / "s.db"
    file.write_bytes(snapshot())
    assert list(local_problems(file)) == []
    other = bytes(8192)
    wrong = {
        b"": "empty",
        snapshot()[:-32]: "no whole number of pages",
        snapshot()[:600]: "no whole number of pages",
        snapshot()[:-1] + b"?": "it ends in",
        b"?" + snapshot()[1:]: "it ends in",
        other + hashlib.sha256(other).digest(): "is no database of etcd",
    }
    for data, cause in wrong.items():
        file.write_bytes(data)
        (problem,) = local_problems(file)
        assert cause in problem.cause
        assert problem.remedy
    (problem,) = local_problems(tmp_path / "none")
    assert "No such file" in problem.cause


def member(
    name: str,
    *,
    id: str,
    leader: str = "1",
    applied: int = 100,
    alarm: str = "",
    learner: bool = False,
    up: bool = True,
    hash: int | None = 1,
) -> Host:
    """A host whose etcd says this of itself."""
    status = {
        "header": {"member_id": id, "revision": "70"},
        "leader": leader,
        "raftAppliedIndex": str(applied),
        "raftIndex": str(applied),
    }
    listed = {"members": [{"ID": number, "isLearner": learner and number == id} for number in "12345"]}
    lines = (status, {"alarms": [{"alarm": alarm}] if alarm else []}, listed)

    def answer(program: Program) -> Iterator[Frame]:
        out = "".join(json.dumps(line) + "\n" for line in lines).encode()
        if "hashkv" in program.probes[0].text:
            said = {"header": {"revision": 70}, "hash": hash, "compact_revision": 50}
            out = f"70 {json.dumps(said) if hash else 'Not Found'}".encode()
        yield Saw(((0, out, b"") if up else (7, b"", b"curl: (7) Failed to connect"),))
        yield End()

    return Host(name, "192.168.56.10", ssh=Fake(answer))


def test_a_follower_is_taken_and_the_one_that_is_furthest() -> None:
    hosts = (member("a", id="1", applied=105), member("b", id="2", applied=101), member("c", id="3", applied=104))
    assert best_member(hosts, Access(stacked=False)) == Chosen(hosts[2])


def test_the_leader_is_taken_where_it_is_the_only_one_that_is_well() -> None:
    hosts = (
        member("a", id="1", applied=9000),
        member("b", id="2", applied=7999),
        member("c", id="3", applied=9000, learner=True),
        member("d", id="4", up=False),
        member("e", id="5", applied=9000, alarm="CORRUPT"),
    )
    assert best_member(hosts, Access(stacked=True)) == Chosen(hosts[0])
    assert best_member(hosts[:1], Access(stacked=True)) == Chosen(hosts[0])
    with pytest.raises(BackupError) as error:
        best_member(hosts[1:], Access(stacked=True))
    assert [problem.cause.split(":")[0] for problem in error.value.problems[1:]] == [
        "is no voter",
        "etcd does not answer",
        "the alarm CORRUPT is raised",
    ]


def test_a_member_whose_keys_are_not_those_of_most_is_passed_over() -> None:
    """It is a follower and the furthest, and its own count of keys would bear its snapshot out."""
    hosts = (member("a", id="1"), member("b", id="2", applied=105, hash=2), member("c", id="3", applied=104))
    chosen = best_member(hosts, Access(stacked=True))
    assert chosen.host.name == "c"
    assert chosen.notes == ("b was passed over, rejoin() it: keys differ at revision 70: a 1, b 2, c 1",)


def test_without_a_majority_that_has_the_same_keys_none_is_taken() -> None:
    hosts = (member("a", id="1"), member("b", id="2", hash=2), member("c", id="3", up=False))
    with pytest.raises(BackupError, match="a 1, b 2; no majority of them has the same keys — find out which"):
        best_member(hosts, Access(stacked=False))


def test_members_that_give_no_hash_are_told_and_not_taken_where_others_do() -> None:
    hosts = (member("a", id="1"), member("b", id="2", applied=105, hash=None))
    chosen = best_member(hosts, Access(stacked=False))
    assert chosen.host.name == "a"
    assert chosen.notes == ("b was not compared: it gives no hash of its keys: 70 Not Found",)
    chosen = best_member(tuple(member(name, id=id, hash=None) for name, id in (("a", "1"), ("b", "2"))), Access(False))
    assert chosen.host.name == "b"
    assert len(chosen.notes) == 2


def test_without_a_leader_none_is_taken() -> None:
    with pytest.raises(BackupError, match="no quorum"):
        best_member((member("a", id="1", leader="0"),), Access(stacked=False))


CONTENTS = {"snapshot.db": b"pages" * 30_000, "files/etc/kubernetes/pki/sa.key": b"a key"}


def descriptor(**other: object) -> Descriptor:
    files = {name: hashlib.sha256(data).hexdigest() for name, data in CONTENTS.items()}
    given: dict[str, object] = dict(
        name="n", time="t", host="h", identity="i", cluster_id="c", revision=1, hash=2, keys=3, live=True, size=4,
        etcd="3.5.30", kubernetes="1.33.13", stacked=True, members=("a",), marker="m", files=files,
    )  # fmt: skip
    return Descriptor(**{**given, **other})  # type: ignore[arg-type]


def archive(path: Path, what: Descriptor, how: Passphrase | None = None) -> Path:
    with path.open("wb") as file:
        sink = encrypting(file, how) if how else file
        parts = [
            Part(name, len(data), hashlib.sha256(data).hexdigest(), lambda data=data: [data[:7], data[7:]])  # type: ignore[misc]
            for name, data in CONTENTS.items()
        ]
        write_archive(sink, what, parts)
        sink.close()
    return path


@pytest.mark.parametrize("how", [None, Passphrase("a word", work=10)])
def test_an_archive_is_read_back(how: Passphrase | None, tmp_path: Path) -> None:
    path = archive(tmp_path / "a", descriptor(), how)
    with opened(path, how) as (found, folder):
        assert found == descriptor()
        assert {name: (folder / name).read_bytes() for name in CONTENTS} == CONTENTS
        assert folder.stat().st_mode & 0o077 == 0
    assert not folder.exists()


def test_an_archive_that_is_not_what_it_says_is_refused(tmp_path: Path) -> None:
    good = archive(tmp_path / "a", descriptor())
    changed = tmp_path / "b"
    changed.write_bytes(good.read_bytes().replace(b"pagespages", b"pagesPages", 1))
    cut = tmp_path / "c"
    cut.write_bytes(good.read_bytes()[:50_000])
    text = tmp_path / "d"
    text.write_text("hello\n" * 1000)
    lacking = archive(tmp_path / "e", descriptor(files={**descriptor().files, "files/more": "ab"}))
    for path, cause in (
        (changed, "snapshot.db: missing or damaged"),
        (cut, "damaged"),
        (text, "is no archive of a backup"),
        (lacking, "files/more: missing or damaged"),
        (tmp_path / "none", "No such file"),
    ):
        with pytest.raises(BackupError, match=cause):
            with opened(path):
                pass


def test_every_flipped_bit_of_an_archive_is_noticed(tmp_path: Path) -> None:
    """Also where no file lies: in headers, behind files, after the last."""
    whole = archive(tmp_path / "one.tar", descriptor()).read_bytes()
    damaged = tmp_path / "damaged.tar"
    for at in (*range(0, 4096, 11), *range(4096, len(whole), 1499), *range(len(whole) - 12_000, len(whole), 499)):
        data = bytearray(whole)
        data[at] ^= 1
        damaged.write_bytes(data)
        with pytest.raises(BackupError), opened(damaged):
            pass


def test_an_encrypted_archive_asks_for_what_opens_it(tmp_path: Path) -> None:
    path = archive(tmp_path / "a", descriptor(), Passphrase("right", work=10))
    with pytest.raises(ConfigError, match="is encrypted"):
        with opened(path):
            pass
    with pytest.raises(BackupError, match="the passphrase does not open it"):
        with opened(path, Passphrase("wrong")):
            pass


def test_a_part_that_changes_on_its_way_fails() -> None:
    for part in (Part("p", 3, "00", lambda: [b"abc"]), Part("p", 9, "00", lambda: [b"abc"])):
        with pytest.raises(BackupError, match="run again"):
            write_archive(io.BytesIO(), descriptor(), [part])


def test_what_a_host_has_ready_is_read_and_doubted() -> None:
    ready = (
        GOOD.replace("69c5", "ab" * 32) + "folder /var/tmp/x\ntime 2026-11-22T21:48:44Z\nvoter b\nvoter a\nlive 42\n"
    )
    ready += f"configmap not written: refused\nfile {'ab' * 32} 24608 snapshot.db\nfile cd 9 files/a b\n"
    taken = Taken.parse(ready.encode())
    assert taken.members == ("a", "b")
    assert taken.live
    assert taken.notes == ("configmap not written: refused",)
    assert taken.files == {"snapshot.db": (24608, "ab" * 32), "files/a b": (9, "cd")}
    with pytest.raises(BackupError, match="was changed after it had been proven"):
        Taken.parse(ready.replace(f"file {'ab' * 32}", "file 00").encode())
    with pytest.raises(BackupError):
        Taken.parse(ready.replace("verified yes", "").encode())


def test_a_folder_keeps_a_copy_whole_and_to_itself(tmp_path: Path) -> None:
    folder, data = Folder(tmp_path / "deep/copies"), b"data" * 1000
    sum = hashlib.sha256(data).hexdigest()
    (tmp_path / "deep/copies").mkdir(parents=True)
    (tmp_path / "deep/copies/.k8sha.a.tar.part").write_text("of a run that was killed")
    copy = folder.put(io.BytesIO(data), "a.tar", len(data), sum)
    assert Path(copy.where).read_bytes() == data
    assert Path(copy.where).stat().st_mode & 0o777 == 0o600
    with pytest.raises(BackupError, match="what arrived"):
        folder.put(io.BytesIO(data), "b.tar", len(data), "00")
    assert [path.name for path in folder.path.iterdir()] == ["a.tar"]


def test_what_killed_backups_left_in_a_folder_goes_once_it_is_old_and_nobody_writes_it(tmp_path: Path) -> None:
    left = {name: tmp_path / f".k8sha.k8sha-etcd-{name}.tar.part" for name in ("old", "young", "used")}
    theirs = tmp_path / ".k8sha.notes.part"
    for path in (*left.values(), theirs):
        path.write_text("left")
        if path != left["young"]:
            os.utime(path, (time.time() - 90_000,) * 2)
    with left["used"].open("r+b") as writer:
        fcntl.flock(writer, fcntl.LOCK_EX)
        Folder(tmp_path).put(io.BytesIO(b"data"), "a.tar", 4, hashlib.sha256(b"data").hexdigest())
    assert set(tmp_path.iterdir()) == {left["young"], left["used"], theirs, tmp_path / "a.tar"}


def test_one_place_that_fails_keeps_no_other_from_being_tried(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    data = b"data"
    places = [Folder(tmp_path / "file"), Folder(tmp_path / "good")]
    copies, problems = keep(io.BytesIO(data), "a", 4, hashlib.sha256(data).hexdigest(), places)
    assert [copy.where for copy in copies] == [str(tmp_path / "good/a")]
    assert [problem.subject for problem in problems] == [f"folder {tmp_path / 'file'}"]


def test_a_backup_without_a_place_is_refused_before_anything_is_done() -> None:
    with pytest.raises(ConfigError, match="nowhere to go"):
        EtcdCluster([member("a", id="1")]).backup([])


@pytest.mark.parametrize(
    ("name", "value"),
    [("endpoint", "s3.example.com"), ("endpoint", "https://u:p@s3.example.com"), ("bucket", ""), ("secret_key", "")],
)
def test_storage_is_told_whole(name: str, value: str) -> None:
    given = dict(endpoint="https://s3.example.com", bucket="b", access_key="k", secret_key="hush")
    with pytest.raises(ConfigError) as error:
        S3(**{**given, name: value})  # type: ignore[arg-type]
    assert "hush" not in str(error.value)
    assert "hush" not in repr(S3(**given))  # type: ignore[arg-type]


def test_another_host_is_named_without_its_keys() -> None:
    assert str(OnHost(member("store", id="1"), "/srv/b")) == "store:/srv/b"


def schedule(**how: object) -> BackupSchedule:
    return BackupSchedule(EtcdCluster([member("a", id="1")]), **how)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("minutes", "calendar"),
    [
        (5, "*-*-* *:00/5:00"),
        (30, "*-*-* *:00/30:00"),
        (60, "*-*-* *:00:00"),
        (720, "*-*-* 00/12:00:00"),
        (1440, "*-*-* 00:00:00"),
    ],
)
def test_when_it_runs(minutes: int, calendar: str) -> None:
    assert schedule(every=timedelta(minutes=minutes), jitter=timedelta(0)).calendar == calendar


@pytest.mark.parametrize(
    "how",
    [
        {"every": timedelta(minutes=7)},
        {"every": timedelta(hours=5)},
        {"every": timedelta(minutes=90)},
        {"every": timedelta(days=2)},
        {"every": timedelta(minutes=1)},
        {"keep": 0},
        {"jitter": timedelta(hours=13)},
        {"folder": "backups"},
        {"folder": "/var/../etc"},
        {"metrics": "/a b"},
    ],
)
def test_a_schedule_that_cannot_work_is_refused(how: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        schedule(**how)


WELL = {
    "now": "100000",
    "timer": "active",
    "unit": "success",
    "result": "1",
    "good": "99000",
    "size": "2000000",
    "revision": "7",
}


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"good": "0", "said": "etcd does not answer"}, "no scheduled backup was ever made: etcd does not answer"),
        ({"result": "0", "said": "disk full"}, "the last run failed: disk full; the last good one is 0:16:40 old"),
        ({"unit": "timeout"}, "its unit says timeout"),
        ({"good": "10000"}, "more than 1 day, 0:10:00"),
        ({"timer": "inactive"}, "the timer is inactive"),
    ],
)
def test_what_verify_says_of_a_schedule(other: dict[str, str], words: str) -> None:
    assert schedule().judge("a", WELL) == "2.0 MB, revision 7, 0:16:40 old"
    with pytest.raises(NotYet, match=words):
        schedule().judge("a", {**WELL, **other})


class Serving:
    """A host that is asked to run and to print: files by their path, answers by a word in what is asked."""

    def __init__(self, files: Mapping[str, bytes], answers: Mapping[str, bytes]) -> None:
        self.files, self.answers, self.asked = files, answers, list[str]()

    def __call__(self, program: Program) -> Iterator[Frame]:
        replies = []
        for snippet in program.probes:
            self.asked.append(snippet.text)
            read = re.match(r"dd if=(\S+) ", snippet.text)
            said = self.files[read[1]] if read else b""
            said = next((out for word, out in self.answers.items() if word in snippet.text), said)
            replies.append((0, said, b""))
        yield Saw(tuple(replies))
        yield End()


def lines(files: Mapping[str, bytes]) -> str:
    return "".join(f"file {hashlib.sha256(data).hexdigest()} {len(data)} {name}\n" for name, data in files.items())


def test_with_an_etcd_elsewhere_a_masters_keys_are_in_the_same_archive(tmp_path: Path) -> None:
    """Files of both hosts, each read where it is, and both hosts tidied up."""
    db, own, keys = (
        {"snapshot.db": b"pages"},
        {"files/etc/etcd/e": b"conf"},
        {"files/etc/kubernetes/pki/sa.key": b"key"},
    )
    facts = (
        GOOD.replace("69c5", hashlib.sha256(b"pages").hexdigest()) + "folder /w\ntime 2026-11-22T21:48:44Z\nlive 42\n"
    )
    etcd = Serving({f"/w/{name}": data for name, data in {**db, **own}.items()}, {})
    master = Serving({f"/m/{name}": data for name, data in keys.items()}, {})
    hosts = Host("e-1", "192.168.56.30", ssh=Fake(etcd)), Host("master-1", "192.168.56.10", ssh=Fake(master))
    work = _Work(hosts[0], hosts[1], Access(stacked=False), "6f2a", (Folder(tmp_path),), None, ())
    results: list[_Result] = []
    steps = work.stages(results)
    said = {
        "etcd's programs": "",
        "files of a master": f"folder /m\nkubernetes 1.33.13\nkubeadm-config not saved: refused\n{lines(keys)}",
        "snapshot": facts + lines({**db, **own}),
    }
    stage: Stage | None = next(steps)
    names = list[str]()
    while stage is not None:
        ((host, (resource,)),) = stage.work.items()
        names.append(stage.name)
        outcome = Outcome(((host.name, resource.key, said[stage.name].encode()),))
        try:
            stage = steps.send(outcome)
        except StopIteration:
            stage = None
    assert names == list(said)
    (result,) = results
    assert (result.problems, result.notes) == ((), ("kubeadm-config not saved: refused",))
    with opened(result.copies[0].where) as (found, folder):
        assert (found.kubernetes, found.stacked) == ("1.33.13", False)
        assert {name: (folder / name).read_bytes() for name in found.files} == {**db, **own, **keys}
    assert all(any("rm -rf" in text for text in each.asked) for each in (etcd, master))


def test_a_master_that_has_the_keys_is_asked_for_them() -> None:
    bare, whole = Serving({}, {}), Serving({}, {"sa.key": b"whole\n"})
    hosts = tuple(Host(f"m-{at}", "192.168.56.10", ssh=Fake(each)) for at, each in enumerate((bare, whole)))
    assert master_with_keys(hosts) == hosts[1]
    with pytest.raises(BackupError, match="m-0: has no keys of a control plane"):
        master_with_keys(hosts[:1])
