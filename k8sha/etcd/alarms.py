"""Alarms in etcd whose member is gone, and how its gateway is asked to change something."""

from __future__ import annotations

import json
from typing import Any

from attrs import frozen

from k8sha.etcd.access import Access
from k8sha.etcd.membership import membership_functions
from k8sha.etcd.views import LOCAL, list_members, members_in
from k8sha.report import Diff
from k8sha.resources.resource import Resource
from k8sha.waiting import NotYet

__all__ = ["AlarmsGone", "answer", "asked", "silent"]


def asked(access: Access, path: str, data: str, *, seconds: int = 5) -> str:
    """Shell that asks the gateway, prints the answer, and fails where that is an error."""
    ask = f"{access.curl} --max-time {seconds} --fail-with-body {LOCAL}/v3/{path} -d {data}"
    return f"said=$({ask} 2>&1) || {{ printf '%s\\n' \"$said\" >&2; exit 1; }}"


def answer(seen: bytes) -> dict[str, Any] | None:
    """What a member said, None where it said nothing of use."""
    try:
        found = json.loads(seen)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def silent(seen: bytes) -> str:
    """What to say of a member that said nothing of use."""
    return f"etcd does not answer: {' '.join(seen.decode(errors='replace').split())[-200:]}"


@frozen
class AlarmsGone(Resource):
    """No alarm is left of what is no member any more. One of a member stays: CORRUPT is never put out blindly, but
    with the member that raised it its reason has gone, and while it is there etcd answers no client."""

    access: Access

    @property
    def key(self) -> str:
        return "no alarm of a member that has left etcd"

    @property
    def _ask(self) -> str:
        return f'{self.access.curl} {LOCAL}/v3/maintenance/alarm -d \'{{"action":"GET"}}\''

    def probe(self) -> str:
        return f"""\
{self._ask} 2>&1 | tr -d '\\n' || echo ' (no answer)'
echo
{list_members(self.access)} 2>&1 || echo ' (no answer)'"""

    def diff(self, seen: bytes) -> Diff:
        first, _, rest = seen.partition(b"\n")
        said = answer(first)
        try:
            known = {member.id for member in members_in(rest.decode(errors="replace"))}
        except (NotYet, ValueError):
            return Diff.of(silent(rest))
        if said is None:
            return Diff.of(silent(first))
        raised = [each for each in said.get("alarms", []) if str(each.get("memberID", "0")) not in {*known, "0"}]
        return Diff(tuple(f"- {each.get('alarm')} of {each.get('memberID')}, which is no member" for each in raised))

    def apply(self) -> str:
        data = '{\\"action\\":\\"DEACTIVATE\\",\\"memberID\\":\\"$id\\",\\"alarm\\":\\"$alarm\\"}'
        return f"""\
{membership_functions(self.access)}
known=$(listed | sed -n 's/^"ID":"\\([0-9]*\\)".*/\\1/p')
if [ -z "$known" ]; then echo 'etcd gives no member list' >&2; exit 1; fi
raised=$({self._ask})
{{ printf '%s' "$raised" | tr -d ' \\n'; echo; }} | tr '{{' '\\n' |
  sed -n 's/^"memberID":"\\([0-9]*\\)","alarm":"\\([A-Z]*\\)".*/\\1 \\2/p' |
  while read -r id alarm; do
    if printf '%s\\n' "$known" | grep -qx "$id"; then continue; fi
    {asked(self.access, "maintenance/alarm", f'"{data}"')}
  done"""
