"""Clearing what a half-done kubeadm run has left, by real shells and a kubeadm that is a script."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha.components.joins import reset
from k8sha.components.masters import MasterState
from k8sha.components.membership import EtcdFolder, WhatIsThere
from k8sha.components.standing import newcomer
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


def sh(shell: str, text: str, below: Path) -> bytes:
    """What such a shell prints on the host whose root is that folder."""
    path = f"{below / 'bin'}:{os.environ['PATH']}"
    command = [*SHELLS[shell], "-eu", "-c", moved(text, below)]
    return subprocess.run(command, env={"PATH": path}, check=True, capture_output=True, timeout=20).stdout


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize("mark", ["kubeadm init", "kubeadm join", ""])
def test_a_machine_that_was_a_master_is_as_good_as_new_once_it_was_wiped_as_told(
    tmp_path: Path, shell: str, mark: str
) -> None:
    """Its etcd's folder stays, for it may be a disk, and is as empty as kubeadm wants it, hidden files and all."""
    data, state, pki = tmp_path / "var/lib/etcd", tmp_path / "var/lib/k8sha", tmp_path / "etc/kubernetes/pki"
    kept = data / "k8sha-kept-replaced-20260101T000000Z/member"
    for folder in (kept, data / "lost+found", state / "restore/open", state / "loadbalancer", pki, tmp_path / "bin"):
        folder.mkdir(parents=True)
    for file in (data / ".left", state / "kube-apiserver.yaml.before", pki / "sa.key", pki / "ca.crt"):
        file.write_text("left")
    if mark:
        begun = Path(moved(Command(mark, "", "").mark, tmp_path))
        begun.parent.mkdir()
        begun.write_text(mark)
    (tmp_path / "bin/kubeadm").write_text('#!/bin/sh\n[ "$*" = "reset --force" ]\n')
    (tmp_path / "bin/kubeadm").chmod(0o755)
    needed = EtcdFolder()
    assert needed.diff(sh(shell, needed.probe(), tmp_path))
    _, problem = newcomer(
        "master-4", *WhatIsThere.parse(sh(shell, WhatIsThere().probe(), tmp_path)), cluster="other", member=None
    )
    assert problem is not None
    sh(shell, problem.remedy.partition("run there: ")[2], tmp_path)
    assert not needed.diff(sh(shell, needed.probe(), tmp_path))
    assert sh(shell, MasterState().probe(), tmp_path) == b"none\n"
    assert [path.name for path in state.iterdir()] == ["loadbalancer"]
    assert not list(data.iterdir())


@pytest.mark.parametrize("shell", KINDS)
def test_what_a_kubeadm_that_was_begun_has_left_is_no_hindrance_and_anything_else_is(
    tmp_path: Path, shell: str
) -> None:
    need, data = EtcdFolder(), tmp_path / "var/lib/etcd"
    assert not need.diff(sh(shell, need.probe(), tmp_path)), "there is none"
    (data / "member").mkdir(parents=True)
    assert need.diff(sh(shell, need.probe(), tmp_path))
    mark = Path(moved(Command("kubeadm join", "", "").mark, tmp_path))
    mark.parent.mkdir(parents=True)
    mark.write_text("kubeadm join")
    assert not need.diff(sh(shell, need.probe(), tmp_path))
    (data / "lost+found").mkdir()
    (line,) = need.diff(sh(shell, need.probe(), tmp_path)).lines
    assert line.endswith(": lost+found")
    (tmp_path / "etc/kubernetes").mkdir(parents=True)
    (tmp_path / "etc/kubernetes/kubelet.conf").write_text("a node has what it has")
    assert not need.diff(sh(shell, need.probe(), tmp_path))
