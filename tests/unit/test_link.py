"""A link over a shell that is a list of bytes: frames however they are cut up, noise, silence, the end."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k8sha.errors import Unreachable
from k8sha.hosts.link import ShellLink
from k8sha.hosts.program import Began, Did, End, Frame, Program, Saw, Snippet

from .test_program import NONCE, line


class Replies:
    """A shell that answers with these pieces; what it is sent, and what limits it is given, is kept."""

    def __init__(self, pieces: Iterable[bytes], *, silent: bool = False) -> None:
        self.pieces = list(pieces)
        self.silent = silent
        self.sent = b""
        self.limits: list[float] = []

    def write(self, data: bytes) -> None:
        self.sent += data

    def read(self, timeout: float) -> bytes:
        self.limits.append(timeout)
        if self.pieces:
            return self.pieces.pop(0)
        if self.silent:
            raise TimeoutError
        return b""

    def close(self) -> None:
        self.pieces.clear()


PROGRAM = Program(probes=(Snippet("true"),), nonce=NONCE)
ANSWER: tuple[Frame, ...] = (Began(0), Did(0, 0, b"done", b"", 0.1), Saw(((0, b"\x00\xff\n", b""),)), End())
BYTES = b"".join(line(frame) for frame in ANSWER)


def heard(shell: Replies, program: Program = PROGRAM) -> tuple[Frame, ...]:
    return tuple(ShellLink("one", shell).run(program))


@given(st.lists(st.integers(0, len(BYTES)), max_size=30))
def test_frames_are_the_same_however_the_bytes_come(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(BYTES)]
    pieces = [BYTES[a:b] for a, b in pairwise(edges) if a != b]
    assert heard(Replies(pieces)) == ANSWER


def test_noise_between_frames_is_passed_over() -> None:
    assert heard(Replies([b"Welcome!\n", BYTES[:20], BYTES[20:], b"bye\n"])) == ANSWER


def test_what_is_left_of_one_program_does_not_disturb_the_next() -> None:
    other = b"".join(line(frame, "f" * 16) for frame in ANSWER)
    assert heard(Replies([other + BYTES])) == ANSWER


def test_the_opening_goes_before_the_first_program_only() -> None:
    shell = Replies([BYTES, BYTES])
    link = ShellLink("one", shell, run="/run/here")
    tuple(link.run(PROGRAM))
    assert shell.sent.count(b"/run/here") == 1
    tuple(link.run(PROGRAM))
    assert shell.sent.count(b"/run/here") == 1


def test_an_end_before_the_end_is_a_lost_link_that_quotes_what_was_said() -> None:
    with pytest.raises(Unreachable) as caught:
        heard(Replies([b"mktemp: No space left on device\n", line(Began(0))]))
    assert "one: the link was lost: mktemp: No space left on device" in str(caught.value)


def test_what_a_frame_carries_is_never_quoted() -> None:
    leftover = line(Saw(((0, b"PRIVATE KEY", b""),)), "f" * 16)
    with pytest.raises(Unreachable) as caught:
        heard(Replies([leftover, b"sh: killed\n"]))
    assert str(caught.value) == "one: the link was lost: sh: killed — run again once the host is well"


def test_silence_is_a_lost_link() -> None:
    with pytest.raises(Unreachable) as caught:
        heard(Replies([line(Began(0))], silent=True))
    assert "no answer for 120 s" in str(caught.value)


def test_an_answer_without_what_the_probes_saw_is_no_answer() -> None:
    with pytest.raises(Unreachable) as caught:
        heard(Replies([b"sh: cannot create /run/k8sha/trip/0.out: No space left on device\n", line(End())]))
    assert "damaged" in str(caught.value)
    assert "No space left on device" in str(caught.value)


@pytest.mark.parametrize(
    ("program", "limit"),
    [
        (Program(probes=(Snippet("true", 5),), nonce=NONCE), 5 + 60),
        (Program(probes=(Snippet("true", 5), Snippet("true", 7)), nonce=NONCE), 5 + 7 + 7 + 60),  # shared, then alone
        (Program(applies=(Snippet("true", 900), Snippet("true", 10)), probes=(Snippet("true", 5),), nonce=NONCE), 960),
    ],
)
def test_a_host_may_be_silent_as_long_as_its_snippets_may_take(program: Program, limit: float) -> None:
    shell = Replies([BYTES])
    heard(shell, program)
    assert set(shell.limits) == {limit}
