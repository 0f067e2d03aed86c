"""A member's data in a restore and in its undoing: real shells that move real files, killed before any command."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from attrs import evolve, frozen

from k8sha.etcd.access import DATA, Access
from k8sha.etcd.data import Exchanged, Judgement, KeptDeleted, PutBack
from k8sha.etcd.record import Closed, Record, Written
from k8sha.etcd.standing import LastSeen, Looked, Standing
from k8sha.etcd.undo import Reopened
from k8sha.etcd.unfinished import UNFINISHED, told
from k8sha.report import Diff
from k8sha.resources.resource import STATE, Resource

from .local import KINDS, SHELLS

RECORD = Record(
    id="0a1b2c3d",
    sha256="ab" * 32,
    token="k8sha-0",
    bump=1_000_000_000,
    members=(("m1", "https://192.168.56.11:2380"),),
    left_out=(),
    reached=7,
    taken=1_760_000_000,
    begun=1_760_000_600,
    source="s.db",
)
OTHER = evolve(RECORD, id="ffffffff", source="other.db")
OWNER = f"{os.getuid()}:{os.getgid()}"
COUNTED = ("chmod", "chown", "mkdir", "mv", "rm", "sync")

COUNTING = """\
#!/bin/sh
# Does what its name says, unless its turn has come: then the shell that called it is killed before it does.
n=$(($(cat "$COUNT") + 1))
echo $n >"$COUNT"
if [ "$n" = "$DIES_AT" ] && [ "$PPID" != "$TEST" ]; then kill -KILL $PPID; exit; fi
exec "/bin/${0##*/}" "$@"
"""


class Killed(Exception):
    """The shell was killed where it should be."""


@frozen
class Marked(Resource):
    """Stands for a resource whose work is not done here: what it marks."""

    name: str

    @property
    def key(self) -> str:
        return self.name

    def probe(self) -> str:
        return f"if [ -e {STATE}/restore/open/{self.name} ]; then echo yes; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.strip() else Diff.of("mark it")

    def apply(self) -> str:
        return f": >{STATE}/restore/open/{self.name}"


class Disk:
    """A host's disk: the folder of etcd's data, and that of k8sha's state."""

    def __init__(self, folder: Path, shell: str) -> None:
        self.data, self.state, self._shell = folder / "etcd", folder / "state", SHELLS[shell]
        self._tools, self._count, self.dies_at = folder / "tools", folder / "count", 0
        for each in (self.data, self.state, self._tools):
            each.mkdir(parents=True)
        for name in COUNTED:
            (self._tools / name).write_text(COUNTING)
            (self._tools / name).chmod(0o755)
        self._count.write_text("0")

    def run(self, text: str) -> bytes:
        text = text.replace(DATA, str(self.data)).replace(STATE, str(self.state)) + "\n:"  # so that none is the last
        env = {"PATH": f"{self._tools}:{os.environ['PATH']}", "COUNT": str(self._count)}
        env |= {"DIES_AT": str(self.dies_at), "TEST": str(os.getpid())}
        done = subprocess.run([*self._shell, "-eu", "-c", text], env=env, capture_output=True)
        if done.returncode == -9:
            raise Killed
        assert done.returncode == 0, done.stderr
        return done.stdout

    def do(self, *resources: Resource) -> None:
        """As the engine does it: look, change what differs, look again."""
        for resource in resources:
            if resource.diff(self.run(resource.probe())):
                self.run(resource.apply())
                assert not resource.diff(self.run(resource.probe())), resource.key

    def put(self, place: str, said: str) -> None:
        """A member's data at this place, told by one word."""
        (self.data / place / "member").mkdir(parents=True)
        (self.data / place / "member" / "said").write_text(said)

    def at(self, place: str) -> str:
        file = self.data / place / "member" / "said"
        return file.read_text() if file.exists() else ""

    @property
    def found(self) -> dict[str, str]:
        """All data that there are, by their places."""
        return {str(each.parent.parent.relative_to(self.data)): each.read_text() for each in self.data.rglob("said")}

    def open(self, *names: str) -> None:
        """A restore that is open here, with these marks."""
        self.do(Written(RECORD), *(Marked(name) for name in names))


EXCHANGED, PUT_BACK = Exchanged(RECORD.id, owner=OWNER), PutBack(RECORD.id, owner=OWNER)
UNDONE = f"{RECORD.id}-undone"
FENCED = Marked("fencing")


def undo(disk: Disk, *, old: bool = False) -> None:
    disk.do(Reopened(RECORD, old), FENCED, PUT_BACK)


def killed_anywhere(make: Callable[[], Disk], work: Callable[[Disk], None]) -> Iterable[Disk]:
    """The disk after the work was killed before each of its commands in turn, and done again."""
    for turn in range(1, 100):
        disk = make()
        disk._count.write_text("0")
        disk.dies_at = turn
        try:
            work(disk)
        except Killed:
            disk.dies_at = 0
            work(disk)
            yield disk
            continue
        disk.dies_at = 0
        yield disk
        assert turn > 4
        return
    pytest.fail("it never came to its end")


@pytest.fixture(params=KINDS)
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Disk]:
    made = iter(range(1000))
    return lambda: Disk(tmp_path / str(next(made)), request.param)


def with_new_data(make: Callable[[], Disk], before: str = "old") -> Disk:
    disk = make()
    if before:
        disk.put(".", before)
    disk.open("fencing")
    disk.put(f"k8sha-restored-{RECORD.id}", "new")
    return disk


def restored(make: Callable[[], Disk], before: str = "old") -> Disk:
    disk = with_new_data(make, before)
    disk.do(EXCHANGED, Closed(RECORD.id))
    return disk


@pytest.mark.parametrize("before", ["old", ""])
def test_data_are_exchanged_whenever_that_is_killed(make: Callable[[], Disk], before: str) -> None:
    kept = {f"k8sha-kept-{RECORD.id}": before} if before else {}
    for disk in killed_anywhere(lambda: with_new_data(make, before), lambda disk: disk.do(EXCHANGED)):
        assert disk.found == {".": "new", **kept}
        assert (disk.data / f"k8sha-kept-{RECORD.id}" / "nothing").exists() == (not before)


@pytest.mark.parametrize("before", ["old", ""])
def test_kept_data_are_put_back_whenever_that_is_killed(make: Callable[[], Disk], before: str) -> None:
    for disk in killed_anywhere(lambda: restored(make, before), undo):
        assert disk.found == {f"k8sha-undone-{RECORD.id}": "new"} | ({".": before} if before else {})
        disk.do(Closed(UNDONE))
        assert not (disk.state / "restore" / "open").exists()
        assert (disk.state / "restore" / UNDONE / "record.json").exists()


def test_a_restore_that_is_half_way_is_put_back_from_wherever_it_was(make: Callable[[], Disk]) -> None:
    def half_way(turn: int) -> Disk:
        disk = with_new_data(make)
        disk._count.write_text("0")
        disk.dies_at = turn
        with contextlib.suppress(Killed):
            disk.do(EXCHANGED)
        disk.dies_at = 0
        return disk

    for turn in range(1, 10):
        disk = half_way(turn)
        undo(disk)
        assert disk.at(".") == "old", turn
        assert not (disk.data / f"k8sha-restored-{RECORD.id}").exists()


def test_what_joined_after_the_restore_does_not_serve_once_that_is_undone(make: Callable[[], Disk]) -> None:
    """A host that was off, was wiped, and joined the restored cluster: its data are that one's."""

    def joined() -> Disk:
        disk = make()
        disk.put(".", "joined")
        return disk

    for disk in killed_anywhere(joined, undo):
        assert disk.found == {f"k8sha-undone-{RECORD.id}": "joined"}
        assert b"member" not in disk.run(PUT_BACK.probe()).split()


def test_whose_kept_data_are_gone_does_not_serve_either(make: Callable[[], Disk]) -> None:
    disk = restored(make)
    (disk.data / f"k8sha-kept-{RECORD.id}" / "member").rename(disk.data / "lost")
    (disk.data / f"k8sha-kept-{RECORD.id}").rmdir()
    undo(disk)
    assert disk.at(".") == ""
    assert disk.at(f"k8sha-undone-{RECORD.id}") == "new"


def test_a_host_that_was_off_all_the_time_serves_its_old_data(make: Callable[[], Disk]) -> None:
    disk = make()
    disk.put(".", "old")
    undo(disk, old=True)
    assert disk.found == {".": "old"}


def test_a_host_that_the_restore_had_not_come_to_keeps_what_it_has(make: Callable[[], Disk]) -> None:
    disk = make()
    disk.put(".", "old")
    disk.open()
    undo(disk)
    assert disk.found == {".": "old"}


def test_an_undoing_that_is_over_here_and_not_elsewhere_stops_nobody_again(make: Callable[[], Disk]) -> None:
    disk = restored(make)
    undo(disk)
    disk.do(Closed(UNDONE))
    disk.do(Reopened(RECORD))
    assert not PUT_BACK.diff(disk.run(PUT_BACK.probe()))  # its fence is past that, too
    disk.do(PUT_BACK, Closed(UNDONE))
    assert disk.at(".") == "old"


def test_a_leftover_that_changed_nothing_makes_way_for_the_undoing(make: Callable[[], Disk]) -> None:
    def leftover() -> Disk:
        disk = restored(make)
        disk.do(Written(OTHER))
        disk.put(f"k8sha-restored-{OTHER.id}", "never")
        return disk

    for disk in killed_anywhere(leftover, undo):
        assert disk.found == {".": "old", f"k8sha-undone-{RECORD.id}": "new"}


CURL = """\
#!/bin/sh
printf '{"header":{"cluster_id":"77","member_id":"1",\\n"revision":"%s"},"version":"3.5.30"}' "$REVISION"
"""


def test_what_the_old_cluster_came_to_is_written_down_until_it_is_stopped(make: Callable[[], Disk]) -> None:
    disk, last = make(), LastSeen(Access(stacked=False))
    disk.open()
    for revision in ("120", "121"):
        (disk._tools / "curl").write_text(CURL.replace("$REVISION", revision))
        (disk._tools / "curl").chmod(0o755)
        assert last.diff(disk.run(last.probe()))
        disk.run(last.apply())
    disk.do(FENCED)
    said = disk.run(last.probe())
    assert LastSeen.latest([said], revision=0, begun=0, now=1 << 40)[0] == 121
    (disk._tools / "curl").write_text("#!/bin/sh\nexit 7\n")
    disk.run(last.apply())
    assert disk.run(last.probe()).startswith(b"0 ")
    (disk.state / "restore" / "open" / "last").unlink()
    assert disk.run(last.probe()) == b"0 0\n"
    disk.do(Closed(RECORD.id))
    assert Judgement.last(disk.run(Judgement(RECORD.id).probe())) == b"0 0"
    (disk.state / "restore" / RECORD.id / "last").write_text("121 5\n")
    assert Judgement.last(disk.run(Judgement(RECORD.id).probe())) == b"121 5"


def test_a_record_that_stopped_nobody_leaves_nothing_to_the_next(make: Callable[[], Disk]) -> None:
    disk = make()
    disk.open("last", "raised", f"facts-{RECORD.id}")
    disk.do(Written(OTHER))
    assert sorted(each.name for each in (disk.state / "restore" / "open").iterdir()) == ["record.json"]


def test_a_host_tells_how_it_stands(make: Callable[[], Disk]) -> None:
    disk = restored(make)
    disk.open("fencing")
    seen = Standing.parse(disk.run(Looked(Access(stacked=False)).probe()))
    assert (seen.record, seen.closed) == (RECORD, ((RECORD.id, RECORD),))
    assert (seen.marks, seen.kept) == (frozenset({"fencing"}), frozenset({RECORD.id}))
    assert seen.free > 0
    assert seen.apart is None
    assert seen.revision == 0


def test_a_host_tells_whoever_looks_of_a_restore_that_is_open(make: Callable[[], Disk]) -> None:
    disk = with_new_data(make)
    assert "is half-way" in told(disk.run(UNFINISHED).decode())
    disk.do(EXCHANGED)
    assert "has its data in place" in told(disk.run(UNFINISHED).decode())
    disk.do(Closed(RECORD.id))
    assert told(disk.run(UNFINISHED).decode()) == ""
    disk.do(Written(OTHER))  # it changed nothing
    assert told(disk.run(UNFINISHED).decode()) == ""
    undo(disk)
    assert "the restore from s.db that began at" in told(disk.run(UNFINISHED).decode())


def test_only_what_restores_kept_is_deleted(make: Callable[[], Disk]) -> None:
    disk = restored(make)
    others = [f"k8sha-kept-{name}-20261130T060000Z" for name in ("rejoined", "replaced", "removed", "old")]
    for name in others:
        disk.put(name, name)
    disk.put("k8sha-undone-ffffffff", "undone")
    disk.put("k8sha-restored-ffffffff.part", "half made")
    disk.do(KeptDeleted())
    assert disk.found == {".": "new", **{name: name for name in others}}
    assert not (disk.state / "restore").exists()
