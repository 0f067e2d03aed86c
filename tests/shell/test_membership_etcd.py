"""What real shells ask of a real etcd: members that leave in the right order, alarms of those that are gone, learners.

Three members on addresses of the loopback; needs the program ``etcd`` in the PATH. The shells' curl is told which
member is theirs, and trusts the certificates that etcd makes for itself.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from k8sha.components.membership import MembersRemoved
from k8sha.etcd.access import Access
from k8sha.etcd.agreed import Agreed
from k8sha.etcd.alarms import AlarmsGone
from k8sha.etcd.conditions import CaughtUp
from k8sha.etcd.membership import LearnerAdded, Promoted
from k8sha.etcd.tools import BIN
from k8sha.etcd.views import LOCAL
from k8sha.resources.resource import Resource

from .local import SHELLS

ETCD, CURL, ETCDCTL = (shutil.which(name) for name in ("etcd", "curl", "etcdctl"))
STACKED = Access(stacked=True)
ADDRESSES = ("127.0.57.11", "127.0.57.12", "127.0.57.13")

pytestmark = [
    pytest.mark.skipif(ETCD is None or CURL is None, reason="needs the programs etcd and curl"),
    pytest.mark.timeout(180),
]

WRAPPER = """\
#!/bin/sh
left=$#
while [ $left -gt 0 ]; do
  word=$1; shift; left=$((left - 1))
  case $word in
    --cacert | --cert | --key) shift; left=$((left - 1));;
    https://127.0.0.1:2379*) set -- "$@" "https://$OWN:2379${word#https://127.0.0.1:2379}";;
    *) set -- "$@" "$word";;
  esac
done
exec CURL -k "$@"
"""


@define
class Members:
    """An etcd of three. Mutable: its members die."""

    folder: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(factory=dict)

    def start(self, address: str, cluster: tuple[str, ...] = ADDRESSES, *, state: str = "new") -> None:
        assert ETCD is not None
        given = {
            "name": f"m-{address.rpartition('.')[2]}",
            "data-dir": str(self.folder / address),
            "listen-client-urls": f"https://{address}:2379",
            "advertise-client-urls": f"https://{address}:2379",
            "listen-peer-urls": f"https://{address}:2380",
            "initial-advertise-peer-urls": f"https://{address}:2380",
            "initial-cluster": ",".join(f"m-{each.rpartition('.')[2]}=https://{each}:2380" for each in cluster),
            "initial-cluster-state": state,
            "log-level": "error",
        }
        words = [ETCD, "--auto-tls", "--peer-auto-tls", *(f"--{name}={value}" for name, value in given.items())]
        with (self.folder / f"{address}.log").open("wb") as log:
            self.processes[address] = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self, address: str) -> None:
        self.processes[address].kill()
        self.processes[address].wait()

    def run(self, text: str, own: str, *, shell: str = "dash") -> str:
        path = f"{self.folder}:{os.environ['PATH']}"
        done = subprocess.run(
            [*SHELLS[shell], "-eu", "-c", text],
            env={"PATH": path, "OWN": own},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def make_so(self, resource: Resource, own: str) -> None:
        assert resource.diff(self.run(resource.probe(), own).encode())
        self.run(resource.apply(), own)
        assert not resource.diff(self.run(resource.probe(), own).encode())

    def ask(self, own: str, path: str, data: dict[str, Any]) -> dict[str, Any]:
        answer = self.run(f"{STACKED.curl} {LOCAL}/v3/{path} -d '{json.dumps(data)}' || echo '{{}}'", own)
        found: dict[str, Any] = json.loads(answer.strip().splitlines()[-1] or "{}")
        return found

    def ids(self, own: str) -> dict[str, str]:
        listed = self.ask(own, "cluster/member/list", {"linearizable": False}).get("members", [])
        return {each["peerURLs"][0].split("/")[2].partition(":")[0]: each["ID"] for each in listed}

    def leader(self, own: str) -> str:
        lead = self.ask(own, "maintenance/status", {}).get("leader")
        return next((address for address, id in self.ids(own).items() if id == lead), "")

    def writes(self, own: str) -> bool:
        return "header" in self.ask(own, "kv/put", {"key": "YQ==", "value": "YQ=="})


def until(holds: Any, what: str) -> None:
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.2)  # nothing tells us


@pytest.fixture
def members(tmp_path: Path) -> Iterator[Members]:
    (tmp_path / "curl").write_text(WRAPPER.replace("CURL", str(CURL)))
    (tmp_path / "curl").chmod(0o755)
    found = Members(tmp_path)
    try:
        for address in ADDRESSES:
            found.start(address)
        until(lambda: all(found.leader(address) and found.writes(address) for address in ADDRESSES), "it serves")
        yield found
    finally:
        for process in found.processes.values():
            process.kill()
            process.wait()


def test_a_dead_one_and_the_leader_leave_and_the_last_one_goes_on(members: Members) -> None:
    """etcd would not let the leader go while the dead one counts, and the last one must learn that it is alone."""
    lead = members.leader(ADDRESSES[0])
    dead, last = (address for address in ADDRESSES if address != lead)
    members.kill(dead)
    members.make_so(MembersRemoved((dead, lead)), last)
    members.kill(lead)
    assert list(members.ids(last)) == [last]
    until(lambda: members.writes(last), "the last one serves alone")


def test_the_leader_of_two_leaves_and_the_other_goes_on(members: Members) -> None:
    lead = members.leader(ADDRESSES[0])
    first, last = (address for address in ADDRESSES if address != lead)
    members.make_so(MembersRemoved((first,)), last)
    members.make_so(MembersRemoved((members.leader(last),) if members.leader(last) != last else (lead,)), last)
    members.kill(lead)
    until(lambda: members.writes(last), "the last one serves alone")


def test_a_member_joins_anew_and_its_alarm_goes_with_the_old_one(members: Members) -> None:
    lead = members.leader(ADDRESSES[0])
    ill = next(address for address in ADDRESSES if address != lead)
    old = members.ids(lead)[ill]
    members.ask(lead, "maintenance/alarm", {"action": "ACTIVATE", "memberID": old, "alarm": "CORRUPT"})
    assert not members.writes(lead)
    members.kill(ill)
    shutil.rmtree(members.folder / ill)
    members.make_so(LearnerAdded(address=ill, access=STACKED), lead)
    assert not members.writes(lead), "an alarm outlives its member"
    members.make_so(AlarmsGone(STACKED), lead)
    assert members.writes(lead)
    members.start(ill, state="existing")
    caught_up = CaughtUp(ill, access=STACKED)
    until(lambda: not caught_up.diff(members.run(caught_up.probe(), lead).encode()), "it has caught up")
    members.make_so(Promoted(address=ill, access=STACKED), lead)
    until(lambda: members.writes(ill), "it serves")
    assert members.ids(lead)[ill] != old


@pytest.mark.skipif(ETCDCTL is None, reason="needs the program etcdctl")
def test_all_agree_on_their_keys(members: Members) -> None:
    """The hashes come from etcdctl, whose words vary with its version."""
    expected = tuple((f"m-{address.rpartition('.')[2]}", address) for address in ADDRESSES)
    (members.folder / "etcdctl").write_text(
        f'#!/bin/sh\nexec {ETCDCTL} --insecure-transport=false --insecure-skip-tls-verify "$@"\n'
    )
    (members.folder / "etcdctl").chmod(0o755)
    agreed = Agreed(Access(stacked=True), expected)
    text = agreed.probe().replace(BIN, str(members.folder)).replace(STACKED.credentials, "")
    until(lambda: not agreed.diff(members.run(text, ADDRESSES[0]).encode()), "they agree")
    assert agreed.whole(members.run(text, ADDRESSES[0]).encode()).revision > 0
