"""A restore of an etcd whose clients are API servers on other hosts: these stop before new data are served."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field

from k8sha.component import Stages
from k8sha.errors import ApplyError, PreflightError
from k8sha.etcd.access import Access
from k8sha.etcd.data import KeptDeleted
from k8sha.etcd.fence import StaticPods
from k8sha.etcd.given import Given, given
from k8sha.etcd.members import Members, Whole
from k8sha.etcd.present import Manifests
from k8sha.etcd.restore import restore
from k8sha.etcd.restored import Restored
from k8sha.etcd.sealing import KeysUsed
from k8sha.etcd.standing import Looked
from k8sha.etcd.undo import accept
from k8sha.events import ignore
from k8sha.facts import FACTS
from k8sha.hosts.host import Host
from k8sha.hosts.program import Began, Did, End, Frame, Program, Saw
from k8sha.stage import Stage

from .fake import Fake
from .test_restore import SUMS, Gone, Lab, snapshot


@define(eq=False)
class Server:
    """A master's host: its API server runs, is fenced, or may start; what is done goes into the members' journal."""

    name: str
    journal: list[tuple[str, str]]
    dies_at: str = ""
    fenced: bool = False
    keys: str = "serves"
    lacks: str = ""
    open: dict[str, str] = field(factory=dict)
    host: Host = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.host = Host(self.name, f"192.168.56.2{self.name[-1]}", ssh=Fake(self.answer))

    def answer(self, program: Program) -> Iterator[Frame]:
        for index, snippet in enumerate(program.applies):
            yield Began(index)
            what = self._named(snippet.text)
            self.journal.append((self.name, what))
            if what == self.dies_at:
                self.dies_at = ""
                yield Did(index, 1, b"", b"killed here", 0.1)
                break
            self._do(what, snippet.text)
            yield Did(index, 0, b"", b"", 0.1)
        if program.probes:
            yield Saw(tuple((0, self._see(snippet.text).encode(), b"") for snippet in program.probes))
        yield End()

    def _named(self, text: str) -> str:
        marks = {"systemctl stop kubelet": "stop API server", "open/started-": "may start", "mv -T": "close API server"}
        return next((name for mark, name in marks.items() if mark in text), "start API server")

    def _do(self, what: str, text: str) -> None:
        if what == "stop API server":
            self.fenced = True
            self.open["fencing"] = ""
        elif what == "may start":
            mark = text.partition("/open/started-")[2].splitlines()[0].split()[0]
            self.open[f"started-{mark}"] = text.partition("printf '%s\\n' '")[2].partition("' >")[0]
        elif what == "close API server":
            self.open = {}
        else:
            self.fenced = False

    def _see(self, text: str) -> str:
        if text == FACTS:
            return f"hostname {self.name}"
        if text == KeysUsed().probe():
            return self.keys
        if text == Looked(Access(stacked=False)).probe():
            return "\n".join(["free 0", *(f"mark {mark}" for mark in self.open if mark == "fencing")])
        if text == KeptDeleted().probe():
            return "\n".join(self.open)
        if text == Manifests(stacked=False).probe():
            return self.lacks
        mark = "started-" + text.partition("/open/started-")[2][:8]
        if "running()" in text:
            return "" if mark in self.open or (self.fenced and "fencing" in self.open) else "4711 kube-apiserver"
        if "record.json" in text:
            return self.open.get(mark, "")
        if "the kubelet does not run" in text:
            return "the kubelet does not run" if self.fenced else ""
        return "open" if self.open else ""


def both(tmp_path: Path) -> tuple[Lab, list[Server]]:
    lab = Lab.of(3)
    return lab, [Server(f"s{at}", lab.journal) for at in (1, 2, 3)]


def served(lab: Lab, servers: list[Server]) -> Members:
    hosts = tuple(server.host for server in servers)

    def after(whole: Whole) -> Stages:
        yield Stage("API servers", {host: (StaticPods(("kube-apiserver",)),) for host in hosts if host in whole.alive})
        whole.absent(("worker-9",))

    return Members(
        access=Access(stacked=False),
        hosts=tuple(member.host for member in lab.members),
        others=hosts,
        clients=hosts,
        after=after,
        apart=lambda served: StaticPods(("kube-apiserver",) if served else ()),
        owner="etcd:etcd",
    )


def restored(lab: Lab, servers: list[Server], path: Path, off: Iterable[Host] = ()) -> Restored:
    SUMS[0] = hashlib.sha256(path.read_bytes()).hexdigest()
    return restore(served(lab, servers), path, powered_off=off, listen=ignore)


def test_they_stop_before_new_data_are_served_and_start_after(tmp_path: Path) -> None:
    lab, servers = both(tmp_path)
    done = restored(lab, servers, snapshot(tmp_path / "s.db"))
    assert done.absent == ("worker-9",)
    assert "kubectl delete node worker-9" in str(done)
    order = ("judge", "fence", "stop API server", "start", "may start", "start API server", "close API server", "close")
    for before, after in itertools.pairwise(order):
        assert max(lab.did(before)) < min(lab.did(after)), (before, after)
    assert not any(server.fenced or server.open for server in servers)


@pytest.mark.parametrize("at", ["stop API server", "may start", "start API server", "close API server"])
def test_dying_at_one_of_them_and_running_again_ends_right(at: str, tmp_path: Path) -> None:
    lab, servers = both(tmp_path)
    servers[1].dies_at = at
    path = snapshot(tmp_path / "s.db")
    with pytest.raises(ApplyError):
        restored(lab, servers, path)
    restored(lab, servers, path)
    assert not any(server.fenced or server.open for server in servers)
    assert len(lab.did("exchange")) == 3


@pytest.mark.parametrize("at", ["", "close"])
def test_one_that_was_off_while_the_others_came_to_the_end_is_started_by_accept(at: str, tmp_path: Path) -> None:
    """Also where the others were not quite at the end. Nothing is restored for it, nor taken back."""
    lab, servers = both(tmp_path)
    path = snapshot(tmp_path / "s.db")
    lab.members[1].dies_at = "start"
    with pytest.raises(ApplyError):
        restored(lab, servers, path)
    late, here = servers[2], servers[2].host
    late.host = Host(here.name, here.address, ssh=Gone())
    if at:
        lab.members[1].dies_at = at
        with pytest.raises(ApplyError):
            restored(lab, servers, path, [late.host])
    else:
        restored(lab, servers, path, [late.host])
    late.host = Host(here.name, here.address, ssh=Fake(late.answer))
    assert late.fenced
    before = len(lab.journal)
    accept(served(lab, servers), listen=ignore)
    did = lab.journal[before:]
    assert [what for name, what in did if name == "s3"] == ["start API server", "close API server"]
    assert {what for name, what in did if name != "s3"} <= {"close", "delete"}
    assert not any(server.fenced or server.open for server in servers)


@pytest.mark.parametrize("at", ["fence", "exchange", "start", "close"])
def test_dying_at_a_member_leaves_none_of_them_stopped_in_the_end(at: str, tmp_path: Path) -> None:
    lab, servers = both(tmp_path)
    lab.members[1].dies_at = at
    path = snapshot(tmp_path / "s.db")
    with pytest.raises(ApplyError):
        restored(lab, servers, path)
    if at in ("fence", "exchange"):
        assert lab.did("stop API server") == []  # a member's mark tells of it first: undo() finds that
    restored(lab, servers, path)
    assert not any(server.fenced or server.open for server in servers)


def test_what_an_earlier_restore_left_on_a_master_lets_nobody_past_the_fence(tmp_path: Path) -> None:
    lab, servers = both(tmp_path)
    servers[0].open = {"fencing": "", "started-00000000": "{}"}
    restored(lab, servers, snapshot(tmp_path / "s.db"))
    assert ("s1", "stop API server") in lab.journal


ALL = "kube-apiserver.yaml\nkube-controller-manager.yaml\nkube-scheduler.yaml\n"


@pytest.mark.parametrize(
    ("lacks", "said"),
    [
        (ALL, r"s2: has no manifest of a control plane: it is no master any more.*powered_off=\[s2\]"),
        ("kube-scheduler.yaml\n", r"s2: has no kube-scheduler.yaml, in .*/manifests or in .*docs/diagnose.md"),
    ],
)
@pytest.mark.parametrize("at", ["", "start"])
def test_what_could_not_start_again_is_not_stopped(lacks: str, said: str, at: str, tmp_path: Path) -> None:
    """Nor is anything begun that an earlier run has stopped already: what is missing is told first."""
    lab, servers = both(tmp_path)
    path = snapshot(tmp_path / "s.db")
    if at:
        lab.members[1].dies_at = at
        with pytest.raises(ApplyError):
            restored(lab, servers, path)
    servers[1].lacks = lacks
    before = len(lab.journal)
    with pytest.raises(PreflightError, match=said):
        restored(lab, servers, path)
    assert len(lab.journal) == before
    servers[1].lacks = ""
    restored(lab, servers, path)
    assert not any(server.fenced or server.open for server in servers)


def test_a_member_without_its_manifest_is_told_before_anything_is_brought(tmp_path: Path) -> None:
    """Its data may be there, and its image: all but what would start it again."""
    path = snapshot(tmp_path / "s.db")
    access, done = Access(stacked=True), []

    def host(last: int) -> Host:
        texts = {
            FACTS: f"hostname m{last}",
            Looked(access).probe(): f"free {1 << 34}",
            KeysUsed().probe(): "serves",
            Manifests(stacked=True).probe(): "etcd.yaml" if last == 3 else "",
        }

        def answer(program: Program) -> Iterator[Frame]:
            done.extend(program.applies)
            yield Saw(tuple((0, texts[snippet.text].encode(), b"") for snippet in program.probes))
            yield End()

        return Host(f"m{last}", f"192.168.56.1{last}", ssh=Fake(answer))

    members = Members(access=access, hosts=tuple(map(host, (1, 2, 3))))
    with pytest.raises(
        PreflightError, match=r"^m3: has no etcd\.yaml, in /etc/kubernetes/manifests or in .*k8sha-fenced"
    ):
        restore(members, path, listen=ignore)
    assert done == []


KEYS = {"11": "secretbox-1", "22": "secretbox-2"}


def with_keys(monkeypatch: pytest.MonkeyPatch, keys: dict[str, str] | None) -> None:
    """Snapshots come with these keys, names by hashes."""

    @contextmanager
    def found(*args: Any) -> Iterator[Given]:
        with given(*args) as file:
            yield evolve(file, keys=keys)

    monkeypatch.setattr("k8sha.etcd.restore.given", found)


def test_secrets_that_nobody_could_read_are_refused_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(monkeypatch, KEYS)
    lab, servers = both(tmp_path)
    for server in servers:
        server.keys = "serves\nencrypts\nkey 11\nkey 22\nkey 33"
    servers[1].keys = "serves\nencrypts\nkey 22"
    with pytest.raises(PreflightError, match="s2: its API server lacks the key secretbox-1, with which Secrets"):
        restored(lab, servers, snapshot(tmp_path / "s.db"))
    assert lab.journal == []
    servers[1].keys = "serves\nencrypts\nkey 22\nkey 11"
    assert "came without the keys" not in str(restored(lab, servers, snapshot(tmp_path / "s.db")))


@pytest.mark.parametrize(("said", "noted"), [("serves\nencrypts\nkey 22", True), ("serves", False), ("", False)])
def test_where_no_keys_came_with_it_that_is_noted(
    said: str, noted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_keys(monkeypatch, None)
    lab, servers = both(tmp_path)
    for server in servers:
        server.keys = said
    done = restored(lab, servers, snapshot(tmp_path / "s.db"))
    assert ("the snapshot came without the keys of its time" in str(done)) == noted
