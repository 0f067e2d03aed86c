"""What was asked for on the command line, and words that are said in several places."""

from __future__ import annotations

from pathlib import Path

from attrs import frozen

__all__ = ["NEVER_TESTED", "NOT_TESTED", "NO_KUBERNETES", "Broken", "Options"]

NOT_TESTED = "not put to the test, for the cluster was broken before"
NO_KUBERNETES = (
    "Kubernetes was not installed: {reason}. The balancers were certified in front of stand-ins for the API servers, "
    "and etcd by itself on the masters: what is missing is all that runs in between. "
    "For the whole cluster pass --bundle PATH (docs/bundle.md says how to make one), or run where package repositories "
    "can be reached."
)

NEVER_TESTED = (
    ("A partition of the network, a full disk, a clock that jumps", "This suite does not inject them."),
    ("The loss of a majority of masters, or of a whole site", "Nothing is promised: etcd has no majority then."),
    ("What the hosts share", "Power, switches and storage under several of them fail together."),
)
"""What a reader might think was tested."""


class Broken(AssertionError):
    """A promise was put to the test and did not hold; the text says how."""


@frozen
class Options:
    """What was asked for on the command line."""

    report: Path
    cluster: Path | None = None
    bundle: Path | None = None
    stand_ins: bool = False
    compare: bool = False
    lab: bool = True
    keep: bool = False
    seed: int = 0
    repeat: int = 1
    slack: float = 1.0
    command: str = ""
