"""What a member reads that joins anew, written by real shells; and alarms of members that are gone, put out by them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from k8sha.etcd.access import Access
from k8sha.etcd.alarms import AlarmsGone
from k8sha.etcd.fence import FENCED, MANIFESTS
from k8sha.etcd.rejoin import JoinsAs

from .local import KINDS, SHELLS

FIRST = """\
spec:
  containers:
  - command:
    - etcd
    - --initial-advertise-peer-urls=https://192.168.56.10:2380
    - --initial-cluster=m-1=https://192.168.56.10:2380
    - --key-file=/etc/kubernetes/pki/etcd/server.key
"""
JOINED = FIRST.replace("2380\n    - --key", "2380\n    - --initial-cluster-state=existing\n    - --key")
JOINS = JoinsAs((("m-1", "https://192.168.56.10:2380"), ("m-2", "https://192.168.56.11:2380")))


def run(shell: str, text: str, folder: Path, **more: str) -> str:
    for name in (FENCED, MANIFESTS):
        text = text.replace(name, str(folder / Path(name).name))
    path = f"{folder}:{os.environ['PATH']}"
    done = subprocess.run(
        [*SHELLS[shell], "-eu", "-c", text], env={"PATH": path, **more}, check=True, capture_output=True, text=True
    )
    return done.stdout


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize("manifest", [FIRST, JOINED])
def test_a_manifest_gets_the_members_and_nothing_else_changes(tmp_path: Path, shell: str, manifest: str) -> None:
    for name in (FENCED, MANIFESTS):
        (tmp_path / Path(name).name).mkdir()
    file = tmp_path / Path(FENCED).name / "etcd.yaml"
    file.write_text(manifest)
    assert JOINS.diff(run(shell, JOINS.probe(), tmp_path).encode())
    for _ in range(2):
        run(shell, JOINS.apply(), tmp_path)
        assert not JOINS.diff(run(shell, JOINS.probe(), tmp_path).encode())
    both = "m-1=https://192.168.56.10:2380,m-2=https://192.168.56.11:2380"
    assert file.read_text() == JOINED.replace("cluster=m-1=https://192.168.56.10:2380", f"cluster={both}")


CURL = """\
#!/bin/sh
# Lists what is in $MEMBERS, says the alarms in $ALARMS, and writes down what is put out.
for word; do
  case $word in
    */member/list) cat "$MEMBERS";;
    '{"action":"GET"}') cat "$ALARMS";;
    '{"action":"DEACTIVATE"'*) printf '%s\\n' "$word" >>"$PUT_OUT"; echo '{}';;
  esac
done
"""


@pytest.mark.parametrize("shell", KINDS)
def test_alarms_are_put_out_of_those_that_are_gone_and_of_nobody_else(tmp_path: Path, shell: str) -> None:
    (tmp_path / "curl").write_text(CURL)
    (tmp_path / "curl").chmod(0o755)
    members = [{"ID": str(id), "name": f"m-{id}", "peerURLs": [f"https://192.168.56.1{id}:2380"]} for id in (1, 2)]
    (tmp_path / "members").write_text(json.dumps({"header": {}, "members": members}))
    raised = [{"alarm": "CORRUPT"}, {"memberID": "2", "alarm": "CORRUPT"}, {"memberID": "3", "alarm": "CORRUPT"}]
    (tmp_path / "alarms").write_text(json.dumps({"header": {"member_id": "1"}, "alarms": raised}))
    told = {name.upper().replace("-", "_"): str(tmp_path / name) for name in ("members", "alarms", "put-out")}
    gone = AlarmsGone(Access(stacked=True))
    assert gone.diff(run(shell, gone.probe(), tmp_path, **told).encode()).lines == (
        "- CORRUPT of 3, which is no member",
    )
    run(shell, gone.apply(), tmp_path, **told)
    said = [json.loads(line) for line in (tmp_path / "put-out").read_text().splitlines()]
    assert said == [{"action": "DEACTIVATE", "memberID": "3", "alarm": "CORRUPT"}]
    (tmp_path / "alarms").write_text('{"header":{}}')
    assert not gone.diff(run(shell, gone.probe(), tmp_path, **told).encode())


@pytest.mark.parametrize("shell", KINDS)
def test_no_alarm_is_put_out_where_nobody_says_who_is_a_member(tmp_path: Path, shell: str) -> None:
    (tmp_path / "curl").write_text(CURL)
    (tmp_path / "curl").chmod(0o755)
    (tmp_path / "members").write_text("curl: (28) Operation timed out")
    (tmp_path / "alarms").write_text(json.dumps({"alarms": [{"memberID": "2", "alarm": "CORRUPT"}]}))
    told = {name.upper().replace("-", "_"): str(tmp_path / name) for name in ("members", "alarms", "put-out")}
    with pytest.raises(subprocess.CalledProcessError):
        run(shell, AlarmsGone(Access(stacked=True)).apply(), tmp_path, **told)
    assert not (tmp_path / "put-out").exists()
