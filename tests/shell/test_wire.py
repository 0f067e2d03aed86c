"""The wire format against real shells: everything comes back framed, and no snippet hurts another."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from k8sha.errors import ProbeError, Unreachable
from k8sha.facts import FACTS, Facts
from k8sha.hosts import Host
from k8sha.hosts.program import MAX_OUTPUT, TOO_MUCH, Began, Did, Frame, Program, Saw, Snippet, opening, render

from .conftest import MakeHost
from .local import SHELLS

BINARY = bytes(range(256))


def frames(host: Host, program: Program) -> list[Frame]:
    heard: list[Frame] = []
    host.run(program, heard.append)
    return heard


def test_sixty_probes_come_back_each_as_it_was(host: Host) -> None:
    texts = [f"printf 'output %s' {number}; printf 'error {number}' >&2; exit {number}" for number in range(60)]
    assert host.read(*texts) == tuple(
        (number, f"output {number}".encode(), f"error {number}".encode()) for number in range(60)
    )


def test_any_bytes_come_back(host: Host, tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(BINARY * 100)
    (tmp_path / "empty").write_bytes(b"")
    texts = [f"cat {tmp_path}/binary", f"cat {tmp_path}/empty", "printf '\\n\\n'", "printf 'ä 字'"]
    assert [out for _, out, _ in host.read(*texts)] == [BINARY * 100, b"", b"\n\n", "ä 字".encode()]


@pytest.mark.parametrize(
    ("text", "exit"),
    [
        ("if then fi (", 2),
        ("exit 7", 7),
        ("cd /; echo there", 0),
        ("cat; read -r line || echo nothing", 0),
        ("false; echo never", 1),
        ('echo "$unset"', None),
        ("kill -KILL $$", 137),
        ("exec 1>&- 2>&-; exit 3", 3),
        ("set +e; trap '' TERM; exit 4", 4),
        ("k8sha_ok=0; k8sha_d=/; exit 0", 0),
        ("echo 'END'\nEND() { :; }\nprintf '0123456789abcdef_0\\n'", 0),
        ("umask 000; export PATH=/nowhere", 0),
    ],
    ids=lambda value: str(value).split("\n")[0],
)
def test_what_a_snippet_does_to_itself_hurts_no_neighbour(host: Host, text: str, exit: int | None) -> None:
    before, bad, after = host.read("pwd; umask", text, "pwd; umask")
    assert bad[0] == exit or (exit is None and bad[0] != 0)
    assert before == after
    assert before[0] == 0
    assert host.read("echo alive")[0] == (0, b"alive\n", b"")


def test_a_snippet_may_have_any_quotes_and_a_long_text(host: Host) -> None:
    text = "cat <<'X'\n" + 'it\'s "$quoted" `text` \\n ' * 20_000 + "\nX"
    ((exit, out, err),) = host.read(text)
    assert (exit, err) == (0, b"")
    assert len(out) == len(text) - len("cat <<'X'\n") - len("X")


def test_what_takes_too_long_is_ended_with_all_its_children(host: Host) -> None:
    slow, quick = host.read("sleep 1000 & sleep 1000; echo never", "echo quick", timeout=1)
    assert slow[0] in (124, 143)  # coreutils', and busybox's
    assert slow[1] == b""
    assert quick[:2] == (0, b"quick\n")


def test_an_apply_that_ignores_its_end_is_killed(host: Host) -> None:
    program = Program(applies=(Snippet("trap '' TERM; while :; do sleep 0.1 || :; done", 1),))
    shorter = render(program).replace("timeout -k 10", "timeout -k 1")
    shell = subprocess.run([*SHELLS["dash"], "-s"], input=(opening(run="/tmp") + shorter).encode(), capture_output=True)
    assert b" did 0 137 " in shell.stdout


def test_the_first_apply_that_fails_ends_them_and_the_probes_still_run(host: Host, tmp_path: Path) -> None:
    applies = tuple(
        Snippet(f"{command}; touch {tmp_path}/{name}") for name, command in (("a", ":"), ("b", "false"), ("c", ":"))
    )
    heard = frames(host, Program(applies=applies, probes=(Snippet(f"ls {tmp_path}/a"), Snippet("echo seen"))))
    assert [frame.index for frame in heard if isinstance(frame, Began)] == [0, 1]
    assert [(frame.index, frame.exit) for frame in heard if isinstance(frame, Did)] == [(0, 0), (1, 1)]
    (saw,) = [frame for frame in heard if isinstance(frame, Saw)]
    assert [exit for exit, _, _ in saw.replies] == [0, 0]
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "c").exists()


def test_an_apply_tells_how_long_it_took(host: Host) -> None:
    (did,) = [frame for frame in frames(host, Program(applies=(Snippet("sleep 0.3"),))) if isinstance(frame, Did)]
    assert 0.3 <= did.seconds < 20


def test_of_huge_output_the_end_comes_back(host: Host) -> None:
    program = Program(applies=(Snippet("head -c 9000000 /dev/zero; echo the end"),), probes=(Snippet("echo fine"),))
    did, saw = (frame for frame in frames(host, program) if isinstance(frame, Did | Saw))
    assert isinstance(did, Did)
    assert (len(did.out), did.out[-8:]) == (MAX_OUTPUT, b"the end\n")
    assert isinstance(saw, Saw)
    assert saw.replies == ((0, b"fine\n", b""),)


def test_a_probe_that_prints_without_end_has_failed(host: Host) -> None:
    (huge, small) = host.read("head -c 9000000 /dev/zero", "echo fine")
    assert huge[0] == TOO_MUCH
    assert small == (0, b"fine\n", b"")


def test_a_secret_is_a_variable_and_in_no_command_line_or_environment(host: Host) -> None:
    text = """cat /proc/[0-9]*/cmdline /proc/$$/environ 2>/dev/null || :; echo; printf '%s' "$token" | wc -c"""
    secret = 'it\'s\n"a" $ecret'
    program = Program(applies=(Snippet(text, secrets=(("token", secret),)),))
    (did,) = [frame for frame in frames(host, program) if isinstance(frame, Did)]
    assert did.exit == 0
    assert did.out.split()[-1] == str(len(secret)).encode()
    assert b"$ecret" not in did.out


def test_nothing_is_left_behind_and_nobody_else_may_look(host: Host, tmp_path: Path) -> None:
    ((_, out, _),) = host.read(f"stat -c '%a %n' {tmp_path}/host/run {tmp_path}/host/run/trip.*")
    folder, *files = [line.split()[0] for line in out.decode().splitlines()]
    assert folder == "700"
    assert set(files) == {"600"}
    assert list((tmp_path / "host" / "run").iterdir()) == []


def test_one_shell_carries_any_number_of_programs(host: Host) -> None:
    for number in range(30):
        assert host.read(f"echo {number}") == ((0, f"{number}\n".encode(), b""),)
    assert host.trips == 30


def test_a_host_that_has_no_room_says_so(make_host: MakeHost, shell: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "run").write_text("a file where the folder of a run should be")
    with pytest.raises(Unreachable) as caught:
        make_host(folder=tmp_path / "full", shell=shell).read("echo never")
    assert "/full/run" in str(caught.value)


def test_a_probe_whose_output_cannot_be_kept_is_an_error(host: Host, tmp_path: Path) -> None:
    with pytest.raises(Unreachable) as caught:
        host.read(f"rm -rf {tmp_path}/host/run/trip.*", "echo never")
    assert "damaged" in str(caught.value)


def test_facts_are_read_from_this_machine(host: Host) -> None:
    if not Path("/etc/os-release").exists():
        pytest.skip("needs /etc/os-release")
    facts = host.facts
    assert facts.cpus == len(os.sched_getaffinity(0))
    assert facts.kernel == os.uname().release
    assert abs(facts.skew) <= facts.skew_error + 1  # not every date knows parts of a second
    assert facts.has_address("127.0.0.1")
    assert isinstance(Facts.parse(host.read(FACTS)[0][1].decode()), Facts)


def test_a_host_that_cannot_tell_its_facts_is_an_error(make_host: MakeHost, tmp_path: Path) -> None:
    tools = tmp_path / "broken"
    tools.mkdir()
    (tools / "ip").write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    (tools / "ip").chmod(0o755)
    with pytest.raises(ProbeError, match="no network"):
        assert make_host(tools=tools).facts


def test_a_probe_that_hangs_costs_its_own_time_and_no_neighbours_answer(host: Host) -> None:
    """It is one of many that share a process: what came before it is kept, what comes after it runs."""
    texts = ["echo one; echo error >&2; exit 3", "echo two", "echo half; sleep 1000", "echo four", "exit 5"]
    began = time.monotonic()
    replies = host.read(*texts, timeout=3)
    assert 3 <= time.monotonic() - began < 3 * 2
    assert replies[:2] == ((3, b"one\n", b"error\n"), (0, b"two\n", b""))
    assert replies[2] == (124, b"half\n", b"")
    assert replies[3:] == ((0, b"four\n", b""), (5, b"", b""))


def test_each_of_several_probes_that_hang_has_its_own_time(host: Host) -> None:
    began = time.monotonic()
    replies = host.read("sleep 1000", "echo two", "sleep 1000", "echo four", timeout=1)
    assert 2 <= time.monotonic() - began < 10
    assert [(exit in (124, 143), out) for exit, out, _ in replies] == [  # coreutils' timeout, and busybox's
        (True, b""),
        (False, b"two\n"),
        (True, b""),
        (False, b"four\n"),
    ]


def test_a_probe_whose_neighbours_took_the_time_gets_its_own(host: Host) -> None:
    """Four that take 1.3 s each, with 3 s for each of them: the shared process ends before they all have."""
    assert [reply[:2] for reply in host.read(*["sleep 1.3; echo done"] * 4, timeout=3)] == [(0, b"done\n")] * 4


def test_probes_with_time_limits_of_their_own_keep_them(host: Host) -> None:
    limits = [1, 1, 60, 60, 1]
    texts = ["sleep 30", "echo a", "sleep 1.5; echo b", "echo c", "sleep 30"]
    probes = tuple(Snippet(text, limit) for text, limit in zip(texts, limits, strict=True))
    (saw,) = [frame for frame in frames(host, Program(probes=probes)) if isinstance(frame, Saw)]
    assert [exit in (124, 143) for exit, _, _ in saw.replies] == [True, False, False, False, True]
    assert [out for _, out, _ in saw.replies[1:4]] == [b"a\n", b"b\n", b"c\n"]


def test_a_probe_that_kills_its_shell_hurts_nobody_and_others_run_once(host: Host, tmp_path: Path) -> None:
    count = f"echo x >>{tmp_path}/count"
    replies = host.read(count, "kill -KILL $$", count)
    assert [exit for exit, _, _ in replies] == [0, 137, 0]
    assert (tmp_path / "count").read_text() == "x\nx\n"


def test_a_probe_hears_nothing_of_the_others(host: Host) -> None:
    assert host.read("x=1; set -- a b; cd /", 'echo "${x-}$#"; trap "echo bye" EXIT', "echo $#") == (
        (0, b"", b""),
        (0, b"0\nbye\n", b""),
        (0, b"0\n", b""),
    )
