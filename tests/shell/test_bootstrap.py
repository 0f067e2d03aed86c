"""From a fresh machine to a Python: which one the lab's programs take, and what they say helps where there is none."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
STAND_IN = """\
#!/bin/sh
# A Python of this version, with venv or without.
case "$*" in
  --version) echo "Python {version}";;
  *ensurepip*) exit {lacks_venv};;
  *) exit {is_old};;
esac
"""


def find(folder: Path, **pythons: tuple[str, bool]) -> tuple[int, str]:
    """Exit status and all that is said, on a machine with these Pythons: their version, and whether they will do."""
    for tool in ("dirname",):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    for name, (version, fit) in pythons.items():
        old = int(version.split(".")[1]) < 11
        program = folder / name.replace("_", ".")
        program.write_text(STAND_IN.format(version=version, lacks_venv=int(old or not fit), is_old=int(old)))
        program.chmod(0o755)
    done = subprocess.run(
        ["/bin/bash", "-c", "source acceptance/lab/bootstrap.sh; find_python"],
        cwd=REPOSITORY,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_distributions_own_is_taken_where_it_will_do(tmp_path: Path) -> None:
    assert find(tmp_path, python3=("3.13.5", True)) == (0, f"{tmp_path}/python3\n")


def test_a_newer_one_beside_it_is_found(tmp_path: Path) -> None:
    assert find(tmp_path, python3=("3.10.12", True), python3_11=("3.11.0", True)) == (0, f"{tmp_path}/python3.11\n")


def test_where_it_is_too_old_it_says_which_one_helps(tmp_path: Path) -> None:
    exit, said = find(tmp_path, python3=("3.10.12", True))
    assert exit != 0
    assert "apt-get install python3.11 python3.11-venv" in said
    assert "Python 3.10.12" in said


def test_where_only_venv_is_missing_it_says_so(tmp_path: Path) -> None:
    exit, said = find(tmp_path, python3=("3.13.5", False))
    assert exit != 0
    assert said.endswith("apt-get install python3 python3-venv\n")
