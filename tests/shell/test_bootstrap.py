"""From a fresh machine to a Python and the hosts' image: which ones the lab's programs take, and what they say helps
where there is none."""

from __future__ import annotations

import os
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


SUDO = """\
#!/bin/bash
# Keeps of the environment what it is told to, and no more; tells which image would be built then.
kept=(PATH="$PATH")
for option in "$@"; do
  case $option in
    --preserve-env=*) IFS=, read -ra names <<<"${option#*=}" ;;
    --) ;;
    *) program=$option ;;
  esac
done
for name in "${names[@]}"; do if [[ -v $name ]]; then kept+=("$name=${!name}"); fi; done
exec env -i "${kept[@]}" "${program%/setup}/image" --name
"""


def test_with_sudo_the_image_is_built_that_is_asked_for_afterwards(tmp_path: Path) -> None:
    lab, programs = tmp_path / "lab", tmp_path / "bin"
    shutil.copytree(REPOSITORY / "acceptance" / "lab", lab)
    nobody = (lab / "setup").read_text().replace("EUID != 0", "1")
    assert nobody != (lab / "setup").read_text()
    (lab / "setup").write_text(nobody)
    programs.mkdir()
    (programs / "sudo").write_text(SUDO)
    (programs / "sudo").chmod(0o755)

    def said(*command: str, **more: str) -> str:
        environment = {"PATH": f"{programs}:{os.environ['PATH']}", **more}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    usual = said(f"{lab}/image", "--name")
    assert said(f"{lab}/setup") == usual
    asked = said(f"{lab}/image", "--name", K8SHA_SUITE="bookworm")
    assert said(f"{lab}/setup", K8SHA_SUITE="bookworm") == asked != usual
