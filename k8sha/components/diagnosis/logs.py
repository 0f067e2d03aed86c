"""Log lines that tell something, short, and without anything that might be a secret."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from k8sha.kube import Json

__all__ = ["LINES", "TAIL", "parse_json", "scrub", "telling"]

LINES = 6
"""Log lines that are kept of each program: enough for a message and what led to it."""
TAIL = 40
"""Log lines that are read of each, because those that warn are kept rather than those that don't."""

_SECRETS = (
    re.compile(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b"),  # a bootstrap token
    re.compile(r"\beyJ[\w-]+\.[\w-]+(\.[\w-]+)?"),  # a JWT
    re.compile(r"(?<![0-9a-f:])[0-9a-f]{64}(?![0-9a-f])"),  # a certificate key; hashes of the same length go as well
    re.compile(
        r"(?i)((?:token|password|passwd|auth_pass|secret|certificate-key|bearer|authorization)\"?[=: ]+)[^\s,;]+"
    ),
    re.compile(r"\b[A-Za-z0-9+/]{80,}={0,2}"),  # a key's or a certificate's base64
)


def scrub(text: str) -> str:
    """A line of a log without what might be a secret: rather too much is taken out than too little."""
    for pattern in _SECRETS:
        text = pattern.sub(lambda found: (found[1] if found.lastindex else "") + "(secret)", text)
    return text


def telling(lines: Sequence[str]) -> list[str]:
    """The last lines that warn, or where none does, the last ones; short, and without what might be a secret."""
    short = [_short(line) for line in lines]
    warn = [text for text, warns in short if warns]
    return [scrub(text)[:240] for text in (warn or [text for text, _ in short])[-LINES:]]


def _short(line: str) -> tuple[str, bool]:
    """A line without the runtime's own words (``time stream F``), etcd's JSON as a sentence; and whether it warns."""
    line = re.sub(r"^\d{4}-\S+ (stdout|stderr) [FP] ", "", line)
    entry = parse_json(line) if line.startswith("{") else {}
    if "msg" in entry:
        level, error = str(entry.get("level", "")), str(entry.get("error", ""))
        said = f"{str(entry.get('ts', ''))[11:19]} {level}: {entry['msg']}{error and f': {error}'}"
        return said, level not in ("info", "debug")
    return line, bool(re.match(r"[EFW]\d{4} |.*(error|fatal|failed|panic|\[ALERT\])", line))


def parse_json(text: str) -> Json:
    """An answer of etcd's gateway, which is an object; an empty one where there was no answer."""
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
