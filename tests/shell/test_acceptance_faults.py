"""The shell that breaks one process of a host, on processes that are made for it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.faults import EtcdHung, EtcdKilled, Fault, Promise
from k8sha.hosts import Host

LISTENS = """\
#!/bin/sh
# As iproute2 6.1 prints it of a member that listens on two addresses.
[ "$*" = "-Hltnp sport = :2379" ] || exit 2
echo 'LISTEN 0      4096   192.0.2.10:2379 0.0.0.0:* users:(("etcd",pid=PID,fd=7))'
echo 'LISTEN 0      4096    127.0.0.1:2379 0.0.0.0:* users:(("etcd",pid=PID,fd=6))'
"""


@pytest.fixture
def member(tmp_path: Path, host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ``ss`` tells of as etcd's member."""
    process = subprocess.Popen(["sleep", "60"])
    listens = tmp_path / "tools" / "ss"
    listens.write_text(LISTENS.replace("PID", str(process.pid)))
    listens.chmod(0o755)
    yield process
    process.kill()
    process.wait()


def state(process: subprocess.Popen[bytes]) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]


def do(host: Host, text: str) -> None:
    exit, _, err = host.execute(text)
    assert exit == 0, err.decode()


def fault(kind: type[EtcdHung | EtcdKilled]) -> EtcdHung | EtcdKilled:
    made: Fault = kind("etcd", "etcd", "", Promise())
    assert isinstance(made, kind)
    return made


def test_the_member_hangs_and_goes_on(host: Host, member: subprocess.Popen[bytes]) -> None:
    hung = fault(EtcdHung)
    do(host, hung.harm)
    assert state(member) == "T"
    do(host, hung.heal)
    assert state(member) == "S"


def test_the_member_dies(host: Host, member: subprocess.Popen[bytes]) -> None:
    do(host, fault(EtcdKilled).harm)
    assert member.wait(5) == -9


def test_where_no_member_listens_nothing_is_broken_and_that_is_told(host: Host, tmp_path: Path) -> None:
    silent = tmp_path / "tools" / "ss"
    silent.write_text("#!/bin/sh\n")
    silent.chmod(0o755)
    for kind in (EtcdHung, EtcdKilled):
        assert host.execute(fault(kind).harm)[0] != 0
        do(host, fault(kind).heal)
