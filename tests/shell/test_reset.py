"""Clearing what a half-done kubeadm run has left, by real shells and a kubeadm that is a script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha.components.joins import reset
from k8sha.resources.command import Command

from .local import KINDS, SHELLS


def moved(text: str, below: Path) -> str:
    """The same shell for a host whose root is a folder."""
    for folder in ("/etc/kubernetes", "/etc/cni", "/etc/etcd", "/var/lib/etcd", "/var/lib/k8sha"):
        text = text.replace(folder, f"{below}{folder}")
    return text


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
    text = moved(reset("kubeadm join", keep=keep), tmp_path)
    subprocess.run(
        [*SHELLS[shell], "-eu", "-c", text],
        env={"PATH": f"{bin}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=20,
    )
    assert {path.name for path in pki.iterdir()} == set(keep)
    assert not (tmp_path / "var/lib/etcd/member").exists()


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize(("older", "unit"), [(True, False), (False, False), (True, True)])
def test_data_that_were_there_before_the_command_are_not_what_it_left(
    tmp_path: Path, shell: str, older: bool, unit: bool
) -> None:
    """They are refused, with nothing touched: a member that was fenced, or a master whose manifest is missing. A member
    under systemd has nothing to do with kubeadm, whatever its age, and stays."""
    command = Command("kubeadm init", done="echo missing", run="echo run", recover=reset("kubeadm init", keep=()))
    member, mark = tmp_path / "var/lib/etcd/member", Path(moved(command.mark, tmp_path))
    pki, bin = tmp_path / "etc/kubernetes/pki", tmp_path / "bin"
    for folder in (member, mark.parent, pki, bin, tmp_path / "etc/etcd", tmp_path / "etc/cni/net.d"):
        folder.mkdir(parents=True)
    (member / "db").write_text("everything")
    (pki / "sa.key").write_text("key")
    if unit:
        (tmp_path / "etc/etcd/etcd.env").write_text("")
    mark.write_text("kubeadm init")
    os.utime(mark, (mark.stat().st_mtime, member.stat().st_mtime + (60 if older else -60)))
    (bin / "kubeadm").write_text(f"#!/bin/sh\nrm -rf {pki}\n")
    (bin / "kubeadm").chmod(0o755)
    done = subprocess.run(
        [*SHELLS[shell], "-eu", "-c", moved(command.apply(), tmp_path)],
        env={"PATH": f"{bin}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
    )
    refused = older and not unit
    assert (done.returncode != 0) is refused
    assert ("is older than the kubeadm init that was begun" in done.stderr) is refused
    assert ("run" in done.stdout) is not refused
    assert (pki / "sa.key").exists() is refused
    assert (member / "db").exists() is (refused or unit)
