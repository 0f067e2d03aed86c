"""What importing k8sha costs, and what it does not bring along; what an interrupted script does."""

from __future__ import annotations

import resource
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .local import hear_signals

REPOSITORY = Path(__file__).parents[2]
BUDGET = 0.150
"""Seconds that ``import k8sha`` may add to the start of an interpreter."""


def seconds(script: str) -> float:
    """Of CPU, which is what it takes where nothing else is at work."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_importing_loads_no_ssh_and_no_kubernetes() -> None:
    script = "import sys, k8sha; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert (
        set(loaded.stdout.split()) & {"paramiko", "kubernetes", "jinja2", "tenacity", "cryptography", "rich"} == set()
    )


def test_making_a_cluster_of_values_loads_none_either() -> None:
    script = "import sys, examples.ha; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    assert set(loaded.stdout.split()) & {"paramiko", "kubernetes", "tenacity"} == set()


def test_importing_takes_no_time(record_property: Callable[[str, object], None]) -> None:
    """The median of five pairs, each with and without, one right after the other: other load hits both alike."""
    found = statistics.median(seconds("import k8sha") - seconds("pass") for _ in range(5))
    record_property("import k8sha, ms", round(found * 1000))
    assert found < BUDGET


@pytest.mark.parametrize("plainly", [False, True])
def test_a_script_that_is_interrupted_ends(tmp_path: Path, plainly: bool) -> None:
    """The library swallows no Ctrl-C: the shell sees 130, whatever was at work on the host ends its step. With
    ``script()`` it is a message, and no traceback."""
    gate = tmp_path / "began"
    script = f"""
import contextlib
from pathlib import Path
import k8sha
from k8sha.hosts import Host
from k8sha.resources import Command
from tests.shell.laws import OneStage
from tests.shell.local import Local
host = Host("local", "127.0.0.1", ssh=Local(Path({str(tmp_path)!r})))
with k8sha.script() if {plainly} else contextlib.nullcontext():
    OneStage(host, Command("wait", done="echo no", run="touch '{gate}'; sleep 2; touch '{gate}.ended'")).install()
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals
    )
    end = time.monotonic() + 30
    while not gate.exists():
        assert time.monotonic() < end
        assert process.poll() is None, process.stderr and process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode in (-signal.SIGINT, 130)
    assert said.rstrip().endswith("run it again" if plainly else "KeyboardInterrupt")
    assert ("Traceback" in said) is not plainly
    while not Path(f"{gate}.ended").exists():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("statement", "status", "said"),
    [
        ("k8sha.Host('A b', '1.2.3.4')", 1, "host name 'A b': is not a DNS name"),
        ("1 / 0", 1, "Traceback"),
        ("pass", 0, ""),
    ],
)
def test_a_script_says_what_was_wrong_and_hides_no_mistake(statement: str, status: int, said: str) -> None:
    text = f"import k8sha\nwith k8sha.script():\n    {statement}\n"
    done = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == status
    assert said in done.stderr
    assert ("Traceback" in done.stderr) is (said == "Traceback")
