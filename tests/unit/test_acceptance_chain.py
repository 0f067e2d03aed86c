"""The chain of kills: every step is where a run was killed once, and what is done is not done again."""

from __future__ import annotations

from pathlib import Path

import pytest

from acceptance.resume import Chain, Kill, install_with_kills, work_with_kills

# At each step it waits for its killer once: a run that nobody kills there would hang, and the test with it.
MODULE = """\
import signal
from pathlib import Path

from k8sha import Cluster, Host, K8shaError, LoadBalancer, Report, Result, Status
from k8sha.events import Began, Finished

balancers, master = [Host("lb-1", "192.168.56.101"), Host("lb-2", "192.168.56.102")], Host("m-1", "192.168.56.10")
cluster = Cluster(LoadBalancer(balancers, "192.168.56.100", [master]))


def work(listen):
    for step in ("one", "two", "three"):
        done, waited = Path({folder!r}, step), Path({folder!r}, "waited-" + step)
        if done.exists():
            continue
        first = not waited.exists()
        waited.touch()  # before anybody is told: the blow may fall at once
        listen(Began("host", step))
        if {at!r} == "began" and first:
            signal.pause()
        if {fails!r} == step:
            raise K8shaError("it does not go on")
        done.touch()
        listen(Finished(Result("component", "stage", "host", step, Status.CHANGED)))
        if {at!r} == "changed":
            signal.pause()
    return Report((), 0, 0.0)
"""


# Changes that go by as quickly as they do on eight hosts at once; done is done.
QUICK = """\
import time
from pathlib import Path

from k8sha import Cluster, Host, LoadBalancer, Report
from k8sha.events import Began

balancers, master = [Host("lb-1", "192.168.56.101"), Host("lb-2", "192.168.56.102")], Host("m-1", "192.168.56.10")
cluster = Cluster(LoadBalancer(balancers, "192.168.56.100", [master]))


def work(listen):
    for step in range({steps}):
        done = Path({folder!r}, f"quick-{{step}}")
        if not done.exists():
            listen(Began("host", f"file {{step}}"))
            time.sleep(0.2)  # what the host takes for it
            done.touch()
    return Report((), 0, 0.0)
"""


def test_an_install_is_killed_as_often_as_was_asked_for_before_it_is_done(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(QUICK.format(folder=str(tmp_path), steps=8))
    found = install_with_kills(module, changes=8, kills=3, seed=1, tell=lambda text: None, limit=60)
    assert len(found.kills) == 3
    assert found.ended.startswith("done")
    assert found.errors == ()


def chain(folder: Path, at: str, *, kills: int = 200, fails: str = "") -> tuple[list[str], str, tuple[str, ...]]:
    module = folder / "module.py"
    module.write_text(MODULE.format(folder=str(folder), at=at, fails=fails))
    told: list[str] = []
    found = work_with_kills(module, at=at, tell=told.append, kills=kills, limit=60)
    assert len(told) == len(found.kills)
    return [kill.last for kill in found.kills], found.ended, found.errors


@pytest.mark.parametrize("at", ["began", "changed"])
def test_it_is_killed_at_every_step_once_and_ends_by_itself(tmp_path: Path, at: str) -> None:
    kills, ended, errors = chain(tmp_path, at)
    assert kills == [f"{at} host {step}" for step in ("one", "two", "three")]
    assert ended.startswith("done")
    assert errors == ()


def test_a_run_that_fails_by_itself_is_an_error_of_the_chain(tmp_path: Path) -> None:
    kills, _, errors = chain(tmp_path, "began", fails="two")
    assert kills == ["began host one", "began host two"]
    assert len(errors) == 1
    assert "it does not go on" in errors[0]


@pytest.mark.parametrize(
    ("ended", "errors", "amiss"),
    [
        ("done", (), ""),
        ("done", ("it does not go on",), "it does not go on"),
        ("began host three", (), "began host three"),
    ],
)
def test_a_chain_ends_well_or_says_why_not(ended: str, errors: tuple[str, ...], amiss: str) -> None:
    made = Chain((Kill(1, 1.0, 1, "began host one"),), 2.0, ended, errors)
    assert made.amiss(1) == amiss
    assert made.amiss(2) == (amiss or "it was done after 1 of 2 kills: nothing is left to kill it at")
