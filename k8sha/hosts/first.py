"""The first program of a link as an argument of the shell that all others are sent to: it saves a round trip.

Every user of a host can read the arguments of its processes, and a login shell of any kind stands between sshd and
ours. So only a program that says it is public goes this way, without the name of who holds the lock, and in letters
that mean nothing to any shell.
"""

from __future__ import annotations

import base64

from attrs import evolve

from k8sha.hosts.program import Program, named, opening, render

__all__ = ["LONGEST", "command", "follow_up"]

LONGEST = 8000
"""Characters of a command that every SSH server takes: Dropbear's MAX_CMD_LEN is 9000, Linux' MAX_ARG_STRLEN 131072."""

_JUST_BEGUN = "a run that has just begun"


def command(program: Program, *, run: str = "/run/k8sha", shell: str = "/bin/sh") -> str | None:
    """A line for /bin/sh that runs the program and then becomes the shell that :func:`follow_up` is for. None where the
    program must not, or can't, be an argument."""
    if not program.public or program.applies:
        return None
    told = evolve(program, lock=None if program.lock is None else _JUST_BEGUN)
    packed = base64.b64encode((opening(run=run) + render(told)).encode()).decode()
    line = f'eval "$(echo {packed} | base64 -d)"; exec {shell} -s "$k8sha_locked"'
    return line if len(line) <= LONGEST else None


def follow_up(program: Program, *, run: str = "/run/k8sha") -> str:
    """What the shell must hear after that, before the next program. It answers nothing, so nobody waits for it.

    It ends the shell where the lock was not handed on to it: a shell may keep its open files to itself.
    """
    if program.lock is None:
        return opening(run=run)
    kept = f'[ -e "/proc/$$/fd/9" ] || exit 70\n{named(program.lock)}'
    return f'{opening(run=run)}if [ -n "$k8sha_locked" ]; then\n{kept}fi\n'
