"""Restoring etcd: what is refused with nothing touched, what is done in which order, and going on after a kill; on
hosts that are functions."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from attrs import define, evolve, field

from k8sha import ConfigError, Host, PreflightError
from k8sha.components.etcd import EtcdCluster
from k8sha.errors import ApplyError, BackupError, Unreachable
from k8sha.etcd.access import Access
from k8sha.etcd.agreed import Agreed
from k8sha.etcd.data import Exchanged, KeptDeleted, Prepared, PutBack
from k8sha.etcd.fence import UnitFenced, UnitRuns
from k8sha.etcd.present import HARMFUL
from k8sha.etcd.record import WEEK, Closed, Forgotten, Record, Written, bump_for
from k8sha.etcd.refusals import no_room
from k8sha.etcd.restored import Restored
from k8sha.etcd.standing import LastSeen, Looked, Standing
from k8sha.etcd.undo import Reopened
from k8sha.etcd.unfinished import UNFINISHED, unfinished_check
from k8sha.facts import FACTS
from k8sha.hosts.program import Began, Did, End, Frame, Program, Saw
from k8sha.waiting import NotYet

from .fake import Fake, FakeLink
from .restore_samples import RECORD

BOLT = (0xED0CDAED).to_bytes(4, "little")
GOOD = "size 1024\nrevision 41\nhash 7\ntotal_keys 3\netcd 3.5.30\nmember m1 https://192.168.56.11:2380\nverified yes\n"
AGREED = Agreed(Access(stacked=False), ()).key


def snapshot(path: Path, word: bytes = b"one") -> Path:
    """A file that has the marks of a snapshot: pages, and the hash of them at the end."""
    data = (b"\0" * 16 + BOLT + word).ljust(1024, b"\0")
    path.write_bytes(data + hashlib.sha256(data).digest())
    return path


class Gone:
    """A way to a host that nothing comes back on."""

    def open(self, name: str, address: str) -> FakeLink:
        raise Unreachable(name, "no route")


@define(eq=False)
class Member:
    """A member's host as a function: it knows each text by what is said in it, and keeps what was done."""

    last: int
    journal: list[tuple[str, str]]
    revision: int = 100
    free: int = 1 << 34
    facts: str = GOOD
    dies_at: str = ""
    away: bool = False
    state: dict[str, str] = field(factory=dict)
    closed: dict[str, str] = field(factory=dict)
    kept: set[str] = field(factory=set)
    stranger: bool = False
    cluster: str = "77"
    tried: str = ""
    version: str = "3.5.30"
    raises: bool = True
    late: int = 0

    @property
    def host(self) -> Host:
        return self._host

    _host: Host = field(init=False)

    def __attrs_post_init__(self) -> None:
        way = Gone() if self.away else Fake(self.answer)
        self._host = Host(f"m{self.last}", f"192.168.56.1{self.last}", ssh=way)

    def answer(self, program: Program) -> Iterator[Frame]:
        for index, snippet in enumerate(program.applies):
            yield Began(index)
            what = self._named(snippet.text)
            self.journal.append((self._host.name, what))
            if what == self.dies_at:
                self.dies_at, self.tried = "", snippet.text
                yield Did(index, 1, b"", b"killed here", 0.1)
                break
            self._do(what, snippet.text)
            yield Did(index, 0, b"", b"", 0.1)
        if program.probes:
            yield Saw(tuple((0, self._see(snippet.text).encode(), b"") for snippet in program.probes))
        yield End()

    def _named(self, text: str) -> str:
        marks = {
            "another restore is half-way": "record",
            "restore/open/last.new": "last seen",
            "facts.new": "judge",
            "snapshot restore": "new data",
            ": >/var/lib/k8sha/restore/open/exchanged": "exchange",
            ": >/var/lib/k8sha/restore/open/put-back": "put back",
            "restore/open/undoing": "reopen",
            "systemctl disable --now": "fence",
            "systemctl start --no-block": "start",
            "mv -T /var/lib/k8sha/restore/open": "close",
            "rm -rf /var/lib/etcd/k8sha-restored-*": "forget",
            "rm -rf /var/lib/etcd/k8sha-kept-": "delete",
            "etcd/bin/made": "programs",
            "sha256sum -c": "upload",
        }
        return next((name for mark, name in marks.items() if mark in text), text[:60])

    def _do(self, what: str, text: str) -> None:
        self.state[what] = text
        if what == "fence" and "reopen" in self.state:
            self.state.pop("start", None)
        if what == "last seen":
            self.state[what] = f"{self.revision + self.late} {int(time.time())}"
        if what == "record":
            self.state = {name: text for name, text in self.state.items() if name in ("record", "programs", "upload")}
        if what == "exchange":
            self.kept.add(json.loads(self._record())["id"])
        if what == "put back":
            self.kept.discard(json.loads(self._record())["id"])
        if what == "close":
            name = text.rpartition("/restore/")[2].strip()
            self.closed.pop(name.removesuffix("-undone"), None)
            self.closed[name] = self._record()
            self.state = {name: self.state.get(name, "") for name in ("judge", "last seen")}
        if what == "forget":
            self.state = {}
        if what == "delete":
            self.state, self.closed, self.kept = {}, {}, set()

    def _record(self) -> str:
        text = self.state.get("record") or self.state.get("reopen", "")
        lines = (line.strip() for line in text.splitlines())
        line = next((line for line in lines if line.startswith("printf '%s\\n' ")), "")
        return line.removeprefix("printf '%s\\n' '").partition("' >")[0]

    def _see(self, text: str) -> str:
        if text == FACTS:
            return f"hostname {self._host.name}"
        access = Access(stacked=False)
        if text == HARMFUL:
            return "" if self.stranger else "/var/lib/etcd/member is there\n4711 etcd runs\n"
        if text == Looked(access).probe():
            return self._look()
        fixed: dict[str, Callable[[], str]] = {
            Written(RECORD).probe(): self._record,
            Reopened(RECORD).probe(): lambda: self._record() if "reopen" in self.state else "",
            UnitFenced(until="put-back").probe(): lambda: (
                "" if {"put back", "fence"} & self.state.keys() and "start" not in self.state else "etcd.service runs"
            ),
            LastSeen(access).probe(): lambda: self.state.get("last seen", "0 0") if "fence" in self.state else "",
            Exchanged("").probe(): lambda: "yes" if "exchange" in self.state else "",
            PutBack("").probe(): lambda: (
                ("done\n" if "put back" in self.state else "") + ("" if self.stranger else "member")
            ),
            UnitFenced().probe(): lambda: "" if {"fence", "exchange"} & self.state.keys() else "etcd.service runs",
            UnitRuns().probe(): lambda: "active" if "start" in self.state else "inactive",
            Closed("").probe(): lambda: "open" if {"record", "reopen"} & self.state.keys() else "",
            KeptDeleted().probe(): lambda: "\n".join([*self.kept, *self.closed]),
            Forgotten().probe(): lambda: "begun" if "record" in self.state and "fence" not in self.state else "",
        }
        if "/facts-" in text:
            id = text.partition("/facts-")[2][:8]
            last = f"last {self.state['last seen']}\n" if self.state.get("last seen") and "/last" in text else ""
            return last + (self.facts if f"/facts-{id}" in self.state.get("judge", "") else "")
        if text in fixed:
            return fixed[text]()
        if "k8sha-restored-" in text:
            id = text.partition("/k8sha-restored-")[2][:8]
            made = "exchange" in self.state or f"/k8sha-restored-{id}" in self.state.get("new data", "")
            return ("made\nraised" if self.raises else "made") if made else ""
        if "endpoint hashkv" in text:
            return self._whole(text)
        if "snapshot.db" in text:
            return f"{SUMS[0]} 0600" if SUMS[0] in self.state.get("upload", "") else ""
        if 'echo "wanted' in text:
            return (
                f"version {self.version}\nsource file\nfound 1\nstamp 1\nwanted file"
                if "programs" in self.state
                else "absent"
            )
        raise AssertionError(text)

    def _look(self) -> str:
        lines = [f"free {self.free}"]
        if self._record():
            lines.append(f"record {self._record()}")
        marks = (("fencing", "fence"), ("exchanged", "exchange"), ("undoing", "reopen"))
        lines += [f"mark {mark}" for mark, did in marks if did in self.state]
        lines += [f"closed {name} {record}" for name, record in self.closed.items()]
        lines += [f"kept {id}" for id in sorted(self.kept)]
        if "fence" not in self.state or "start" in self.state:
            header = {"cluster_id": self.cluster, "member_id": "1", "revision": str(self.revision)}
            lines.append("status " + json.dumps({"header": header}))
        return "\n".join(lines)

    def _whole(self, text: str) -> str:
        urls = text.partition("for url in ")[2].partition(";")[0].split()
        names = [f"m{url.removesuffix(':2379')[-1]}" for url in urls]
        listed = json.dumps({"members": [{"ID": "1", "name": name, "peerURLs": ["x"]} for name in names]})
        said = []
        for _ in urls:
            said.append('status {"header":{"revision":"1000000050"},"leader":"5"}')
            said.append(f"members {listed}")
        hashes = json.dumps([{"HashKV": {"hash": 3}} for _ in urls])
        return "\n".join([*said, f"hashes {hashes}"])


SUMS = [""]
"""The hash of the snapshot that is being restored."""


@define(eq=False)
class Lab:
    """Members, and what was done on them in which order."""

    members: list[Member]
    journal: list[tuple[str, str]]

    @classmethod
    def of(cls, count: int) -> Lab:
        journal: list[tuple[str, str]] = []
        return cls([Member(last, journal) for last in range(1, count + 1)], journal)

    def etcd(self) -> EtcdCluster:
        return EtcdCluster([member.host for member in self.members])

    def restore(self, path: Path, powered_off: Iterable[Host] = (), *, another_cluster: bool = False) -> Restored:
        SUMS[0] = hashlib.sha256(path.read_bytes()).hexdigest()
        return self.etcd().restore(path, powered_off=powered_off, another_cluster=another_cluster)

    def did(self, what: str) -> list[int]:
        return [at for at, (_, did) in enumerate(self.journal) if did == what]


HURTS = {"fence", "exchange", "start"}


@pytest.mark.parametrize("count", [1, 3, 5])
def test_everybody_is_ready_before_anybody_stops_and_stopped_before_anybody_starts(count: int, tmp_path: Path) -> None:
    lab = Lab.of(count)
    done = lab.restore(snapshot(tmp_path / "s.db"))
    for before, after in (("upload", "new data"), ("new data", "fence"), ("exchange", "start"), ("start", "close")):
        assert len(lab.did(before)) == len(lab.did(after)) == count
        assert max(lab.did(before)) < min(lab.did(after)), (before, after)
    assert len(lab.did("judge")) == 1
    assert (done.reached, done.snapshot, done.lost, done.revision) == (100, 41, 59, 1_000_000_050)
    assert "lost: 59 revisions" in str(done)
    assert done.members == tuple(f"m{last}" for last in range(1, count + 1))


def test_all_members_are_made_of_the_same_file_token_and_list(tmp_path: Path) -> None:
    lab = Lab.of(3)
    texts: list[str] = []
    for member in lab.members:
        member.dies_at = "close"
    with pytest.raises(ApplyError):
        lab.restore(snapshot(tmp_path / "s.db"))
    for member in lab.members:
        own = f"--name={member.host.name}", f"--initial-advertise-peer-urls=https://{member.host.address}:2380"
        text = member.state["new data"]
        for option in own:
            assert option in text
            text = text.replace(option, "")
        texts.append(text)
    assert len(set(texts)) == 1
    assert "--bump-revision=1000000000 --mark-compacted" in texts[0]


@pytest.mark.parametrize(
    "at", ["record", "programs", "upload", "judge", "new data", "fence", "exchange", "start", "close"]
)
@pytest.mark.parametrize("who", [0, 2])
def test_dying_anywhere_and_running_again_ends_right(at: str, who: int, tmp_path: Path) -> None:
    lab = Lab.of(3)
    if at == "judge" and who:
        pytest.skip("one host judges for all")
    lab.members[who].dies_at = at
    path = snapshot(tmp_path / "s.db")
    with pytest.raises(ApplyError):
        lab.restore(path)
    begun = {text for member in lab.members if (text := member._record())}
    stopped = at not in ("record", "programs", "upload", "judge", "new data")
    done = lab.restore(path)
    assert len(lab.did("exchange")) == (4 if at == "exchange" else 3)  # never twice on one host
    if stopped and at != "close":
        assert begun == {json.dumps({**json.loads(next(iter(begun))), "id": done.id}, sort_keys=True)}
    elif not stopped:  # what was written down before is not true for ever
        assert done.id not in {json.loads(text)["id"] for text in begun}
    assert all("record" not in member.state for member in lab.members)


@pytest.mark.parametrize("at", ["", "exchange", "start", "close"])
def test_what_was_written_until_the_fence_is_told_as_lost(at: str, tmp_path: Path) -> None:
    """Also by a later run: the hosts have written it down."""
    lab = Lab.of(3)
    lab.members[1].late = 20
    path = snapshot(tmp_path / "s.db")
    if at:
        lab.members[2].dies_at = at
        with pytest.raises(ApplyError):
            lab.restore(path)
    done = lab.restore(path)
    assert (done.reached, done.lost) == (120, 79)
    for member in lab.members:
        own = [did for name, did in lab.journal if name == member.host.name]
        assert own.index("new data") < own.index("last seen") == own.index("fence") - 1


def test_the_last_sight_is_the_highest_and_no_clock_that_runs_ahead_counts() -> None:
    seen = (b"120 1005\n", b"0 0\n", b"119 9999\n")
    assert LastSeen.latest(seen, revision=100, begun=1000, now=1010) == (120, 1010)
    assert LastSeen.latest((), revision=100, begun=1000, now=1010) == (100, 1000)


def test_another_snapshot_is_refused_while_one_is_half_way_and_undo_makes_way(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[1].dies_at = "exchange"
    with pytest.raises(ApplyError):
        lab.restore(snapshot(tmp_path / "s.db"))
    before = len(lab.journal)
    with pytest.raises(PreflightError, match=r"half-way.*undo\(\)"):
        lab.restore(snapshot(tmp_path / "other.db", b"two"))
    assert len(lab.journal) == before
    undone = lab.etcd().undo()
    assert undone.serving
    assert undone.members == ("m1", "m2", "m3")
    assert len(lab.did("put back")) == 3
    lab.restore(snapshot(tmp_path / "other.db", b"two"))


def test_only_the_last_restore_is_taken_back_and_only_once(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.restore(snapshot(tmp_path / "first.db"))
    for member in lab.members:
        member.closed = {name: text.replace('"begun": 1', '"begun": -1') for name, text in member.closed.items()}
    lab.restore(snapshot(tmp_path / "s.db", b"two"))
    undone = lab.etcd().undo()
    assert undone.source == "s.db"
    assert f"is served no more; it is kept in /var/lib/etcd/k8sha-undone-{undone.id} until accept()" in str(undone)
    before = len(lab.journal)
    with pytest.raises(PreflightError, match=r"from s\.db\) was taken back already: there is nothing to undo"):
        lab.etcd().undo()
    assert len(lab.journal) == before


def test_undoing_what_changed_nothing_says_so_and_what_the_next_one_takes_back(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.restore(snapshot(tmp_path / "first.db"))
    lab.members[1].dies_at = "new data"
    with pytest.raises(ApplyError):
        lab.restore(snapshot(tmp_path / "s.db", b"two"))
    undone = lab.etcd().undo()
    assert (undone.source, undone.members) == ("s.db", ())
    assert "from s.db had changed nothing" in str(undone)
    assert "from first.db, which came before it, is as it was; undo() again takes that back" in str(undone)
    assert lab.did("put back") == []
    undone = lab.etcd().undo()
    assert (undone.source, undone.members, undone.before) == ("first.db", ("m1", "m2", "m3"), "")


def test_a_host_without_data_of_before_is_told_and_not_started(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.restore(snapshot(tmp_path / "s.db"))
    lab.members[2].closed, lab.members[2].kept, lab.members[2].stranger = {}, set(), True
    undone = lab.etcd().undo()
    assert (undone.members, undone.without) == (("m1", "m2"), ("m3",))
    assert "m3 has no data of before the restore, and stays stopped" in str(undone)
    assert "start" not in lab.members[2].state
    assert [name for name, did in lab.journal if did == "start"].count("m3") == 1


def test_who_was_off_and_never_served_the_restored_cluster_is_one_of_the_old(tmp_path: Path) -> None:
    """Told by the id of its cluster; by nothing but what is seen before the first change."""
    lab = Lab.of(3)
    off = lab.members[2]
    lab.members[2] = Member(3, lab.journal, away=True)
    lab.restore(snapshot(tmp_path / "s.db"), [lab.members[2].host])
    lab.members[2] = off
    kept = {member.host.name: set(member.kept) for member in lab.members}
    for cluster, stranger in (("5", False), ("77", True)):
        off.cluster = cluster
        off.dies_at = "reopen"
        with pytest.raises(ApplyError):
            lab.etcd().undo()
        assert (": >/var/lib/k8sha/restore/stranger/stranger" in off.tried) == stranger
        for member in lab.members:  # as if it had not been tried
            member.state, member.kept = {}, set(kept[member.host.name])


def left_open(lab: Lab, path: Path, *, days: int = 0, off: Iterable[Host] = ()) -> None:
    """A restore that has all its data in place, serves, and was never closed; it began so many days ago."""
    for member in lab.members:
        member.dies_at = "close"
    with pytest.raises(ApplyError):
        lab.restore(path, off)
    for member in lab.members:
        if member.away:
            continue
        record = Record.parse(member._record())
        older = evolve(record, begun=record.begun - days * 24 * 3600)
        member.state["record"] = member.state["record"].replace(record.json(), older.json())


def ended(journal: Sequence[tuple[str, str]]) -> list[str]:
    """On whom a restore was ended: on all of them it was closed before anything was deleted."""
    half = len(journal) // 2
    closed, deleted = sorted(journal[:half]), sorted(journal[half:])
    names = [name for name, _ in closed]
    assert closed == [(name, "close") for name in names]
    assert deleted == [(name, "delete") for name in names]
    return names


def test_a_run_that_only_ends_an_earlier_one_says_that_it_restored_nothing(tmp_path: Path) -> None:
    lab, path = Lab.of(3), snapshot(tmp_path / "s.db")
    assert not lab.restore(path).resumed
    lab.members[1].dies_at = "exchange"
    with pytest.raises(ApplyError):
        lab.restore(path)
    assert not lab.restore(path).resumed
    left_open(lab, path)
    for _ in range(2):  # killed once more, while it is being closed
        lab.members[2].dies_at = "close"
        with pytest.raises(ApplyError):
            lab.restore(path)
    done = lab.restore(path)
    assert done.resumed
    assert str(done).startswith("nothing was restored now: an earlier call had put all data in place at ")


def test_a_restore_that_was_left_open_for_long_is_ended_by_accept_alone(tmp_path: Path) -> None:
    lab, path = Lab.of(3), snapshot(tmp_path / "s.db")
    left_open(lab, path, days=2)
    before = len(lab.journal)
    with pytest.raises(PreflightError, match=r"was never finished, and etcd serves.* accept\(\) brings it to its end"):
        lab.restore(path)
    assert len(lab.journal) == before
    lab.etcd().accept()
    assert {did for _, did in lab.journal[before:]} == {"close", "delete"}
    assert not lab.restore(path).resumed


def test_one_that_was_left_open_is_ended_without_the_host_that_was_off(tmp_path: Path) -> None:
    """Be it off still, or in its place a host that is no member: such a one is no part of it."""
    path = snapshot(tmp_path / "s.db")
    for back in (False, True):
        lab = Lab.of(3)
        lab.members[2] = Member(3, lab.journal, away=True)
        off = [lab.members[2].host]
        left_open(lab, path, days=2, off=off)
        with pytest.raises(PreflightError, match=r"accept\(powered_off=\[m3\]\) brings it to its end"):
            lab.restore(path, off)
        before = len(lab.journal)
        with pytest.raises(PreflightError, match=r"m3: can't be reached .* powered_off"):
            lab.etcd().accept()
        assert len(lab.journal) == before
        if back:
            lab.members[2] = Member(3, lab.journal, stranger=True)
        lab.etcd().accept(powered_off=() if back else off)
        assert ended(lab.journal[before:]) == ["m1", "m2"]


def test_a_member_that_died_since_is_done_without_where_the_others_are_a_quorum(tmp_path: Path) -> None:
    lab, path = Lab.of(3), snapshot(tmp_path / "s.db")
    left_open(lab, path, days=2)
    for at in (2, 1):
        alive, lab.members[at] = lab.members[at], Member(at + 1, lab.journal, away=True)
        off = [member.host for member in lab.members if member.away]
        if at == 1:
            with pytest.raises(PreflightError, match=r"1 of the 3 members of the restore .* no quorum"):
                lab.etcd().accept(powered_off=off)
            lab.members[at] = alive
    before = len(lab.journal)
    lab.etcd().accept(powered_off=off[1:])
    assert ended(lab.journal[before:]) == ["m1", "m2"]


def test_a_member_that_comes_back_after_the_others_were_accepted_is_ended_by_accept_alone(tmp_path: Path) -> None:
    """What the others have served since is in no snapshot, and there is no data of before to go back to."""
    lab, path = Lab.of(3), snapshot(tmp_path / "s.db")
    left_open(lab, path)
    back, lab.members[2] = lab.members[2], Member(3, lab.journal, away=True)
    lab.etcd().accept(powered_off=[lab.members[2].host])
    lab.members[2] = back
    for member in lab.members[:2]:
        member.state["start"] = ""  # it runs, for all that is forgotten
    before = len(lab.journal)
    for verb in (lambda: lab.restore(path), lab.etcd().undo):
        with pytest.raises(
            PreflightError, match=r"m3: the restore .* is over on m1, m2, and .* accept\(\) ends it here"
        ):
            verb()
    assert len(lab.journal) == before
    exchanged = back.state.pop("exchange")
    with pytest.raises(PreflightError, match=r"m3: .* half-way here, and over on m1, m2 .*make the machine anew"):
        lab.etcd().accept()
    assert len(lab.journal) == before
    back.state["exchange"] = exchanged
    lab.etcd().accept()
    assert lab.journal[before:] == [("m3", "close"), ("m3", "delete")]
    lab.restore(path)


def test_an_undoing_that_has_not_come_to_every_host_goes_on(tmp_path: Path) -> None:
    """Be it one that was wiped since and joined the restored cluster, and knows nothing of the restore either."""
    lab = Lab.of(3)
    lab.restore(snapshot(tmp_path / "s.db"))
    new = lab.members[2]
    new.closed, new.kept, new.stranger, new.dies_at = {}, set(), True, "reopen"
    with pytest.raises(ApplyError):
        lab.etcd().undo()
    assert lab.etcd().undo().without == ("m3",)


def test_what_is_half_way_is_not_accepted(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[1].dies_at = "exchange"
    with pytest.raises(ApplyError):
        lab.restore(snapshot(tmp_path / "s.db"))
    before = len(lab.journal)
    with pytest.raises(PreflightError, match=r"from s.db is half-way here.*restore\(\) with that snapshot"):
        lab.etcd().accept()
    assert len(lab.journal) == before


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ("", ""),
        (f"fencing {RECORD.json()}", "that began at 2025-10-09 09:03:20 UTC is half-way, and was never finished"),
        (f"exchanged {RECORD.json()}", "the restore from snapshot.db that began at .* has its data in place"),
        (f"undoing {RECORD.json()}", "is being undone, and was never finished"),
        ("exchanged \n", "a restore has its data in place, and was never finished"),
        ("fencing {}", "a restore is half-way"),
    ],
)
def test_whoever_looks_is_told_of_a_restore_that_is_open(seen: str, said: str) -> None:
    host = Host("m1", "192.168.56.11", ssh=Fake(lambda program: _says(program, seen)))
    check = unfinished_check([host], "any member's host")
    if not said:
        assert check.look() == "on 1 hosts"
        return
    with pytest.raises(NotYet, match=rf"m1: .*{said}.*; run restore\(\) with that snapshot again, or undo\(\)"):
        check.look()


@pytest.mark.parametrize(("own", "said"), [("", r"accept\(\) starts what"), ("exchanged \n", r"run restore\(\) with")])
def test_a_client_is_told_whether_the_restore_is_over_on_etcds_own_hosts(own: str, said: str) -> None:
    client = Host("s1", "192.168.56.21", ssh=Fake(lambda program: _says(program, "fencing \n")))
    etcd = Host("m1", "192.168.56.11", ssh=Fake(lambda program: _says(program, own)))
    with pytest.raises(NotYet, match=f"s1: a restore is half-way.*{said}"):
        unfinished_check([client], "any master", members=[etcd]).look()


def _says(program: Program, seen: str) -> Iterator[Frame]:
    texts = [snippet.text for snippet in program.probes]
    out = ["hostname m1" if text == FACTS else seen if text == UNFINISHED else "" for text in texts]
    yield Saw(tuple((0, each.encode(), b"") for each in out))
    yield End()


def test_a_leftover_that_never_stopped_anybody_stands_in_nobodys_way(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[1].dies_at = "new data"
    with pytest.raises(ApplyError):
        lab.restore(snapshot(tmp_path / "s.db"))
    assert lab.restore(snapshot(tmp_path / "other.db", b"two")).source == "other.db"


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ("size 1024\nrefused newer: it was made by etcd 3.6, and here is etcd 3.5.30\n", "made by etcd 3.6"),
        ("size 1024\nrevision 4\n", "did not come to an end"),
        (GOOD.replace("m1 ", "elsewhere "), "of another cluster: its members are elsewhere, and here are m1, m2, m3"),
        (
            GOOD.replace(".56.", ".77."),
            r"of another cluster: its members are 192.168.77.11, and .* another_cluster=True",
        ),
    ],
)
def test_what_a_host_finds_wrong_is_refused_and_nothing_is_left(facts: str, said: str, tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[0].facts = facts
    with pytest.raises(BackupError, match=said):
        lab.restore(snapshot(tmp_path / "s.db"))
    assert not HURTS & {did for _, did in lab.journal}
    assert lab.did("new data") == []
    assert len(lab.did("forget")) == 3


def test_another_clusters_snapshot_is_taken_where_that_is_said(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[0].facts = GOOD.replace("m1 ", "elsewhere ")
    assert lab.restore(snapshot(tmp_path / "s.db"), another_cluster=True).keys == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: b"", "empty"),
        (lambda data: data[:-1], "no whole number of pages"),
        (lambda data: data[:-544], "no whole number of pages|sha256"),
        (lambda data: data[:40] + bytes([data[40] ^ 1]) + data[41:], "sha256"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 128]), "sha256"),
    ],
)
def test_a_damaged_file_touches_no_host(change: Callable[[bytes], bytes], said: str, tmp_path: Path) -> None:
    lab = Lab.of(3)
    path = snapshot(tmp_path / "s.db")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(BackupError, match=said):
        lab.restore(path)
    assert lab.journal == []


def test_a_file_that_is_not_there_touches_no_host(tmp_path: Path) -> None:
    lab = Lab.of(1)
    with pytest.raises(BackupError):
        lab.etcd().restore(tmp_path / "none.db")
    assert lab.journal == []


def test_too_little_room_anywhere_is_refused(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[2].free = 100 << 20
    with pytest.raises(PreflightError, match="m3: 100 MiB are free beside etcd's data"):
        lab.restore(snapshot(tmp_path / "s.db"))
    assert lab.journal == []


def test_room_is_for_the_snapshot_its_trial_and_the_new_data() -> None:
    hosts = [Host(f"m{at}", f"192.168.56.1{at}") for at in (1, 2)]
    mib = 1 << 20

    def told(free: int, apart: int | None = None) -> list[str]:
        standing = Standing(free=free * mib, apart=None if apart is None else apart * mib)
        return [str(problem) for problem in no_room(dict.fromkeys(hosts, standing), 100 * mib)]

    assert told(428) == []
    assert [each.partition(",")[0] for each in told(427)] == [
        "m1: 427 MiB are free beside etcd's data",
        "m2: 427 MiB are free beside etcd's data",
    ]
    assert told(328, 428) == []
    (first,) = told(328, 427)
    assert "m1: 427 MiB are free below /var/lib/k8sha, and a restore needs 428" in first
    assert len(told(328, 99)) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": "3.4.27"}, "m3: has etcd 3.4.27, and the snapshot was made by etcd 3.5"),
        ({"raises": False}, "m3: its etcd 3.5.30 can't raise the revision in a restore, and other members' can"),
    ],
)
def test_what_one_hosts_etcd_lacks_is_refused_before_anybody_stops(
    change: dict[str, object], said: str, tmp_path: Path
) -> None:
    lab = Lab.of(3)
    for name, value in change.items():
        setattr(lab.members[2], name, value)
    lab.members[0].facts = GOOD + "cluster_version 3.5.0\n"
    with pytest.raises(BackupError, match=said):
        lab.restore(snapshot(tmp_path / "s.db"))
    assert not HURTS & {did for _, did in lab.journal}
    assert len(lab.did("forget")) == 3


def test_who_cannot_be_reached_must_be_off_and_is_left_out_then(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[1] = Member(2, lab.journal, away=True)
    path = snapshot(tmp_path / "s.db")
    with pytest.raises(PreflightError, match=r"m2: can't be reached .* powered_off"):
        lab.restore(path)
    said = r"m3: is said to be powered off, and lets us in \(/var/lib/etcd/member is there\)"
    with pytest.raises(PreflightError, match=said):
        lab.restore(path, [lab.members[1].host, lab.members[2].host])
    with pytest.raises(ConfigError, match="is no host of this cluster"):
        lab.restore(path, [Lab.of(5).members[4].host])
    assert lab.journal == []
    done = lab.restore(path, [lab.members[1].host])
    assert (done.members, done.left_out) == (("m1", "m3"), ("m2",))
    assert "m2 was powered off and is no member any more" in str(done)
    assert "2 members tolerate no more losses" in str(done)


def test_a_blank_host_may_be_left_out_and_stay_on(tmp_path: Path) -> None:
    lab = Lab.of(3)
    lab.members[2].stranger = True
    off = [lab.members[2].host]
    done = lab.restore(snapshot(tmp_path / "s.db"), off)
    assert (done.members, done.left_out) == (("m1", "m2"), ("m3",))
    assert "m3" not in {name for name, _ in lab.journal}
    lab.etcd().accept(powered_off=off)
    assert "m3" not in {name for name, _ in lab.journal}


def test_a_link_from_before_the_power_was_cut_is_no_sign_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The link is still there, and nobody answers through it: that host is off, as it was said."""
    lab = Lab.of(3)

    def silent(host: Host) -> str:
        raise Unreachable(host.name, "the link was lost (no sign of life for 45 s)", "run again")

    monkeypatch.setattr("k8sha.etcd.members.harmful", silent)
    done = lab.restore(snapshot(tmp_path / "s.db"), [lab.members[2].host])
    assert (done.members, done.left_out) == (("m1", "m2"), ("m3",))


def test_a_stacked_etcd_is_restored_through_its_control_plane(tmp_path: Path) -> None:
    etcd = EtcdCluster([member.host for member in Lab.of(3).members], stacked=True)
    for verb in (lambda: etcd.restore(tmp_path / "s.db"), etcd.undo, etcd.accept):
        with pytest.raises(ConfigError, match="use ControlPlane"):
            verb()


def test_nothing_to_undo_is_said() -> None:
    with pytest.raises(PreflightError, match="no old data are kept"):
        Lab.of(3).etcd().undo()


def test_the_revision_outruns_the_snapshots_age_and_earlier_restores() -> None:
    assert bump_for(60, 9617) == 1_000_000_000
    assert bump_for(WEEK + 1, 9617) == 2_000_000_000
    assert bump_for(60, 1_000_009_823) == 2_000_000_000  # 9617 + 1e9 would be less than what was reached
    assert bump_for(-60, 0) == 1_000_000_000


def test_a_record_survives_being_written() -> None:
    assert Record.parse(RECORD.json()) == RECORD
    assert RECORD.initial_cluster == "master-1=https://192.168.56.10:2380,master-2=https://192.168.56.11:2380"
    with pytest.raises(ValueError, match="unexpected"):
        Record.parse(json.dumps({**json.loads(RECORD.json()), "more": 1}))


def test_a_hosts_standing_is_read() -> None:
    closed = evolve(RECORD, id="ffffffff")
    text = f"""\
record {RECORD.json()}
mark fencing
closed ffffffff {closed.json()}
kept ffffffff
status {{"header": {{"cluster_id": "77", "revision": "12"}}}}
identity {{"kvs": [{{"value": "bWU="}}]}}
name m1
peer_url https://192.168.56.11:2380
free 100"""
    found = Standing.parse(text.encode())
    assert found == Standing(
        RECORD, frozenset({"fencing"}), (("ffffffff", closed),), frozenset({"ffffffff"}), 12, "77", "me", "m1",
        "https://192.168.56.11:2380", 100,
    )  # fmt: skip
    assert Standing.parse(b"status curl: (7) refused (no answer)\nfree 5") == Standing(free=5)


def test_new_data_are_only_raised_where_etcd_can() -> None:
    text = Prepared(RECORD, "master-1", "https://192.168.56.10:2380").apply()
    assert "--help 2>&1 | grep -q -e --bump-revision" in text


@pytest.mark.parametrize("odd", ["[]", "null", "7", '"no"', "{}", '{"header": 3}'])
def test_an_answer_of_another_shape_is_no_agreement(odd: str) -> None:
    """A proxy's word, or a newer etcd's: it is waited for, not stumbled over."""
    agreed = Agreed(Access(stacked=False), (("master-1", "192.168.56.10"),))
    status = '{"header": {"revision": "5"}, "leader": "1"}'
    members = '{"members": [{"name": "master-1"}]}'
    for said in ((odd, members, "[]"), (status, odd, "[]"), (status, members, odd)):
        seen = "".join(f"{what} {text}\n" for what, text in zip(("status", "members", "hashes"), said, strict=True))
        assert agreed.diff(seen.encode())
    hashes = '[{"HashKV": {"hash": 9}}]'
    assert not agreed.diff(f"status {status}\nmembers {members}\nhashes {hashes}\n".encode())
