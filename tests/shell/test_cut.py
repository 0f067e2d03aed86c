"""What is cut off: an upload, a reader, a run, an installer. And the lock, which outlives none of them too long."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from k8sha.errors import HostBusy, Unreachable
from k8sha.hosts import Host
from k8sha.hosts.program import Began, Busy, Did, Frame, Program, Saw, Snippet, opening, render
from k8sha.waiting import Check, NotYet, wait_for

from .conftest import MakeHost
from .local import LocalLink

REPOSITORY = Path(__file__).parents[2]


def until(so: Callable[[], object], what: str) -> None:
    """Wait for something that another process does."""

    def look() -> str:
        if not so():
            raise NotYet("it is not")
        return ""

    wait_for(Check(what, look), timeout=20, interval=0.02)


def take(host: Host) -> None:
    """Take a lock that is about to become free (busybox's timeout lingers for a second, and holds it)."""

    def look() -> str:
        try:
            host.lock("bob")
        except HostBusy as error:
            raise NotYet(str(error)) from None
        return ""

    wait_for(Check("the lock is free", look), timeout=20, interval=0.05)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A pipe at which a snippet waits until a test lets it go on."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def open_gate(gate: Path) -> None:
    with gate.open("w") as end:
        end.write("go\n")


def three(gate: Path, folder: Path, *, probes: int = 1) -> Program:
    """Three applies of which the first waits at the gate."""
    first = Snippet(f"touch {folder}/began; read -r line <{gate}; touch {folder}/one")
    rest = (Snippet(f"touch {folder}/two"), Snippet(f"touch {folder}/three"))
    return Program(applies=(first, *rest), probes=(Snippet(f"touch {folder}/probed"),) * probes)


def done(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} & {"one", "two", "three", "probed"}


def test_a_program_that_arrives_in_part_runs_nothing(shell: tuple[str, ...], tmp_path: Path) -> None:
    """Cut after every third byte: what has arrived is read to its end, and nothing of it runs, nor leaves a thing."""
    mark, home = tmp_path / "mark", tmp_path / "home"
    home.mkdir()
    program = Program(
        applies=(Snippet(f"touch {mark}", secrets=(("token", "it's"),)),), probes=(Snippet(f"touch {mark}"),), lock="us"
    )
    text = (opening(run=str(tmp_path / "run")) + render(program)).encode()
    last = text.rindex(b"k8sha_" + program.nonce.encode() + b"; unset") + len("k8sha_") + len(program.nonce)
    for size in range(0, last, 3):
        subprocess.run([*shell, "-s"], input=text[:size], capture_output=True, timeout=20, check=False, cwd=home)
        assert not mark.exists(), text[:size].decode()[-200:]
        assert not (tmp_path / "run" / "lock").exists()
        assert list(home.iterdir()) == []
    subprocess.run([*shell, "-s"], input=text, capture_output=True, timeout=20, check=True)
    assert mark.exists()


def test_a_reader_that_is_gone_ends_the_run_after_its_step(host: Host, gate: Path, tmp_path: Path) -> None:
    link = host.connect()
    assert isinstance(link, LocalLink)
    program = link.run(three(gate, tmp_path))
    assert isinstance(next(program), Began)
    until(lambda: (tmp_path / "began").exists(), "its first step has begun")
    link.shell.deafen()
    open_gate(gate)
    assert link.shell.process.wait(timeout=20) == 70
    assert done(tmp_path) == {"one"}
    assert list((tmp_path / "host" / "run").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_run_that_is_asked_to_end_finishes_its_step(
    host: Host, gate: Path, tmp_path: Path, number: signal.Signals
) -> None:
    link = host.connect()
    assert isinstance(link, LocalLink)
    program = link.run(three(gate, tmp_path))
    assert isinstance(next(program), Began)
    until(lambda: (tmp_path / "began").exists(), "its first step has begun")
    link.shell.process.send_signal(number)
    open_gate(gate)
    with pytest.raises(Unreachable):
        list(program)
    assert link.shell.process.wait(timeout=20) == 70
    assert done(tmp_path) == {"one"}
    assert list((tmp_path / "host" / "run").iterdir()) == []


def test_a_second_run_is_refused_and_told_who_is_at_work(make_host: MakeHost, shell: tuple[str, ...]) -> None:
    first, second = make_host("first", shell=shell), make_host("second", shell=shell)
    first.lock('ann@desk pid 7, it\'s a "test"')
    with pytest.raises(HostBusy) as caught:
        second.lock("bob")
    assert (caught.value.holder, caught.value.orphaned) == ('ann@desk pid 7, it\'s a "test"', False)
    assert caught.value.process == os.getpid()
    assert second.read("echo 'but may look'")[0][0] == 0
    first.close()
    take(second)
    with pytest.raises(HostBusy):
        first.lock("ann")


def test_a_lock_is_kept_from_one_program_to_the_next(make_host: MakeHost) -> None:
    first, second = make_host("first"), make_host("second")
    first.lock("ann")
    for _ in range(3):
        first.read("true")
        with pytest.raises(HostBusy):
            second.lock("bob")


def test_a_child_that_was_left_behind_holds_the_lock(make_host: MakeHost, gate: Path, tmp_path: Path) -> None:
    first, second = make_host("first"), make_host("second")
    first.lock("ann")
    first.run(
        Program(applies=(Snippet(f"(read -r line <{gate}; touch {tmp_path}/one) >/dev/null 2>&1 &"),)),
        lambda frame: None,
    )
    first.close()
    with pytest.raises(HostBusy):
        second.lock("bob")
    open_gate(gate)
    until(lambda: (tmp_path / "one").exists(), "the child has ended")
    take(second)


INSTALLER = """
    from pathlib import Path
    from k8sha.hosts import Host
    from tests.shell.local import Local
    from tests.shell.test_cut import three
    host = Host("victim", "127.0.0.1", ssh=Local(Path({folder!r}), {shell!r}))
    host.lock("an installer that dies")
    host.run(three(Path({gate!r}), Path({marks!r})), lambda frame: None)
"""


def test_an_installer_that_is_killed_leaves_one_step_that_is_waited_for(
    make_host: MakeHost, shell: tuple[str, ...], gate: Path, tmp_path: Path
) -> None:
    (tmp_path / "host").mkdir()
    names = {"folder": str(tmp_path / "host"), "gate": str(gate), "marks": str(tmp_path), "shell": shell}
    script = textwrap.dedent(INSTALLER).format(**names)
    victim = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    until(lambda: (tmp_path / "began").exists(), "its first step has begun")
    second = make_host("second", shell=shell)
    with pytest.raises(HostBusy) as caught:
        second.lock("us")
    assert not caught.value.orphaned
    victim.kill()
    victim.wait(timeout=20)

    heard: list[Frame] = []
    link = second.connect()
    heard.extend(link.run(Program(lock="us")))
    assert heard[0] == Busy("an installer that dies", orphaned=True, process=victim.pid)

    waits: list[str] = []

    def tell(check: str, last: str, waited: float) -> None:
        if not waits:
            open_gate(gate)
        waits.append(last)

    second.lock("us", interval=0.05, tell=tell)
    assert "the last step of a run that died (an installer that dies) has not ended yet" in waits[0]
    assert done(tmp_path) == {"one"}  # it ended, and nothing after it began
    assert [path.name for path in (tmp_path / "host" / "run").iterdir() if path.name.startswith("trip")] == []


def test_what_dead_runs_left_is_swept_and_what_live_ones_use_is_not(make_host: MakeHost, tmp_path: Path) -> None:
    host = make_host()
    host.read("true")
    run = tmp_path / "host" / "run"
    ended = subprocess.Popen(["true"])
    ended.wait()
    for name in (f"trip.{ended.pid}.x1.out", f"trip.{ended.pid}.x1.0.exit", f"trip.{os.getpid()}.x2.out"):
        (run / name).touch()
    folder = run / f"trip.{ended.pid}.own.Ab3xYz"
    folder.mkdir()
    (folder / "sa.key").touch()
    host.lock("us")
    assert {path.name for path in run.iterdir() if path.name.startswith("trip")} == {f"trip.{os.getpid()}.x2.out"}


def test_a_link_that_is_lost_is_lost_for_one_program_only(host: Host) -> None:
    link = host.connect()
    assert isinstance(link, LocalLink)
    with pytest.raises(Unreachable):
        host.run(Program(applies=(Snippet(f"kill -KILL {link.shell.process.pid}"),)), lambda frame: None)
    assert host.read("echo again")[0][1] == b"again\n"


def test_a_syntax_error_in_an_apply_is_its_own(host: Host) -> None:
    heard: list[Frame] = []
    host.run(Program(applies=(Snippet("if ("), Snippet("true")), probes=(Snippet("echo seen"),)), heard.append)
    assert [frame.exit for frame in heard if isinstance(frame, Did)] == [2]
    assert [frame.replies[0][1] for frame in heard if isinstance(frame, Saw)] == [b"seen\n"]
