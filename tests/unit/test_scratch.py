"""Folders for secrets: private, gone at the end, and gone after a kill as well."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from k8sha.scratch import private_folder

HOLD = "import sys, time\nfrom k8sha.scratch import private_folder\nwith private_folder('test') as folder:\n"
HOLD += "    print(folder, flush=True)\n    time.sleep(60)\n"


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)


def aged(folder: Path) -> None:
    os.utime(folder, (0, 0))


def test_nobody_else_reads_it_and_it_goes() -> None:
    with private_folder("test") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "key").write_text("secret")
    assert not folder.exists()


def test_one_of_a_killed_process_goes_and_one_of_a_living_stays() -> None:
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        (left / "key").write_text("secret")
        aged(left)
        with private_folder("test"):
            assert (left / "key").exists()
        process.send_signal(signal.SIGKILL)
    assert (left / "key").exists()
    with private_folder("test"):
        assert not left.exists()


def test_what_is_new_or_no_folder_of_ours_is_left(tmp_path: Path) -> None:
    new = tmp_path / "k8sha-test-new"
    new.mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    aged(elsewhere)
    (tmp_path / "k8sha-test-link").symlink_to(elsewhere)
    (tmp_path / "k8sha-test-file").write_text("")
    aged(tmp_path / "k8sha-test-file")
    with private_folder("test"):
        assert new.exists()
        assert elsewhere.exists()
        assert (tmp_path / "k8sha-test-file").exists()
