"""What is left of a control plane on a host, and its end: in a world of processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from k8sha.components.restore import PODS_OF_CGROUPS
from k8sha.etcd.fence import IN_PODS, RUNNING, ended
from k8sha.etcd.present import HARMFUL

APART = ("unshare", "--pid", "--fork", "--mount-proc")


@pytest.fixture(autouse=True, scope="module")
def apart() -> None:
    try:
        subprocess.run([*APART, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs unshare, and the right to have processes of its own")


# One that lives, and one that has ended while its parent does not ask how: they keep their names.
PARENT = """\
import os, signal, subprocess, sys
def named(name, then):
    if (pid := os.fork()) == 0:
        open("/proc/self/comm", "w").write(name)
        then()
    return pid
living = named("kube-scheduler", signal.pause)
dead = named("kube-apiserver", lambda: os._exit(0))
os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
while open(f"/proc/{living}/comm").read() != "kube-scheduler\\n":
    pass
done = subprocess.run(["sh", "-eu", "-c", sys.argv[1]], capture_output=True, text=True)
print((done.stdout + done.stderr).replace(f"{living} ", "LIVING "), end="")
sys.exit(done.returncode)
"""


def run(text: str) -> tuple[int, str]:
    command = [*APART, sys.executable, "-c", PARENT, RUNNING + text]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def test_what_has_ended_and_was_not_reaped_does_not_run() -> None:
    assert run("running") == (0, "LIVING kube-scheduler\n")


def test_everything_is_ended_and_that_is_waited_for() -> None:
    assert run(f"{ended()}\nrunning; echo over") == (0, "over\n")


def test_what_does_not_end_is_told() -> None:
    stubborn = ended().replace("-KILL", "-CONT").replace("300", "3")
    exit, told = run(stubborn)
    assert (exit, told) == (1, "does not end: LIVING kube-scheduler\n")


def test_a_host_is_blank_where_nothing_runs_and_nothing_is_left(tmp_path: Path) -> None:
    text = HARMFUL.replace("/etc/kubernetes", f"{tmp_path}/kubernetes").replace("/var/lib", f"{tmp_path}/lib")
    _, told = run(text)
    assert told == "kube-scheduler runs\n"
    for place in ("kubernetes/manifests/kube-apiserver.yaml", "kubernetes/kubelet.conf", "lib/etcd/member/wal"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("")
    assert run(text)[1].splitlines() == [
        f"{tmp_path}/kubernetes/kubelet.conf is there",
        f"{tmp_path}/kubernetes/manifests/kube-apiserver.yaml is there",
        f"{tmp_path}/lib/etcd/member is there",
        "kube-scheduler runs",
    ]


SLICE = "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-2dbc.scope"
UID = "419c3a6d-8ffa-4756-8f68-218de805c8e5"
STATIC = "4177ae00482a5d591d44db7147c56b6c"


def test_what_runs_in_a_pod_is_known_by_its_cgroup(tmp_path: Path) -> None:
    for process, name, state, cgroup in (
        ("17", "nginx", "S", SLICE.format(uid=UID.replace("-", "_"))),
        ("18", "gone", "Z", SLICE.format(uid=UID.replace("-", "_"))),
        ("19", "sshd", "S", "0::/system.slice/ssh.service"),
        ("20", "etcd", "S", f"1:name=systemd:/docker/12ab/kubepods/burstable/pod{UID}/2dbc"),
    ):
        (tmp_path / process).mkdir()
        (tmp_path / process / "comm").write_text(name + "\n")
        (tmp_path / process / "stat").write_text(f"{process} (a) b) {state} 1 1\n")
        (tmp_path / process / "cgroup").write_text(cgroup + "\n")
    text = IN_PODS.replace("/proc/", f"{tmp_path}/") + "in_pods"
    done = subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "17 nginx\n20 etcd\n"


def test_cgroups_name_their_pods() -> None:
    lines = [
        SLICE.format(uid=UID.replace("-", "_")),
        SLICE.format(uid=STATIC),
        f"11:memory:/kubepods/besteffort/pod{UID}/2dbc",
        "0::/kubepods.slice/kubepods-burstable.slice",
        "0::/system.slice/kubelet.service",
    ]
    done = subprocess.run(
        ["sh", "-eu", "-c", PODS_OF_CGROUPS], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [STATIC, UID]
