"""Snippets of shell text in, one program out; the program's output in, frames out. Pure: nothing here does I/O.

A program is one function that the host's shell calls on the last line, so an upload that is cut off runs nothing.
Each apply runs as its own ``timeout N sh -eu`` with stdin from /dev/null and its output captured; they run in order and
stop at the first that fails. Then all probes run, which are alike and many: to start a program costs a host a
millisecond, so neighbours with the same time limit share one ``timeout N sh``, and each is a subshell of it that reads
its own text. A syntax error, an ``exit``, a ``cd`` or a greedy ``read`` in one cannot hurt the others; where the shared
process does not reach its end (a probe hangs, or kills it), whatever it has not answered runs on its own. A probe's
output comes in one frame for all, an apply's in a frame of its own, each one line. Written for POSIX sh with coreutils
and util-linux, which every supported host has.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import shlex
from collections.abc import Iterable, Iterator
from itertools import groupby

from attrs import field, frozen

from k8sha.survey import Survey, surveyed

__all__ = ["Began", "Busy", "Did", "End", "Frame", "Program", "Saw", "Snippet", "named", "opening", "parse", "render"]

MAX_OUTPUT = 4_000_000
"""Bytes of one snippet's output that come back: enough for any file that we compare, small enough for memory. Of an
apply's output the end is kept; a probe that prints more has failed, with the exit code ``TOO_MUCH``."""

TOO_MUCH = 120


@frozen
class Snippet:
    """Shell text with a time limit in seconds. ``secrets`` go before it as (not exported) shell variables; of each of
    ``surveys`` a probe has one question, which it may share with others."""

    text: str
    timeout: int = 60
    secrets: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    surveys: tuple[tuple[Survey, str], ...] = field(default=(), repr=False)


@frozen
class Program:
    """What one trip carries: applies, in order until one fails, and then probes. ``lock`` takes the host's lock first
    and keeps it until the link ends; its text says who we are. What is ``public`` (``lock`` aside) may be seen by every
    user of the host: it may travel as a process's argument, which saves a round trip."""

    probes: tuple[Snippet, ...] = ()
    applies: tuple[Snippet, ...] = ()
    lock: str | None = None
    public: bool = False
    nonce: str = field(factory=lambda: secrets.token_hex(8))


@frozen
class Busy:
    """Another run holds the lock; ``orphaned`` if its link is gone and only its last snippet still runs. ``process`` is
    the one on the host that its link lives in, 0 where that is not known."""

    holder: str
    orphaned: bool
    process: int = 0


@frozen
class Began:
    """Apply number ``index`` begins."""

    index: int


@frozen
class Did:
    """Apply number ``index`` ended."""

    index: int
    exit: int
    out: bytes
    err: bytes
    seconds: float


@frozen
class Saw:
    """All probes ended: exit code, output and error of each."""

    replies: tuple[tuple[int, bytes, bytes], ...]


@frozen
class End:
    """The program is over."""


Frame = Busy | Began | Did | Saw | End

# k8sha_p is the process that this shell's link lives in: while it is there, somebody reads what we print. It is sshd's
# (sudo's processes stand between it and us, and outlive it), or else whoever started this shell.
#
# The locale is the one that costs a program nothing: each reads a dozen files for any other.
#
# In braces, so that nothing of it runs where only a part has arrived: a line cut in two may be another command.
_OPENING = """\
{{
umask 077
LC_ALL=C; PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH
k8sha_run={run}; k8sha_locked=${{1-}}; k8sha_d="$k8sha_run/none"
[ -d "$k8sha_run" ] || mkdir -p "$k8sha_run"
k8sha_p=$PPID; k8sha_q=$PPID
while [ "$k8sha_q" -gt 1 ]; do
read -r k8sha_s <"/proc/$k8sha_q/stat" || break
case $k8sha_s in *" (sshd"*|*" (dropbear"*) k8sha_p=$k8sha_q; break;; esac
k8sha_s=${{k8sha_s##*") "}}; k8sha_s=${{k8sha_s#* }}; k8sha_q=${{k8sha_s%% *}}
done
k8sha_leave() {{ rm -f "$k8sha_d".*; exit 70; }}
trap k8sha_leave HUP INT PIPE TERM
}}
"""

# In one write: who reads it meanwhile finds nobody, and looks again.
_NAMED = """\
printf '%s %s\\n' "$k8sha_p" {who} >"$k8sha_run/holder"
"""

# A run that has just taken leave may need a moment to end: what holds the lock for longer is at work.
_LOCK = """\
if [ -z "$k8sha_locked" ]; then
exec 9>>"$k8sha_run/lock"
if flock -w 1 9; then
k8sha_locked=1
{named}set --
for k8sha_old in "$k8sha_run"/trip.*; do
k8sha_s=${{k8sha_old##*/trip.}}
if [ -e "$k8sha_old" ] && [ ! -d "/proc/${{k8sha_s%%.*}}" ]; then set -- "$@" "$k8sha_old"; fi
done
if [ $# -gt 0 ]; then rm -rf -- "$@"; fi
else
exec 9>&-
k8sha_h=; k8sha_who=
if [ -r "$k8sha_run/holder" ]; then read -r k8sha_h k8sha_who <"$k8sha_run/holder"; fi
k8sha_h=${{k8sha_h:-0}}; k8sha_who=${{k8sha_who:-unknown}}
if [ -d "/proc/$k8sha_h" ]; then k8sha_s=live; else k8sha_s=orphan; fi
printf '%s busy %s %s %s\\n%s end\\n' {n} "$k8sha_s" "$k8sha_h" "$k8sha_who" {n}
return 0
fi
fi
"""

# What an apply installs or starts may put names into words, in any script.
_APPLY = """\
if [ "$k8sha_ok" = 1 ]; then
[ -d "/proc/$k8sha_p" ] || k8sha_leave
printf '%s begin %s\\n' {n} {i}
read -r k8sha_t k8sha_s </proc/uptime; k8sha_b=${{k8sha_t%.*}}${{k8sha_t#*.}}
LC_ALL=C.UTF-8 timeout -k 10 {timeout} sh -eu /dev/fd/3 3<<'{n}_{i}' </dev/null >"$k8sha_d.out" 2>"$k8sha_d.err"
{text}
{n}_{i}
k8sha_rc=$?
read -r k8sha_t k8sha_s </proc/uptime; k8sha_t=${{k8sha_t%.*}}${{k8sha_t#*.}}
printf '%s did %s %s %s ' {n} {i} "$k8sha_rc" $(( (k8sha_t - k8sha_b) * 10 ))
tail -c {limit} "$k8sha_d.out" | base64 -w 0; printf ' '
tail -c {limit} "$k8sha_d.err" | base64 -w 0; printf ' .\\n'
if [ "$k8sha_rc" != 0 ]; then k8sha_ok=0; fi
fi
"""

# Its answer is there once its exit code is.
_SHARING = """\
if [ "$2" = all ] || [ "$2" = {i} ]; then
read -r k8sha_t k8sha_s </proc/uptime; echo "${{k8sha_t%.*}}${{k8sha_t#*.}}" >"$1.{i}.began"
( set -eu --; . /dev/fd/4 ) 4<<'{n}_{i}p' >"$1.{i}.out" 2>"$1.{i}.err"
{text}
{n}_{i}p
echo "$?" >"$1.{i}.exit"
fi
"""

# One that is run on its own asks on its own: a survey may be what hung.
_ALL = """\
if [ "$2" = all ]; then
{surveys}fi
"""

# The shared process has a second more than each of its probes: so one that hangs is at fault, as a rule, once that is
# over; else it began late, and gets its whole time once more, alone.
_SHARED = """\
k8sha_look() {{
timeout -k 5 "$1" sh /dev/fd/3 "$k8sha_d" "$2" 3<<'{n}_{first}s' </dev/null
{surveys}{probes}{n}_{first}s
}}
k8sha_look {longer} all
for k8sha_i in {numbers}; do
k8sha_rc=
if [ ! -s "$k8sha_d.$k8sha_i.exit" ]; then
read -r k8sha_t k8sha_s </proc/uptime; k8sha_b=${{k8sha_t%.*}}${{k8sha_t#*.}}; k8sha_t=$k8sha_b
if [ -s "$k8sha_d.$k8sha_i.began" ]; then read -r k8sha_b <"$k8sha_d.$k8sha_i.began"; fi
if [ $((k8sha_t - k8sha_b)) -ge {timeout}00 ]; then k8sha_rc=124; else k8sha_look {timeout} "$k8sha_i"; k8sha_rc=$?; fi
fi
if [ -s "$k8sha_d.$k8sha_i.exit" ]; then read -r k8sha_rc <"$k8sha_d.$k8sha_i.exit"; fi
k8sha_rcs="$k8sha_rcs,$k8sha_rc"
done
"""

_PROBE = """\
timeout -k 5 {timeout} sh -eu /dev/fd/3 3<<'{n}_{i}p' </dev/null >"$k8sha_d.{i}.out" 2>"$k8sha_d.{i}.err"
{text}
{n}_{i}p
k8sha_rcs="$k8sha_rcs,$?"
"""

# Files that are empty are passed over; one that is not there makes this no frame. Their names, which ``head -v`` writes
# above each, have the nonce in them.
_SEEN = """\
set --; k8sha_s=.
for k8sha_i in {files}; do
if [ -s "$k8sha_d.$k8sha_i" ]; then set -- "$@" "$k8sha_d.$k8sha_i"
elif [ ! -f "$k8sha_d.$k8sha_i" ]; then k8sha_s=lost; fi
done
printf '%s seen %s %s ' {n} "$k8sha_rcs" "$#"
if [ $# -gt 0 ]; then head -v -c {limit} -- "$@" | base64 -w 0; fi
printf ' %s\\n' "$k8sha_s"
"""


def opening(*, run: str = "/run/k8sha") -> str:
    """What a fresh shell hears first: a sane environment and the folder for what trips leave while they run."""
    return _OPENING.format(run=shlex.quote(run))


def named(who: str) -> str:
    """What writes down who holds the host's lock, for a shell that has it."""
    return _NAMED.format(who=shlex.quote(who.replace("\n", " ")))


def render(program: Program) -> str:
    """The text of a program, ready for a shell that has heard :func:`opening`."""
    nonce = program.nonce
    parts = [f"k8sha_{nonce}() {{\n"]
    if program.lock is not None:
        parts.append(_LOCK.format(n=nonce, named=named(program.lock)))
    parts.append(f'k8sha_d="$k8sha_run/trip.$$.{nonce}"; : >"$k8sha_d.on" || exit 70\nk8sha_ok=1; k8sha_rcs=\n')
    for index, snippet in enumerate(program.applies):
        text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in snippet.secrets) + snippet.text
        parts.append(_APPLY.format(n=nonce, i=index, timeout=snippet.timeout, text=text, limit=MAX_OUTPUT))
    parts.extend(_looks(program))
    parts.append(f"rm -f \"$k8sha_d\".*\nprintf '%s end\\n' {nonce}\n}}\nk8sha_{nonce}; unset -f k8sha_{nonce}\n")
    return "".join(parts)


def _looks(program: Program) -> Iterator[str]:
    nonce = program.nonce
    if program.applies and program.probes:
        yield 'rm -f "$k8sha_d.out" "$k8sha_d.err"\n'
    for timeout, group in groupby(enumerate(program.probes), lambda probe: probe[1].timeout):
        (first, snippet), *others = group
        if not others:
            yield _PROBE.format(n=nonce, i=first, timeout=timeout, text=snippet.text)
            continue
        probes = [(first, snippet), *others]
        yield _SHARED.format(
            n=nonce,
            first=first,
            surveys=_ALL.format(surveys=asked) if (asked := surveyed(_asked(probes))) else "",
            probes="".join(_SHARING.format(n=nonce, i=index, text=probe.text) for index, probe in probes),
            numbers=" ".join(str(index) for index, _ in probes),
            timeout=timeout,
            longer=timeout + 1,
        )
    if program.probes:
        files = " ".join(f"{index}.{kind}" for index in range(len(program.probes)) for kind in ("out", "err"))
        yield _SEEN.format(n=nonce, limit=MAX_OUTPUT + 1, files=files)


def _asked(probes: Iterable[tuple[int, Snippet]]) -> Iterator[tuple[Survey, str]]:
    for _, probe in probes:
        yield from probe.surveys


def parse(line: bytes, nonce: str) -> Frame | None:
    """The frame that a line of output is, or None where it is not one of this program's."""
    words = line.rstrip(b"\r\n").split(b" ")
    if len(words) < 2 or words[0] != nonce.encode():
        return None
    try:
        match words[1]:
            case b"busy":
                holder = b" ".join(words[4:]).decode(errors="replace")
                return Busy(holder, words[2] == b"orphan", int(words[3]))
            case b"begin":
                return Began(int(words[2]))
            case b"did":
                out, err = (base64.b64decode(word, validate=True) for word in words[5:7])
                return Did(int(words[2]), int(words[3]), out, err, int(words[4]) / 1000) if words[7] == b"." else None
            case b"seen":
                return Saw(tuple(_unpack(words[2], int(words[3]), words[4], nonce))) if words[5] == b"." else None
            case b"end":
                return End()
    except (ValueError, LookupError, binascii.Error):
        return None
    return None


def _unpack(exits: bytes, count: int, packed: bytes, nonce: str) -> Iterable[tuple[int, bytes, bytes]]:
    data = base64.b64decode(packed, validate=True)
    above = rb"(?:\A|\n)==> [^\n]*/trip\.[0-9]+\.%b\.([0-9]+\.(?:out|err)) <==\n" % nonce.encode()
    before, *parts = re.split(above, data)
    contents = dict(zip(parts[::2], parts[1::2], strict=True))
    if before or not count == len(contents) == len(parts) // 2:
        raise ValueError("this is not what the files held")
    for index, code in enumerate(exits.decode().strip(",").split(",")):
        out, err = (contents.pop(f"{index}.{kind}".encode(), b"") for kind in ("out", "err"))
        if len(out) > MAX_OUTPUT:
            yield TOO_MUCH, b"", f"it printed more than {MAX_OUTPUT} bytes".encode()
        else:
            yield int(code), out, err[:MAX_OUTPUT]
    if contents:
        raise ValueError("more files than probes")
