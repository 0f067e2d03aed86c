"""What the facts' probe reads of files, by real shells."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from k8sha.facts import FACTS, Facts

from .local import KINDS, SHELLS


def read(below: Path, shell: str) -> Facts:
    text = FACTS
    for folder in ("/etc/kubernetes", "/var/lib/k8sha"):
        text = text.replace(folder, f"{below}{folder}")
    done = subprocess.run(
        [*SHELLS[shell], "-eu", "-c", text], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20
    )
    assert done.returncode == 0, done.stderr
    return Facts.parse(done.stdout)


@pytest.mark.parametrize("shell", KINDS)
def test_whose_node_a_host_is_and_whether_a_restore_is_half_way(tmp_path: Path, shell: str) -> None:
    assert (read(tmp_path, shell).authority, read(tmp_path, shell).restore) == ("", "")
    pki = tmp_path / "etc/kubernetes/pki"
    pki.mkdir(parents=True)
    begin, end = (f"-----{word} CERTIFICATE-----" for word in ("BEGIN", "END"))
    (pki / "ca.crt").write_text(f"Certificate:\n    Version: 3\n{begin}\nQUJD\nREVG\n{end}\n{begin}\nQUJD\n{end}\n")
    assert read(tmp_path, shell).authority == ""  # an authority that no node trusts yet
    (tmp_path / "etc/kubernetes/kubelet.conf").write_text("x")
    known = read(tmp_path, shell).authority
    (pki / "ca.crt").write_text(f"{begin}\nQUJDREVG\n{end}\n")
    assert known == read(tmp_path, shell).authority != ""
    (pki / "ca.crt").unlink()
    assert read(tmp_path, shell).authority == ""
    left = tmp_path / "var/lib/k8sha/restore/open"
    left.mkdir(parents=True)
    assert read(tmp_path, shell).restore == ""  # made ready, and nothing stopped yet
    (left / "fencing").write_text("")
    assert read(tmp_path, shell).restore == f"{left}/fencing"
    (left / "fencing").unlink()
    assert (read(tmp_path, shell).restore, read(tmp_path, shell).fenced) == ("", "")
    (tmp_path / "etc/kubernetes/k8sha-fenced").mkdir()  # by a restore, or for one member alone
    assert (read(tmp_path, shell).restore, read(tmp_path, shell).fenced) == (
        "",
        f"{tmp_path}/etc/kubernetes/k8sha-fenced",
    )
