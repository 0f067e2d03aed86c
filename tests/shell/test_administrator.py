"""Whose kubeconfig is the administrator's, on a host where kubeadm is at work."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from k8sha.components.masters import Administrator
from k8sha.resources import Command
from k8sha.resources.resource import STATE

from .local import KINDS, SHELLS


@pytest.mark.parametrize("shell", KINDS)
def test_a_kubeconfig_is_nobody_s_while_kubeadm_init_is_half_way(shell: str, tmp_path: Path) -> None:
    """Its user has no rights yet: a plan would end with the server's refusal, and nobody could install."""
    text = Administrator().probe().replace("/etc/kubernetes", str(tmp_path)).replace(STATE, str(tmp_path))
    mark = Path(Command("kubeadm init", "", "").mark.replace(STATE, str(tmp_path)))
    mark.parent.mkdir()

    def printed() -> str:
        return subprocess.run([*SHELLS[shell], "-euc", text], capture_output=True, check=True, text=True).stdout

    assert printed() == ""
    (tmp_path / "admin.conf").write_text("the administrator's\n")
    assert printed() == "the administrator's\n"
    mark.touch()
    assert printed() == ""
    mark.unlink()
    assert printed() == "the administrator's\n"
