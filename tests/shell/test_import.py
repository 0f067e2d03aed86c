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


def test_a_script_that_is_interrupted_ends_as_python_does(tmp_path: Path) -> None:
    """The library swallows no Ctrl-C: the shell sees 130, whatever was at work on the host ends its step."""
    gate = tmp_path / "began"
    script = f"""
from pathlib import Path
from k8sha.hosts import Host
from k8sha.resources import Command
from tests.shell.laws import OneStage
from tests.shell.local import Local
host = Host("local", "127.0.0.1", ssh=Local(Path({str(tmp_path)!r})))
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
    assert said.rstrip().endswith("KeyboardInterrupt")
    while not Path(f"{gate}.ended").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
