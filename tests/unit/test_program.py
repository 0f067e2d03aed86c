"""The wire format as text: what a program looks like, and what is understood of what comes back."""

from __future__ import annotations

import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from k8sha.hosts.program import (
    MAX_OUTPUT,
    TOO_MUCH,
    Began,
    Busy,
    Did,
    End,
    Frame,
    Program,
    Saw,
    Snippet,
    opening,
    parse,
    render,
)

from .conftest import Golden

NONCE = "0123456789abcdef"


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def line(frame: Frame, nonce: str = NONCE) -> bytes:
    """A frame as a host prints it."""
    match frame:
        case Busy(holder, orphaned, process):
            text = f"busy {'orphan' if orphaned else 'live'} {process} {holder}"
        case Began(index):
            text = f"begin {index}"
        case Did(index, exit, out, err, seconds):
            text = f"did {index} {exit} {round(seconds * 1000)} {b64(out)} {b64(err)} ."
        case Saw(replies):
            exits = "".join(f",{exit}" for exit, _, _ in replies)
            files = {
                f"{index}.{kind}": data
                for index, (_, out, err) in enumerate(replies)
                for kind, data in (("out", out), ("err", err))
                if data
            }
            above = f"==> /run/k8sha/trip.7.{nonce}."
            packed = b"\n".join(f"{above}{name} <==\n".encode() + data for name, data in files.items())
            text = f"seen {exits} {len(files)} {b64(packed)} ."
        case End():
            text = "end"
    return f"{nonce} {text}\n".encode()


words = st.text("abcXYZ059@.,:-_/äß字", min_size=1)
exits = st.integers(0, 255)
seconds = st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000)
answers = st.one_of(
    st.builds(Did, st.integers(0, 1000), exits, st.binary(), st.binary(), seconds),
    st.builds(Saw, st.lists(st.tuples(exits, st.binary(), st.binary()), min_size=1, max_size=20).map(tuple)),
)
frames = st.one_of(
    st.builds(Busy, words, st.booleans(), st.integers(0, 4_000_000)),
    st.builds(Began, st.integers(0, 1000)),
    st.just(End()),
    answers,
)


@given(frames)
def test_what_a_host_prints_is_understood(frame: Frame) -> None:
    assert parse(line(frame), NONCE) == frame


@given(answers, st.data())
def test_an_answer_that_was_cut_off_is_no_frame(frame: Frame, data: st.DataObject) -> None:
    whole = line(frame)
    cut = whole[: data.draw(st.integers(0, len(whole) - len(b".\n")))]
    assert parse(cut, NONCE) is None


@given(st.binary())
@example(b"0123456789abcdef seen ,0 1 AA== .")
@example(b"0123456789abcdef seen ,0 0 AA== .")
@example(b"0123456789abcdef seen ,0 x AA== .")
@example(b"0123456789abcdef did x")
@example(b"0123456789abcdef busy live x y")
def test_anything_else_is_no_frame_and_no_error(noise: bytes) -> None:
    parsed = parse(noise, NONCE)
    assert parsed is None or noise.startswith(NONCE.encode())


@given(frames)
def test_a_frame_of_another_program_is_none_of_this_one(frame: Frame) -> None:
    assert parse(line(frame, "f" * 16), NONCE) is None


def test_a_probe_that_printed_too_much_has_failed() -> None:
    saw = parse(line(Saw(((0, b"x" * (MAX_OUTPUT + 1), b""),))), NONCE)
    assert isinstance(saw, Saw)
    ((exit, out, err),) = saw.replies
    assert (exit, out) == (TOO_MUCH, b"")
    assert b"more than 4000000 bytes" in err


def test_a_program_is_text_that_is_reviewed(golden: Golden) -> None:
    program = Program(
        probes=(Snippet("echo alone", timeout=5), Snippet("cat /etc/hostname"), Snippet("echo beside")),
        applies=(Snippet('echo "$token" >/run/token', timeout=7, secrets=(("token", "it's secret"),)),),
        lock="ann@desk pid 1",
        nonce=NONCE,
    )
    golden("program.sh", opening() + render(program))


def test_every_program_has_a_nonce_of_its_own() -> None:
    assert len({Program().nonce for _ in range(100)}) == 100


def test_who_holds_the_lock_is_one_line() -> None:
    assert "'ann x'" in render(Program(lock="ann\nx"))


def test_a_secret_is_not_in_a_programs_repr() -> None:
    assert "hush" not in repr(Program(applies=(Snippet("true", secrets=(("token", "hush"),)),)))


@pytest.mark.parametrize("run", ["/run/k8sha", "/tmp/a folder's name"])
def test_the_folder_of_a_run_may_have_any_name(run: str) -> None:
    assert opening(run=run).count("mkdir -p") == 1
