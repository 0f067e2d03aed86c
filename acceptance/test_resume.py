"""Killing the installer again and again, in a fresh lab: ``acceptance/run --kills 20``.

Takes about a quarter of an hour, so it runs when it is asked for. The kills form one chain: every run goes on from what
the killed one before it left, and the last one must arrive at a cluster that verify() finds nothing wrong with.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from .resume import install_with_kills
from .session import Broken, Session

Record = Callable[[str, object], None]

TITLE = "Killed"


def test_killed_installer(
    session: Session, request: pytest.FixtureRequest, record_property: Record, capsys: pytest.CaptureFixture[str]
) -> None:
    """However often it is killed, running the installer again makes the same healthy cluster."""
    kills = int(request.config.getoption("--kills"))
    if session.options.cluster is not None:
        pytest.skip("needs the lab: nobody's own cluster is installed anew for this")
    session.open_lab()
    if not session.lab_is_ours:
        session.skip(
            TITLE, "needs a fresh lab, and this one was there before: destroy it first (vagrant destroy --force)"
        )
    if session.subject.plane is None:
        pytest.skip("needs Kubernetes: stand-ins are no install that is worth killing")
    cluster = session.subject.cluster
    with cluster:
        changes = len(cluster.plan().changes)
    module = Path(__file__).with_name("in_lab.py")

    def tell(text: str) -> None:
        with capsys.disabled():
            print(text, flush=True)

    chain = install_with_kills(module, changes=changes, kills=kills, seed=session.options.seed, tell=tell)
    for kill in chain.kills:
        record_property(f"kill {kill.run}", f"{kill.seconds:.0f} s, at {kill.last}")
    record_property("seconds", round(chain.seconds, 1))
    with session.step("kills", TITLE, "however often the installer is killed, the next run goes on") as step:
        step.figures += chain.figures
        if words := chain.amiss(kills):
            raise Broken(words)
        with cluster:
            if plan := cluster.plan():
                raise Broken(f"the plan of what was installed is not empty:\n{plan}")
            cluster.verify()
