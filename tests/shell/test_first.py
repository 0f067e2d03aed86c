"""A link's first program as an argument of the shell: it runs, the shell lives on, and nobody sees more than he may."""

from __future__ import annotations

import base64
import contextlib
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k8sha.errors import Unreachable
from k8sha.hosts.first import LONGEST, command, follow_up
from k8sha.hosts.link import ShellLink
from k8sha.hosts.program import Busy, End, Frame, Program, Saw, Snippet

from .local import LocalShell
from .test_cut import until

WHO = "ann@desk pid 7, installs"


def public(text: str = "echo first; cat", *, lock: str | None = None) -> Program:
    return Program(probes=(Snippet(text),), lock=lock, public=True)


@pytest.fixture
def link_by(shell: tuple[str, ...], tmp_path: Path) -> Iterator[LinkBy]:
    """Links by their first program, to one host; each is closed at the end."""
    with contextlib.ExitStack() as stack:

        def open(first: Program) -> ArgumentLink:
            return stack.enter_context(contextlib.closing(ArgumentLink(shell, first, tmp_path / "run")))

        yield open


class ArgumentLink(ShellLink):
    """A link whose first program is an argument of its shell, as an SSH link's is."""

    def __init__(self, shell: tuple[str, ...], first: Program, run: Path) -> None:
        line = command(first, run=str(run), shell=" ".join(shell))
        assert line is not None
        self.line, self.first, self.folder = line, first, run
        self.shell = LocalShell((*shell, "-c", line))
        super().__init__("one", self.shell, run=str(run))

    def _send(self, program: Program) -> None:
        if program is not self.first:
            super()._send(program)

    def _sent(self, program: Program) -> None:
        if program is self.first:
            self._shell.write(follow_up(program, run=str(self.folder)).encode())
            self._opening = ""

    def hear(self, program: Program) -> list[Frame]:
        return list(self.run(program))


LinkBy = Callable[[Program], ArgumentLink]


def saw(frames: list[Frame]) -> bytes:
    (reply,) = (frame.replies[0][1] for frame in frames if isinstance(frame, Saw))
    return reply


def test_the_first_program_runs_and_the_shell_is_there_for_more(link_by: LinkBy, tmp_path: Path) -> None:
    first = public()
    link = link_by(first)
    assert saw(link.hear(first)) == b"first\n"
    for number in range(3):
        assert saw(link.hear(Program(probes=(Snippet(f"echo {number}; umask"),)))) == f"{number}\n0077\n".encode()
    assert list((tmp_path / "run").iterdir()) == []


def test_the_lock_is_handed_on_and_named_then(link_by: LinkBy, tmp_path: Path) -> None:
    first, rival = public(lock=WHO), public(lock="bob")
    link = link_by(first)
    assert [type(frame) for frame in link.hear(first)] == [Saw, End]
    link.hear(Program(probes=(Snippet("true"),)))  # by now it has heard the name
    other = link_by(rival)
    assert other.hear(rival) == [Busy(WHO, orphaned=False, process=os.getpid()), End()]
    assert saw(other.hear(Program(probes=(Snippet("echo may look"),)))) == b"may look\n"
    again = Program(probes=(Snippet("true"),), lock="bob")
    assert isinstance(other.hear(again)[0], Busy)  # and it does not believe that it has the lock itself
    link.close()
    until(lambda: isinstance(other.hear(again)[0], Saw), "the lock is free")  # busybox's timeout lingers, and holds it
    assert (tmp_path / "run" / "holder").read_text() == f"{os.getpid()} bob\n"


def test_a_shell_that_lost_the_lock_on_the_way_ends(shell: tuple[str, ...], tmp_path: Path) -> None:
    """As a shell would that closes its files when it becomes another program."""
    first = public(lock=WHO)
    line = command(first, run=str(tmp_path / "run"), shell=" ".join(shell))
    assert line is not None
    losing = LocalShell((*shell, "-c", line.replace("; exec", "; exec 9>&-; exec")))
    losing.write(follow_up(first, run=str(tmp_path / "run")).encode())
    assert losing.process.wait(timeout=20) == 70
    losing.close()


def test_who_holds_the_lock_is_not_in_the_argument() -> None:
    line = command(public("echo here", lock=WHO))
    assert line is not None
    packed = base64.b64decode(line.split()[2])
    assert b"echo here" in packed
    assert b"flock" in packed
    assert b"ann" not in packed
    assert "ann" not in line


def test_the_argument_means_the_same_to_every_login_shell() -> None:
    """In single quotes: no quote, no backslash (fish), no exclamation mark and no new line (csh)."""
    line = command(public("""echo 'a' "b" !c \\d\ne""", lock=WHO))
    assert line is not None
    assert re.fullmatch(r"[^'\\!\n]+", line)


@pytest.mark.parametrize(
    "program",
    [
        Program(probes=(Snippet("true"),)),
        Program(applies=(Snippet("true", secrets=(("token", "hush"),)),), public=True),
        public("true #" + "x" * LONGEST),
    ],
    ids=["not public", "changes something", "too long"],
)
def test_other_programs_do_not_go_this_way(program: Program) -> None:
    assert command(program) is None


def test_a_name_that_would_be_shell_text_is_none(link_by: LinkBy, tmp_path: Path) -> None:
    first = public(lock="it's $(reboot) `x`\nrm")
    link = link_by(first)
    link.hear(first)
    link.hear(Program(probes=(Snippet("true"),)))
    assert (tmp_path / "run" / "holder").read_text() == f"{os.getpid()} it's $(reboot) `x` rm\n"


def test_a_host_without_room_says_so(link_by: LinkBy, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file where the folder of a run should be")
    first = public()
    with pytest.raises(Unreachable, match="/run"):
        link_by(first).hear(first)


def test_an_argument_that_is_cut_off_runs_nothing(shell: tuple[str, ...], tmp_path: Path) -> None:
    """No server does that; but what would come of it is not left to chance."""
    line = command(public(f"touch {tmp_path}/mark", lock=WHO), run=str(tmp_path / "run"), shell=shell[0])
    assert line is not None
    for size in range(0, line.rindex(" | base64"), 11):
        subprocess.run([*shell, "-c", line[:size]], input=b"", capture_output=True, timeout=20, check=False)
    assert list(tmp_path.iterdir()) == []
