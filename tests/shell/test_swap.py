"""Swap that stays off: whoever makes it, and nothing of the user's is lost. A folder stands for a host."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from k8sha.resources import NoSwap

MOVED = ("/etc/systemd", "/run/systemd", "/usr/lib/systemd", "/usr/local/lib/systemd", "/etc/fstab", "/proc/swaps")
SYSTEMCTL = """\
#!/bin/sh -eu
case $1 in
mask) ln -s /dev/null "{folder}/etc/systemd/system/$4";;
disable) rm -f "{folder}"/etc/systemd/system/*.wants/"$4.service";;
esac
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for path in ("etc/systemd/system", "run/systemd", "usr/lib/systemd", "proc", "bin"):
        (tmp_path / path).mkdir(parents=True)
    (tmp_path / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    (tmp_path / "bin/systemctl").write_text(SYSTEMCTL.format(folder=tmp_path))
    (tmp_path / "bin/swapoff").write_text("#!/bin/sh\n")
    for tool in (tmp_path / "bin").iterdir():
        tool.chmod(0o755)
    return tmp_path


def run(machine: Path, text: str) -> str:
    for path in MOVED:
        text = text.replace(path, f"{machine}{path}")
    environment = {"PATH": f"{machine}/bin:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def off(machine: Path) -> list[str]:
    """What a probe finds, and nothing after it was put off, twice."""
    found = run(machine, NoSwap().probe()).splitlines()
    for _ in range(2):
        run(machine, NoSwap().apply())
        assert run(machine, NoSwap().probe()) == ""
    return found


@pytest.mark.parametrize("folder", ["generator", "generator.early", "generator.late", "system"])
def test_a_unit_is_masked_by_its_name_wherever_it_lies(machine: Path, folder: str) -> None:
    """That of a swap partition is a late one, which nobody saw: swap was back after the next boot."""
    name = r"dev-disk-by\x2dpartuuid-0badcafe.swap"
    (machine / "run/systemd" / folder).mkdir()
    (machine / "run/systemd" / folder / name).write_text("[Swap]\n")
    assert off(machine) == [f"unit: {name}"]
    assert (machine / "etc/systemd/system" / name).readlink() == Path("/dev/null")


@pytest.mark.parametrize("service", ["zramswap", "zram-config"])
def test_a_service_that_makes_zram_is_put_off(machine: Path, service: str) -> None:
    wants = machine / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir()
    (wants / f"{service}.service").symlink_to(f"/lib/systemd/system/{service}.service")
    assert off(machine) == [f"service: {service}"]


def test_a_configuration_of_zram_that_somebody_wrote_is_kept(machine: Path) -> None:
    (machine / "usr/lib/systemd/system-generators").mkdir()
    (machine / "usr/lib/systemd/system-generators/zram-generator").write_text("")
    config = machine / "etc/systemd/zram-generator.conf"
    config.write_text("[zram0]\n")
    assert off(machine) == ["generator: zram-generator"]
    assert config.readlink() == Path("/dev/null")
    assert (machine / "etc/systemd/zram-generator.conf.before-k8sha").read_text() == "[zram0]\n"


def test_a_machine_without_swap_has_nothing_to_say(machine: Path) -> None:
    assert off(machine) == []
