"""The scheduled program itself, with stand-ins for etcd and for the clock: what it keeps, removes and tells."""

from __future__ import annotations

import hashlib
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from k8sha import BackupSchedule, EtcdCluster, Host
from k8sha.etcd.archive import opened
from k8sha.etcd.schedule import UNIT

from .etcd_stand_in import EtcdStandIn, snapshot_bytes

RETENTION = Path(__file__).parents[2] / "k8sha/etcd/retention.sh"
KEEP = 3


class Scheduled:
    """A member's host in a folder. Its clock stands where it was put."""

    def __init__(self, folder: Path, name: str = "master-1", copies: Path | None = None) -> None:
        self.folder, self.now = folder, datetime(2026, 11, 1, tzinfo=UTC)
        self.copies, self.state, self.metrics = copies or folder / "copies", folder / "state/etcd", folder / "metrics"
        self.etcd = EtcdStandIn(self.state)
        data = folder / "data/member/snap"
        data.mkdir(parents=True)
        self.db = data / "db"
        self.db.write_bytes(bytes(4096))
        (self.etcd.bin / "date").write_text(f'#!/bin/sh\nexec /bin/date -d "$(cat {folder}/clock)" "$@"\n')
        (self.etcd.bin / "date").chmod(0o755)
        stamp = " ".join(
            f"{(at := (self.etcd.bin / name).stat()).st_size}-{int(at.st_mtime)}"
            for name in ("etcd", "etcdctl", "etcdutl")
        )
        (self.etcd.bin / "made").write_text(f"version 3.5.30\nsource test\nstamp {stamp}\n")
        cluster = EtcdCluster([Host(name, "192.168.56.10")])
        schedule = BackupSchedule(cluster, keep=KEEP, folder=str(self.copies), metrics=str(self.metrics))
        script = schedule.script(cluster.hosts[0])
        for old, new in (
            ("/var/lib/k8sha", str(folder / "state")),
            ("/var/lib/etcd", str(folder / "data")),
            ("/etc/etcd", str(folder / "config")),
            ("/usr/bin/etcd", str(folder / "none")),
            (" PATH=/usr/local/sbin", f" PATH={self.etcd.bin}:/usr/local/sbin"),
        ):
            assert old in script
            script = script.replace(old, new)
        self.script = folder / "script"
        self.script.write_text(script)
        (folder / "config/pki").mkdir(parents=True)
        (folder / "config/pki/ca.key").write_text("a key\n")

    def run(self, *, room: int | None = None) -> subprocess.CompletedProcess[str]:
        """Once, on a disk on which no file becomes larger than ``room`` pieces of 512 bytes."""
        (self.folder / "clock").write_text(f"@{int(self.now.timestamp())}")
        full = "" if room is None else f"trap '' XFSZ; ulimit -f {room}; "
        return subprocess.run(["sh", "-c", f"{full}exec sh {self.script}"], capture_output=True, text=True, check=False)

    def kept(self) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.copies.glob("*.tar")}

    def told(self) -> dict[str, str]:
        lines = (self.metrics / f"{UNIT}.prom").read_text().splitlines()
        return dict(line.removeprefix("k8sha_etcd_backup_").split(" ") for line in lines if not line.startswith("#"))


@pytest.fixture
def scheduled(tmp_path: Path) -> Scheduled:
    return Scheduled(tmp_path)


def good_runs(scheduled: Scheduled, count: int) -> None:
    for _ in range(count):
        scheduled.now += timedelta(hours=12)
        done = scheduled.run()
        assert done.returncode == 0, done.stderr


FAILURES = ("save", "put", "leader", "alarm", "status", "restore", "marker", "count", "damaged", "full")


def test_a_good_run_leaves_an_archive_that_can_be_read(scheduled: Scheduled) -> None:
    good_runs(scheduled, 1)
    (name,) = scheduled.kept()
    assert name == "k8sha-etcd-20261101T120000Z-master-1-3.5.30-70.tar"
    with opened(scheduled.copies / name) as (descriptor, folder):
        assert (descriptor.name, descriptor.revision, descriptor.keys, descriptor.live) == (name, 70, 6, True)
        assert descriptor.members == ("master-1",)
        assert (folder / "snapshot.db").read_bytes() == snapshot_bytes()
        assert (folder / f"files{scheduled.folder}/config/pki/ca.key").read_text() == "a key\n"
    assert (scheduled.copies / name).stat().st_mode & 0o777 == 0o600
    assert scheduled.told()["last_run_success"] == "1"
    assert not list(scheduled.copies.glob(".making*"))


def test_another_members_backup_at_the_same_time_spoils_nothing(scheduled: Scheduled) -> None:
    """Timers of all members may go off together: each proves its snapshot by its own marker."""
    (scheduled.etcd.told / "also-marker").touch()
    good_runs(scheduled, 1)
    assert scheduled.told()["last_run_success"] == "1"


def test_30_days_of_failing_backups_remove_none_that_is_good(scheduled: Scheduled) -> None:
    """Two runs a day, each failing in another way; the clock stands still for none of them."""
    good_runs(scheduled, KEEP + 2)
    before = scheduled.kept()
    last = scheduled.told()["last_success_timestamp_seconds"]
    assert len(before) == KEEP
    for number in range(60):
        failure = FAILURES[number % len(FAILURES)]
        scheduled.now += timedelta(hours=12)
        scheduled.etcd.fails(*([] if failure in ("damaged", "full") else [failure]))
        whole = snapshot_bytes(number)
        scheduled.etcd.snapshot(whole[:100] + b"!" + whole[101:] if failure == "damaged" else whole)
        with scheduled.db.open("r+b") as db:
            db.truncate(1 << 43 if failure == "full" else 4096)  # a sparse file: a backup of it fits nowhere
        done = scheduled.run()
        assert done.returncode != 0, failure
        assert done.stderr.strip(), failure
        assert scheduled.kept() == before, failure
        assert scheduled.told()["last_run_success"] == "0", failure
        assert scheduled.told()["last_success_timestamp_seconds"] == last
        assert not list(scheduled.copies.glob(".making*")), failure
    scheduled.etcd.fails()
    scheduled.db.write_bytes(bytes(4096))
    good_runs(scheduled, 1)
    after = scheduled.kept()
    assert len(after) == KEEP
    assert sorted(before)[1:] == sorted(after)[:-1]


@pytest.mark.parametrize("room", [1, 16, 40, 64, 70, 79])
def test_a_disk_that_fills_up_while_it_is_written_costs_no_good_copy(scheduled: Scheduled, room: int) -> None:
    """In the snapshot, or in the archive, which is larger: nothing half-written counts, and the next run is as ever."""
    good_runs(scheduled, KEEP + 1)
    before = scheduled.kept()
    (largest,) = {path.stat().st_size for path in scheduled.copies.glob("*.tar")}
    assert largest > room * 512
    scheduled.now += timedelta(hours=12)
    done = scheduled.run(room=room)
    assert done.returncode != 0
    assert scheduled.kept() == before
    assert not [path.name for path in scheduled.copies.iterdir() if path.name.startswith(".making")]
    good_runs(scheduled, 1)
    assert len(scheduled.kept().keys() - before.keys()) == 1


def test_a_copy_that_went_bad_counts_as_none(scheduled: Scheduled) -> None:
    good_runs(scheduled, KEEP)
    newest = sorted(scheduled.kept())[-1]
    with (scheduled.copies / newest).open("r+b") as file:
        file.write(b"?")
    oldest = sorted(scheduled.kept())[0]
    good_runs(scheduled, 1)
    assert oldest in scheduled.kept(), "with a bad one among the newest, one more is needed"
    good_runs(scheduled, 1)
    assert oldest not in scheduled.kept()


def test_names_of_others_are_left_alone(scheduled: Scheduled) -> None:
    scheduled.copies.mkdir()
    others = ("k8sha-etcd-mine.tar", "old.db", "k8sha-etcd-20200101T000000Z-a-3.5.1-1.tar.gz", "a b")
    for name in others:
        (scheduled.copies / name).write_text("theirs")
    good_runs(scheduled, KEEP + 3)
    assert all((scheduled.copies / name).read_text() == "theirs" for name in others)
    assert len(scheduled.kept()) == KEEP + 1  # ours, and k8sha-etcd-mine.tar
    assert scheduled.told()["copies"] == str(KEEP)


@pytest.mark.parametrize("host", ["master-1", "store-1"])
@pytest.mark.parametrize("hashed", [False, True])
def test_archives_by_such_names_are_nobodys_but_their_writers(scheduled: Scheduled, host: str, hashed: bool) -> None:
    """What backup() keeps in the same folder, also of this very host, and with a hash that somebody put beside it."""
    scheduled.copies.mkdir()
    theirs = [f"k8sha-etcd-202610{day:02}T000000Z-{host}-3.5.30-9.tar" for day in range(1, 6)]
    for name in theirs:
        (scheduled.copies / name).write_text("theirs")
        if hashed:
            (scheduled.copies / f"{name}.sha256").write_text(hashlib.sha256(b"theirs").hexdigest() + "\n")
    good_runs(scheduled, KEEP + 2)
    assert all((scheduled.copies / name).read_text() == "theirs" for name in theirs)
    assert len(scheduled.kept()) == KEEP + len(theirs)


def test_hosts_that_share_a_folder_leave_each_others_copies_and_work_alone(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    one = Scheduled(tmp_path / "one", "master-1", tmp_path / "shared")
    two = Scheduled(tmp_path / "two", "master-2", tmp_path / "shared")
    good_runs(one, KEEP)
    before = one.kept()
    (tmp_path / "shared/.making.of-another").mkdir()
    two.now += timedelta(days=30)
    good_runs(two, KEEP + 2)
    assert before.items() <= two.kept().items()
    assert len(two.kept()) == 2 * KEEP
    assert (tmp_path / "shared/.making.of-another").is_dir()


def test_what_a_killed_run_was_making_is_removed_by_the_next(scheduled: Scheduled) -> None:
    left = scheduled.copies / ".making.0123"
    left.mkdir(parents=True)
    (scheduled.state / "making").write_text(f"{left}\n")
    good_runs(scheduled, 1)
    assert not left.exists()
    assert not (scheduled.state / "making").exists()


def test_a_clock_that_jumps_back_removes_nothing_new(scheduled: Scheduled) -> None:
    scheduled.now += timedelta(days=365)
    good_runs(scheduled, KEEP)
    scheduled.now -= timedelta(days=365)
    good_runs(scheduled, 1)
    assert "20261103" in min(scheduled.kept())


def test_another_run_at_the_same_time_fails_by_itself(scheduled: Scheduled) -> None:
    good_runs(scheduled, 1)
    short = scheduled.script.read_text().replace("flock -w 1800", "flock -w 0")
    assert "flock -w 0" in short
    scheduled.script.write_text(short)
    lock = scheduled.state / "backup.lock"
    holder = subprocess.Popen(["flock", lock, "sh", "-c", "echo held; read line"], stdin=-1, stdout=-1, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    done = scheduled.run()
    holder.communicate("\n")
    assert done.returncode != 0
    assert "another backup" in done.stderr
    assert len(scheduled.kept()) == 1


def expired(keep: int, just: str, *lines: str) -> list[str]:
    program = (
        f"{RETENTION.read_text()}\nk8sha_expired {keep} '{just}' <<'END'\n" + "".join(f"{x}\n" for x in lines) + "END\n"
    )
    done = subprocess.run(["sh", "-eus"], input=program, capture_output=True, text=True, check=True)
    return done.stdout.split()


def name(day: int, version: str = "3.5.30") -> str:
    return f"k8sha-etcd-202611{day:02}T000000Z-m-1-{version}-9.tar"


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_as_many_good_ones_stay_as_are_to_be_kept(keep: int) -> None:
    days = list(range(28, 0, -1))
    states = ["bad" if day % 3 == 0 else "good" for day in days]
    gone = expired(keep, name(28), *(f"{state} {name(day)}" for state, day in zip(states, days, strict=True)))
    stay = [state for state, day in zip(states, days, strict=True) if name(day) not in gone]
    assert stay.count("good") == keep
    assert expired(keep, "", *(f"good {name(day)}" for day in days)) == []


def test_the_last_good_one_of_a_minor_version_stays() -> None:
    lines = [
        f"good {name(9, '3.6.1')}",
        f"good {name(8, '3.6.0')}",
        f"bad {name(7, '3.5.30')}",
        f"good {name(6, '3.5.30')}",
        f"good {name(5, '3.5.29')}",
        f"good {name(4, '3.4.30')}",
    ]
    assert expired(1, name(9, "3.6.1"), *lines) == [name(8, "3.6.0"), name(7, "3.5.30"), name(5, "3.5.29")]
