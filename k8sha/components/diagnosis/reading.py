"""From what a host printed to its symptoms; whatever it printed, this never fails."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from k8sha.components.diagnosis.logs import parse_json, scrub, telling
from k8sha.components.diagnosis.symptoms import Disk, HostSymptoms, MemberSymptoms, Unit
from k8sha.etcd.unfinished import told

__all__ = ["read_symptoms"]


def read_symptoms(
    name: str, role: str, address: str, replies: Mapping[str, tuple[int, bytes, bytes]], *, sent: float, now: float
) -> HostSymptoms:
    """A host's symptoms from what its snippets printed. ``sent`` and ``now`` are when they were sent and answered."""
    said: dict[str, str] = {}
    failed: dict[str, str] = {}
    for part, (exit, out, err) in replies.items():
        said[part] = out.decode(errors="replace")
        if exit != 0:
            reason = err.decode(errors="replace").strip().splitlines()
            failed[part] = "it took too long" if exit in (124, 137) else scrub(reason[-1] if reason else f"exit {exit}")
    clock = _number(said.get("clock", ""))
    balancer = said.get("balancer", "").splitlines()
    state, *missing = [*said.get("state", "").split("\n"), ""]
    words = dict(line.split(" ", 1) for line in balancer if line.count(" ") == 1)
    return HostSymptoms(
        name,
        role,
        address,
        units=_units(said.get("units", "")),
        disks=tuple(_disks(said.get("disks", ""))),
        clock=(clock - now, clock - sent) if clock else (0.0, 0.0),
        certificates=tuple(_certificates(said.get("certificates", ""), now)),
        etcd=_member(said.get("etcd", "")),
        containers=_guarded(_containers, said.get("containers", "")),
        state=_state(role, state.strip(), missing),
        missing=tuple(line.removeprefix("+ ") for line in missing if line.startswith("+ ")),
        api=_api(said.get("api", "")),
        endpoint=scrub(" ".join(said.get("endpoint", "").split())[-200:]),
        holds_vip=words.get("vip") == "here",
        vrrp=words.get("vrrp", ""),
        drained=words.get("drained", "0") != "0",
        backends=_guarded(_backends, said.get("balancer", "")),
        not_ready=tuple(_not_ready(said.get("nodes", ""))),
        join_secrets=tuple(line.split()[0] for line in said.get("secrets", "").splitlines() if _joins(line)),
        restore=told(said.get("restore", "")),
        logs=_logs(said.get("logs", "")),
        failed=failed,
    )


def _state(role: str, state: str, missing: Sequence[str]) -> str:
    """A worker that has all its files is done, though it has not those of a master."""
    whole = role != "master" and not any(line.startswith("+ ") for line in missing)
    return "done" if state == "partial" and whole else state


def _number(text: str) -> float:
    try:
        return float(text.strip())
    except ValueError:
        return 0.0


def _guarded(parse: Callable[[str], dict[str, str]], text: str) -> dict[str, str]:
    """What a parser makes of a text; nothing where the text was cut off or is not what was asked for."""
    try:
        return parse(text)
    except (ValueError, KeyError, TypeError):
        return {}


def _units(text: str) -> dict[str, Unit]:
    found: dict[str, Unit] = {}
    values: dict[str, str] = {}
    for line in [*text.splitlines(), "Id="]:
        key, _, value = line.partition("=")
        if key in values:  # the next unit's
            found[values.get("Id", "").removesuffix(".service")] = Unit(
                there=values.get("LoadState") == "loaded",
                active=values.get("ActiveState", "unknown"),
                result=values.get("Result", ""),
                restarts=int(values.get("NRestarts") or 0),
                enabled=values.get("UnitFileState", ""),
            )
            values = {}
        if key:
            values[key] = value
    return {name: unit for name, unit in found.items() if name}


def _disks(text: str) -> Iterator[Disk]:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 4 and words[1].isdigit() and words[2].isdigit():
            used = words[3].rstrip("%")
            yield Disk(words[0], int(words[1]), int(words[2]), 100 - int(used) if used.isdigit() else 100)


def _certificates(text: str, now: float) -> Iterator[tuple[str, float]]:
    for line in text.splitlines():
        end, _, path = line.partition(" ")
        if end.isdigit():
            yield path, (int(end) - now) / 86400


def _member(text: str) -> MemberSymptoms:
    first, health, listed, status, alarms, *_ = [*text.splitlines(), "", "", "", "", ""]
    if first != "expected":
        return MemberSymptoms()
    members, own, raised = (parse_json(part) for part in (listed, status, alarms))
    every = [each for each in members.get("members") or () if isinstance(each, dict)]
    voters = tuple((str(each.get("name", "")), _address(each)) for each in every if not each.get("isLearner"))
    header = own.get("header")
    leader = str(own.get("leader", "0"))
    error = "" if parse_json(health) else " ".join(health.split())
    return MemberSymptoms(
        expected=True,
        healthy='"health":"true"' in health.replace(" ", ""),
        error=scrub(error[-200:]),
        voters=voters,
        learners=tuple(_address(each) for each in every if each.get("isLearner")),
        leader=isinstance(header, dict) and str(header.get("member_id", "")) == leader,
        has_leader=leader not in ("0", ""),
        alarms=tuple(str(each.get("alarm", "")) for each in raised.get("alarms") or [] if isinstance(each, dict)),
        version=str(own.get("version", "")),
    )


def _address(member: Mapping[str, object]) -> str:
    urls = member.get("peerURLs")
    url = str(urls[0]) if isinstance(urls, list) and urls else ""
    return url.removeprefix("https://").removeprefix("http://").rpartition(":")[0].strip("[]")


def _containers(text: str) -> dict[str, str]:
    newest: dict[str, tuple[int, str]] = {}
    for each in json.loads(text)["containers"]:
        name, created = each["metadata"]["name"], int(each["createdAt"])
        state = each["state"].removeprefix("CONTAINER_").lower()
        tries = int(each["metadata"].get("attempt", 0))
        if created >= newest.get(name, (-1, ""))[0]:
            newest[name] = (created, state if state == "running" else f"{state} after {tries} restarts")
    return {name: state for name, (_, state) in newest.items()}


def _api(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    failed = [line for line in text.splitlines() if line.startswith("[-]")]
    if "readyz check passed" in text and not failed:
        return "ok"
    return scrub("; ".join(failed) or " ".join(text.split())[-200:])


def _backends(text: str) -> dict[str, str]:
    at = text.find("# pxname")
    if at < 0:
        return {}
    rows = csv.DictReader(io.StringIO(text[at + 2 :]))
    return {row["svname"]: row["status"] for row in rows if row["pxname"] == "kube-apiserver" and row.get("status")}


def _not_ready(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split()
        if len(words) >= 2 and not words[1].startswith("Ready"):
            yield words[0]


def _joins(line: str) -> bool:
    return line.startswith(("bootstrap-token-", "kubeadm-certs"))


def _logs(text: str) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("== "):
            lines = found.setdefault(line[3:], [])
        elif line.strip():
            lines.append(line.strip())
    return {name: tuple(telling(kept)) for name, kept in found.items()}
