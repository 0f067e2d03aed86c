"""Clearing what a half-done kubeadm run has left, by real shells and a kubeadm that is a script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha.components.joins import reset

from .local import KINDS, SHELLS


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize("keep", [(), ("ca.crt", "ca.key")])
def test_all_goes_but_what_is_to_be_kept(tmp_path: Path, shell: str, keep: tuple[str, ...]) -> None:
    """Also where nothing is to be kept: a folder of the PKI is no file to keep, and no reason to give up."""
    pki, bin = tmp_path / "etc/kubernetes/pki", tmp_path / "bin"
    for folder in (pki, bin, tmp_path / "var/lib/etcd/member", tmp_path / "etc/cni/net.d"):
        folder.mkdir(parents=True)
    for name in ("ca.crt", "ca.key", "apiserver.crt"):
        (pki / name).write_text(name)
    (bin / "kubeadm").write_text(f"#!/bin/sh\nrm -rf {pki}\n")
    (bin / "kubeadm").chmod(0o755)
    text = reset(keep=keep)
    for folder in ("/etc/kubernetes", "/etc/cni", "/var/lib/etcd", "/var/lib/k8sha"):
        text = text.replace(folder, f"{tmp_path}{folder}")
    subprocess.run(
        [*SHELLS[shell], "-eu", "-c", text],
        env={"PATH": f"{bin}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=20,
    )
    assert {path.name for path in pki.iterdir()} == set(keep)
    assert not (tmp_path / "var/lib/etcd/member").exists()
