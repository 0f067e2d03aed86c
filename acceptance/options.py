"""What was asked for on the command line, and words that are said in several places."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

__all__ = ["NOT_TESTED", "NO_KUBERNETES", "Broken", "Options"]

NOT_TESTED = "not put to the test, for the cluster was broken before"
NO_KUBERNETES = (
    "Kubernetes was not installed: {reason}. The balancers were certified in front of stand-ins for the API servers. "
    "For the whole cluster pass --bundle PATH (docs/bundle.md says how to make one), or run where package repositories "
    "can be reached."
)


class Broken(AssertionError):
    """A promise was put to the test and did not hold; the text says how."""


@frozen
class Options:
    """What was asked for on the command line."""

    report: Path
    cluster: Path | None = None
    bundle: Path | None = None
    stand_ins: bool = False
    lab: bool = True
    keep: bool = False
    seed: int = 0
    repeat: int = 1
    slack: float = 1.0
    command: str = ""
