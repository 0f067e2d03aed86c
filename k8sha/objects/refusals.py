"""What the API server's refusals mean, by its own words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from k8sha.errors import KubeError

__all__ = ["IMMUTABLE", "MADE_ANEW", "TAKEN", "conflicts", "fields_named", "webhook_down"]

TAKEN = "provided port is already allocated"

IMMUTABLE = re.compile(r"is immutable|: updates to |cannot change roleRef")
"""How the API server says that a field stays as it was made."""

MADE_ANEW = {
    "Job": "a Job can't be changed",
    "StorageClass": "a StorageClass can't be changed, and volumes that are there need none",
}
"""Kinds whose objects may go for a moment, and come back changed."""


def fields_named(error: KubeError) -> str:
    """The fields that were refused; all that was said where none is named."""
    details = error.details if isinstance(error.details, dict) else {}
    named = [str(cause["field"]) for cause in details.get("causes") or () if cause.get("field")]
    return ", ".join(f".{name}" for name in dict.fromkeys(named)) or error.message


def webhook_down(error: KubeError) -> bool:
    """Whether an admission webhook did not answer: nothing was said about the object itself."""
    return error.status == 500 and "failed calling webhook" in error.message


def conflicts(error: KubeError) -> Iterator[tuple[str, str, bool]]:
    """Manager, field, and whether that was somebody with kubectl at hand: then it is drift, which an install mends.

    A manager that applied, or a controller, is an owner: nothing is taken from it without being told to.
    """
    details = error.details if isinstance(error.details, dict) else {}
    for cause in details.get("causes") or ():
        found = re.match(r'conflict with "([^"]*)"(.*)', cause.get("message", ""))
        if cause.get("reason") == "FieldManagerConflict" and found:
            who, how = found.groups()
            yield who, cause.get("field", ""), who.startswith("kubectl") and " using " in how
