"""Removing members by real shells: exactly those that must go, asked of an etcd that is a script."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from k8sha.components.etcd import forget_member
from k8sha.components.membership import MembersRemoved

from .local import KINDS, SHELLS

CURL = """\
#!/bin/sh
# Lists what is in $MEMBERS; member $LEADER leads, ours is 2; writes down who hands over and what is to be removed.
# The first of the $SILENT answers to a removal do not arrive, though it is carried out.
for word; do
  case $word in
    */member/list) cat "$MEMBERS";;
    */maintenance/status)
      echo "{\\"header\\":{\\"member_id\\":\\"2\\"},\\"leader\\":\\"$(cat "$LEADER")\\"}";;
    */maintenance/transfer-leadership) at=${word%%/v3*};;
    '{"targetID":"2"}') echo "hands over $at" >>"$REMOVED"; echo 2 >"$LEADER";;
    */member/remove) remove=1;;
    '{"ID":'*)
      if [ -z "${remove:-}" ]; then continue; fi
      if grep -qxF "$word" "$REMOVED"; then echo '{"message":"etcdserver: member not found"}'; exit 22; fi
      echo "$word" >>"$REMOVED"
      if [ -n "$SILENT" ]; then echo 'curl: (28) Operation timed out'; exit 28; fi
      exit "$REFUSES";;
  esac
done
"""


def member(id: int, name: str, address: str, *, learner: bool = False) -> dict[str, object]:
    found: dict[str, object] = {"ID": str(id), "peerURLs": [f"https://{address}:2380"]}
    if name:
        found |= {"name": name, "clientURLs": [f"https://{address}:2379"]}
    return found | ({"isLearner": True} if learner else {})


def remove(
    folder: Path,
    shell: str,
    members: list[dict[str, object]],
    *addresses: str,
    script: str = "",
    refuses: int = 0,
    leader: int = 3,
    silent: bool = False,
) -> tuple[int, list[str]]:
    """Exit code, and the ids that were removed, or who handed the leader's office over."""
    (folder / "curl").write_text(CURL)
    (folder / "curl").chmod(0o755)
    (folder / "members").write_text(json.dumps({"header": {"cluster_id": "1", "member_id": "2"}, "members": members}))
    removed = folder / "removed"
    removed.write_text("")
    (folder / "leader").write_text(f"{leader}\n")
    done = subprocess.run(
        [*SHELLS[shell], "-eu", "-c", script or MembersRemoved(addresses).apply()],
        env={
            "PATH": f"{folder}:{os.environ['PATH']}",
            "MEMBERS": str(folder / "members"),
            "REMOVED": str(removed),
            "REFUSES": str(refuses),
            "LEADER": str(folder / "leader"),
            "SILENT": "yes" * silent,
        },
        check=False,
    )
    lines = removed.read_text().splitlines()
    return done.returncode, [json.loads(line)["ID"] if line.startswith("{") else line for line in lines]


VOTERS = [member(number, f"m-{number}", f"192.168.56.1{number}") for number in (1, 2, 3)]


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize(
    ("more", "addresses", "ids"),
    [
        ([], ("192.168.56.11",), ["1"]),
        ([], ("192.168.56.1",), []),  # no part of another address
        ([], (), []),
        ([], ("192.168.56.11", "192.168.56.13"), ["1", "hands over https://192.168.56.13:2379", "3"]),
        ([], ("192.168.56.13", "192.168.56.11"), ["hands over https://192.168.56.13:2379", "3", "1"]),
        ([member(4, "", "192.168.56.14", learner=True)], ("192.168.56.11",), ["4", "1"]),
        ([member(4, "m-4", "192.168.56.14", learner=True)], (), ["4"]),
        ([member(4, "", "192.168.56.14")], (), ["4"]),
        ([member(18446744073709551615, "m-4", "192.168.56.14")], ("192.168.56.14",), ["18446744073709551615"]),
    ],
)
def test_those_that_must_go_go_and_nobody_else(
    tmp_path: Path, shell: str, more: list[dict[str, object]], addresses: tuple[str, ...], ids: list[str]
) -> None:
    assert remove(tmp_path, shell, [*VOTERS, *more], *addresses) == (0, ids)


@pytest.mark.parametrize("shell", KINDS)
def test_a_removal_that_etcd_refuses_is_an_error(tmp_path: Path, shell: str) -> None:
    exit, _ = remove(tmp_path, shell, VOTERS, "192.168.56.11", refuses=22)
    assert exit != 0


@pytest.mark.parametrize("shell", KINDS)
def test_a_leader_hands_over_before_it_goes(tmp_path: Path, shell: str) -> None:
    """If it went as the leader of two, the other would never learn of it, nor have a quorum again."""
    assert remove(tmp_path, shell, VOTERS[1:], "192.168.56.13") == (0, ["hands over https://192.168.56.13:2379", "3"])


@pytest.mark.parametrize("shell", KINDS)
def test_a_removal_whose_answer_is_lost_is_done_all_the_same(tmp_path: Path, shell: str) -> None:
    assert remove(tmp_path, shell, VOTERS, "192.168.56.11", silent=True) == (0, ["1"])


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize(
    ("half", "gone"),
    [
        (member(3, "m-3", "192.168.56.13"), ["hands over https://192.168.56.13:2379", "3"]),  # a voter that leads
        (member(4, "", "192.168.56.13", learner=True), ["4"]),
        (member(4, "", "192.168.56.13"), ["4"]),
        (member(4, "m-4", "192.168.56.130"), []),  # another host's, whose address begins alike
    ],
)
def test_what_a_dead_join_left_is_removed_before_the_next(
    tmp_path: Path, shell: str, half: dict[str, object], gone: list[str]
) -> None:
    script = forget_member("192.168.56.13")
    assert remove(tmp_path, shell, [*VOTERS[:2], half], script=script) == (0, gone)


@pytest.mark.parametrize("shell", KINDS)
def test_a_half_joined_member_that_etcd_does_not_let_go_is_an_error(tmp_path: Path, shell: str) -> None:
    exit, _ = remove(tmp_path, shell, VOTERS, script=forget_member("192.168.56.11"), refuses=22)
    assert exit != 0
