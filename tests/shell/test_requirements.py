"""What is looked at before a host becomes a node, against real shells and a real disk: one that takes nothing, too."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha.resources.reach import AptPackagesAtHand
from k8sha.resources.requirements import DiskSync

from .local import KINDS, SHELLS

NEED = DiskSync(limit_ms=60_000, writes=3)
FULL = "trap '' XFSZ\nulimit -f 1\n"
"""Under it a write fails as on a full disk: this machine's own can't be filled for a test."""


def look(shell: str, folder: Path, before: str = "") -> tuple[str, ...]:
    """What it makes of a folder in place of /var/lib."""
    text = before + NEED.look().replace("/var/lib", str(folder))
    done = subprocess.run([*SHELLS[shell], "-eu", "-c", text], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return NEED.diff(done.stdout).lines


@pytest.mark.parametrize("shell", KINDS)
def test_a_disk_that_can_be_written_is_timed(shell: str, tmp_path: Path) -> None:
    assert look(shell, tmp_path) == ()
    assert list(tmp_path.iterdir()) == []


def test_what_a_look_that_was_killed_has_left_goes(tmp_path: Path) -> None:
    """Each left another file: in the folder of etcd's data, where kubeadm refuses whatever is there."""
    (tmp_path / "etcd").mkdir()
    (tmp_path / "etcd" / ".k8sha.sync").write_text("half of")
    assert look("dash", tmp_path) == ()
    assert list((tmp_path / "etcd").iterdir()) == []


@pytest.mark.parametrize("shell", KINDS)
def test_a_disk_that_takes_no_write_is_told_and_nothing_is_left_there(shell: str, tmp_path: Path) -> None:
    (line,) = look(shell, tmp_path, FULL)
    assert line.startswith("its disk could not be timed, make room there or mend it: dd: ")
    assert "File too large" in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", KINDS)
def test_a_disk_that_takes_no_file_is_told(shell: str, tmp_path: Path) -> None:
    (line,) = look(shell, tmp_path / "gone")
    assert "dd: " in line
    assert "No such file or directory" in line


POLICY = """\
haproxy:
  Installed: (none)
  Candidate: 3.0.11-1+deb13u5
  Version table:
     3.0.11-1+deb13u5 500
        500 https://example.org/debian trixie/main amd64 Packages
old:
  Installed: (none)
  Candidate: (none)
  Version table:
"""


@pytest.mark.parametrize("shell", KINDS)
def test_packages_that_no_repository_has_are_told_and_apt_is_asked_once(shell: str, tmp_path: Path) -> None:
    tools = {
        "dpkg-query": "exit 1",  # none is installed
        "apt-cache": f"echo \"$*\" >>{tmp_path}/asked\ncat <<'END'\n{POLICY}END",
        "apt-get": "exit 0",  # nothing is to be fetched: all is in its cache
    }
    for name, text in tools.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    (tmp_path / "example_Packages").touch()
    need = AptPackagesAtHand(("haproxy", "old", "nosuchpackage"))

    def told(need: AptPackagesAtHand) -> tuple[str, ...]:
        text = need.look().replace("/var/lib/apt/lists", str(tmp_path)).replace("/run/k8sha/", f"{tmp_path}/")
        environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
        command = [*SHELLS[shell], "-eu", "-c", text]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return need.diff(done.stdout).lines

    none = "has no repository with the package"
    assert told(need) == (f"{none} old", f"{none} nosuchpackage")
    assert (tmp_path / "asked").read_text() == "policy haproxy old nosuchpackage\n"
    assert told(AptPackagesAtHand(("haproxy",))) == ()
