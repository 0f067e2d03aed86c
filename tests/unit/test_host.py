"""Hosts and how they are reached, as values; what one trip tells of them."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import pytest

from k8sha.errors import ConfigError, PreflightError, Unreachable
from k8sha.etcd.fence import FENCED
from k8sha.etcd.record import OPEN
from k8sha.facts import FACTS, Facts
from k8sha.hosts import SSH, Host

from .conftest import Golden
from .fake import Machine

FACTS_SEEN = (Path(__file__).parent / "cases" / "facts" / "debian-13.txt").read_text()


@pytest.mark.parametrize(
    "name", ["", "A", "under_score", "-a", "a-", "a b", "a;reboot", "$(id)", "a..b", "x" * 64, ".".join(["x" * 60] * 5)]
)
def test_a_name_that_is_no_dns_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="host name"):
        Host(name, "192.168.56.10")


@pytest.mark.parametrize("address", ["", "master-1", "192.168.56.300", "192.168.56.0/24", "1.2.3.4; reboot"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigError, match="is not an IP address"):
        Host("one", address)


def test_the_user_of_a_login_is_a_name() -> None:
    with pytest.raises(ValueError, match="user"):
        SSH("a; reboot")


def test_passwords_are_in_no_repr() -> None:
    ssh = SSH("ann", password="hush1", sudo_password="hush2", passphrase="hush3")
    assert "hush" not in repr(Host("one", "192.168.56.10", ssh=ssh))


def test_the_way_to_a_host_leads_through_every_jump() -> None:
    outer = Host("outer", "192.0.2.1")
    inner = Host("inner", "192.0.2.2", ssh=SSH(jump=outer))
    assert Host("one", "192.168.56.10", ssh=SSH(jump=inner)).way == (inner, outer)
    assert outer.way == ()


def test_a_halted_host_answers_nothing_until_it_is_closed() -> None:
    machine = Machine("one")
    machine.host.read("probe a")
    machine.host.halt()
    with pytest.raises(Unreachable, match="interrupted"):
        machine.host.read("probe a")
    machine.host.close()
    assert machine.host.read("probe a") == ((0, b"", b""),)


def test_a_link_that_has_died_is_opened_anew_and_the_facts_are_read_again() -> None:
    machine = Machine("one")
    assert machine.host.facts.hostname == "one"
    assert machine.host.facts.hostname == "one"
    assert machine.host.trips == 1
    assert machine.link is not None
    machine.link.close()
    machine.host.read("probe a")
    assert (machine.opened, machine.host.facts.hostname) == (2, "one")
    assert machine.host.trips == 3


def test_closing_twice_is_closing_once() -> None:
    machine = Machine("one")
    with machine.host as host:
        host.read("probe a")
        assert host.connected
        host.close()
    assert not machine.host.connected


def test_a_system_that_no_family_fits_is_named() -> None:
    with pytest.raises(PreflightError, match="one: runs an unknown system, which is not supported"):
        assert Machine("one").host.distro


def test_the_probe_of_facts_is_text_that_is_reviewed(golden: Golden) -> None:
    golden("facts.sh", FACTS)


def test_facts_are_what_a_host_printed() -> None:
    facts = Facts.parse(FACTS_SEEN, sent=1_795_000_000.0, now=1_795_000_001.0)
    assert (facts.os, facts.os_version, facts.os_name) == ("debian", "13", "Debian GNU/Linux 13 (trixie)")
    assert (facts.hostname, facts.arch, facts.architecture) == ("worker-3", "x86_64", "amd64")
    assert (facts.cpus, facts.memory_mib, facts.init) == (2, 24105, "systemd")
    assert facts.skew == pytest.approx(9.75)
    assert facts.skew_error == 0.5
    assert facts.has_address("192.168.56.22")
    assert not facts.has_address("192.168.56.2")
    towards = facts.interface_towards("192.168.56.100")
    assert towards is not None
    assert (towards.name, str(towards.address)) == ("eth1", "192.168.56.22/24")
    assert towards.mac.count(":") == 5
    assert facts.interface_towards("203.0.113.1") is None


def test_a_clusters_authority_is_known_by_its_certificate_alone() -> None:
    """However its lines are broken: kubeadm writes workers' copies anew."""
    body = base64.b64encode(b"certificate").decode()
    assert Facts.parse(f"authority {body}\n").authority == hashlib.sha256(b"certificate").hexdigest()
    assert Facts.parse("authority ?\n").authority == "unreadable"
    assert Facts.parse("authority \n").authority == ""


def test_what_a_restore_leaves_is_looked_for_where_it_leaves_it() -> None:
    found = FACTS.partition("for path in /var/lib/k8sha")[2].partition("; do")[0].replace("\\\n", "").split()
    assert [f"/var/lib/k8sha{found[0]}", *found[1:]] == [f"{OPEN}/{m}" for m in ("fencing", "exchanged", "undoing")]
    assert f"for path in {FENCED}; do" in FACTS


@pytest.mark.parametrize(("listed", "count"), [("0", 1), ("0-3", 4), ("0-3,8", 5), ("1,3,5-6,62-127", 70)])
def test_processors_are_counted_in_the_kernels_list(listed: str, count: int) -> None:
    assert Facts.parse(f"cpus {listed}\n").cpus == count


@pytest.mark.parametrize("text", ["", "\n", "cpus\nclock\nsomething else\nmac eth0\n"])
def test_facts_that_are_missing_are_empty(text: str) -> None:
    facts = Facts.parse(text)
    assert (facts.os, facts.cpus, facts.skew, facts.interfaces) == ("", 0, 0.0, ())
