"""Objects field by field: what differs between two of them, and which of their fields are still ours."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator

from k8sha.kube import FIELD_MANAGER, Json
from k8sha.objects.identity import HASH, OWNER
from k8sha.report import Diff, line_diff

__all__ = ["changed", "created", "intact", "managers", "written"]

_SHOWN = 100
"""Longer values are shown by their length and hash."""

_NOISE = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp", "selfLink")
_NUMBERED = (HASH, "deployment.kubernetes.io/revision", "deprecated.daemonset.template.generation")
"""Annotations that change with the object and say nothing."""

_SAID = (".apiVersion", ".kind", ".metadata.name", ".metadata.namespace", f".metadata.labels[{OWNER}]")
_CREATED_LINES = 30
"""More fields of a new object are counted, not shown: nobody reads a definition of a thousand lines in a plan."""


def changed(live: Json, after: Json) -> Diff:
    """What an apply would change in an object, by the server's own word on what it would be after it."""
    old, new = dict(_leaves(_plain(live), "")), dict(_leaves(_plain(after), ""))
    secret = after.get("kind") == "Secret"
    lines: list[str] = []
    for path in dict.fromkeys([*old, *new]):
        if path not in new:
            lines.append(f"- {path}: {_shown(old[path], path, secret)}")
        elif path not in old:
            lines.append(f"+ {path}: {_shown(new[path], path, secret)}")
        elif old[path] != new[path]:
            lines += _between(path, old[path], new[path], secret)
    return Diff(tuple(lines))


def created(wanted: Json, note: str = "") -> Diff:
    """A new object: the fields that we ask for, without those that the server would fill in. ``note`` says why no more
    is known."""
    secret = wanted.get("kind") == "Secret"
    leaves = [
        f"+ {path}: {_shown(value, path, secret)}" for path, value in _leaves(_plain(wanted), "") if path not in _SAID
    ]
    if wanted["kind"] == "CustomResourceDefinition" or len(leaves) > _CREATED_LINES:
        kept = [line for line in leaves if line.rpartition(": ")[0].endswith((".image", ".replicas"))][:_CREATED_LINES]
        leaves = [*kept, f"+ {len(leaves) - len(kept)} fields more"]
    return Diff.of(f"+ new {note}".rstrip(), *leaves)


def _plain(item: Json) -> Json:
    meta = {key: value for key, value in item["metadata"].items() if key not in _NOISE}
    annotations = {key: value for key, value in (meta.get("annotations") or {}).items() if key not in _NUMBERED}
    meta["annotations"] = annotations
    return {key: value for key, value in item.items() if key != "status"} | {"metadata": meta}


def _leaves(value: Json, path: str) -> Iterator[tuple[str, Json]]:
    if isinstance(value, dict):
        for key, part in value.items():
            dotted = f".{key}" if "." not in key and "/" not in key else f"[{key}]"
            yield from _leaves(part, path + dotted)
        if not value and path and path != ".metadata.annotations":
            yield path, {}
    elif isinstance(value, list) and value and all(isinstance(part, dict) for part in value):
        names = [part.get("name") for part in value]
        unique = None not in names and len(set(map(str, names))) == len(names)
        for index, part in enumerate(value):
            yield from _leaves(part, f"{path}[{names[index] if unique else index}]")
    else:
        yield path, value


def _is_secret(path: str, secret: bool) -> bool:
    return secret and path.startswith((".data", ".stringData", ".metadata.annotations[kubectl"))


def _shown(value: Json, path: str, secret: bool) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    sum = hashlib.sha256(text.encode()).hexdigest()[:8]
    if _is_secret(path, secret):
        return f"(secret, sha256 {sum})"
    if len(text) > _SHOWN or "\n" in text:
        return f"({len(text)} characters, sha256 {sum})"
    return text or '""'


def _between(path: str, old: Json, new: Json, secret: bool) -> list[str]:
    texts = isinstance(old, str) and isinstance(new, str) and ("\n" in old or "\n" in new)
    if texts and not _is_secret(path, secret):
        return [f"{path}:", *(f"  {line}" for line in line_diff(old, new) or ("differs in its line ends",))]
    return [f"{path}: {_shown(old, path, secret)} -> {_shown(new, path, secret)}"]


def intact(wanted: Json, live: Json) -> bool:
    """Whether an apply of this object would change nothing, known without asking the server.

    It was applied last as it is wanted now (its hash says so), and each of its fields is still ours: whoever changes a
    field's value takes it away from us in ``managedFields``, and who removes it as well. A Secret has no hash.
    """
    sum = wanted["metadata"].get("annotations", {}).get(HASH)
    if sum is None or live["metadata"].get("annotations", {}).get(HASH) != sum:
        return False
    for entry in live["metadata"].get("managedFields", ()):
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply" and not entry.get("subresource"):
            meta = {key: value for key, value in wanted["metadata"].items() if key not in ("name", "namespace")}
            rest = {key: value for key, value in wanted.items() if key not in ("apiVersion", "kind")}
            return _owned(rest | {"metadata": meta}, entry.get("fieldsV1") or {})
    return False


def _owned(wanted: Json, fields: Json) -> bool:
    parts = {key: value for key, value in fields.items() if key != "."}
    if not parts:  # a plain value, or a list or map that is owned as a whole
        return True
    if isinstance(wanted, dict):
        return all(
            value is None or (f"f:{key}" in parts and _owned(value, parts[f"f:{key}"])) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return all(_item_owned(item, parts) for item in wanted)
    return True


def _item_owned(item: Json, parts: Json) -> bool:
    for key, fields in parts.items():
        if key.startswith("v:") and json.loads(key[2:]) == item:
            return True
        if key.startswith("k:") and isinstance(item, dict):
            by = json.loads(key[2:])
            if all(name not in item or item[name] == value for name, value in by.items()) and _owned(item, fields):
                return True
    return False


def managers(live: Json) -> str:
    """Who has written to an object, for a message."""
    names = dict.fromkeys(str(entry.get("manager", "")) for entry in live["metadata"].get("managedFields", ()))
    return ", ".join(name for name in names if name) or "nobody knows whom"


def written(live: Json) -> bool:
    """Whether fields of an object are ours."""
    return any(entry.get("manager") == FIELD_MANAGER for entry in live["metadata"].get("managedFields", ()))
