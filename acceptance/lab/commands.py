"""Commands on the machine that runs the lab: each with a time limit and an error that says what went wrong."""

from __future__ import annotations

import fcntl
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import vagrant

REPOSITORY = Path(__file__).resolve().parent.parent.parent

# What takes a machine's processor or its power away and gives it back, by provider.
_VIRSH = "virsh --connect qemu:///system"
POWER = {
    "docker": ("docker pause {id}", "docker unpause {id}", "docker kill {id}", "docker start {id}"),
    "libvirt": (
        f"{_VIRSH} suspend {{id}}",
        f"{_VIRSH} resume {{id}}",
        f"{_VIRSH} destroy {{id}}",
        f"{_VIRSH} start {{id}}",
    ),
    "virtualbox": (
        "VBoxManage controlvm {id} pause",
        "VBoxManage controlvm {id} resume",
        "VBoxManage controlvm {id} poweroff",
        "VBoxManage startvm {id} --type headless",
    ),
}


class LabError(Exception):
    """The lab did not do what was asked; .machine, .command and .stderr (its last lines) say where and why."""

    def __init__(self, message: str, *, machine: str = "", command: Sequence[str] = (), stderr: str = "") -> None:
        self.machine = machine
        self.command = tuple(command)
        said = [line for line in stderr.strip().splitlines() if ".rb:" not in line]  # Ruby says too much
        self.stderr = "\n".join(said[-15:])
        where = f"{machine}: {message}" if machine else message
        super().__init__("\n".join(part for part in (where, " ".join(command), self.stderr) if part))


class Vagrant(vagrant.Vagrant):
    """python-vagrant with what it lacks: our runner, and only those lines of a listing that it can read."""

    def __init__(self, run: Callable[[Sequence[str]], str]) -> None:
        super().__init__(root=str(REPOSITORY))  # type: ignore[no-untyped-call] # python-vagrant has no types
        self._run = run

    def _call_vagrant_command(self, args: Sequence[str | None]) -> None:
        self._run_vagrant_command([*args, "--parallel"] if args[0] == "destroy" else args)

    def _run_vagrant_command(self, args: Sequence[str | None]) -> str:
        output = self._run(["vagrant", *(arg for arg in args if arg is not None)])
        if "--machine-readable" not in args:
            return output
        fields = (line.split(",") for line in output.splitlines())
        return "\n".join(",".join(line[:4]) for line in fields if len(line) >= 4 and line[0].isdigit())


def run(command: Sequence[str], environment: Mapping[str, str], *, seconds: float, machine: str = "") -> str:
    """What the command prints on its standard output. Raises LabError if it fails or takes longer than that."""
    try:
        done = subprocess.run(
            command,
            env=environment,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=True,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"took more than {seconds:.0f} s", machine=machine, command=command) from error
    except OSError as error:
        raise LabError(str(error), machine=machine, command=command) from error
    except subprocess.CalledProcessError as error:
        said = str(error.stderr or error.stdout)
        raise LabError(f"exit {error.returncode}", machine=machine, command=command, stderr=said) from error
    return done.stdout


@contextmanager
def locked(path: Path, *, seconds: float) -> Iterator[None]:
    """Holds this lock, among all processes. Raises LabError if another one has it all that time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + seconds
    with path.open("w") as lock:
        while not _taken(lock):
            if time.monotonic() > end:
                raise LabError(f"another lab has been coming up or going down for {seconds:.0f} s: {path} is locked")
            time.sleep(0.1)  # nothing tells us when it is free and lets us stop waiting too; so we look again
        yield


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
