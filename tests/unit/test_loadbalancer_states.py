"""What hosts print, and what follows from it: requirements, conditions, statistics."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8sha.loadbalancers import BalancerStatistics, HAProxy
from k8sha.loadbalancers.conditions import BalancerReady, Drained, HoldsVIP, VIPHolder
from k8sha.loadbalancers.preflight import FirewallOpen, OpenFiles, PortFree, VIPFree
from k8sha.resources.resource import Resource

from .loadbalancer_hosts import VIP

STATS = Path(__file__).with_name("golden") / "loadbalancer" / "show-stat.csv"
OURS = ("02:42:c0:a8:38:65", "02:42:C0:A8:38:66")

FREE = VIPFree(VIP, "eth1", OURS)
PORT = PortFree(6443, "haproxy")
WALL = FirewallOpen(6443)
FILES = OpenFiles(17_000)
READY = BalancerReady(VIP, 6443, "HAProxy")
STRICT = BalancerReady(VIP, 6443, "HAProxy", drained=False)


def limits(hard: str, *, privileged: bool, most: int = 1_048_576) -> bytes:
    return (
        f"hard {hard}\ncapabilities {'000001ffffffffff' if privileged else '0000003ffeffffff'}\nmost {most}\n".encode()
    )


@pytest.mark.parametrize(
    ("resource", "seen", "lines"),
    [
        (FREE, "held", ()),
        (FREE, f"neighbour {VIP} FAILED", ()),
        (FREE, f"neighbour {VIP} INCOMPLETE", ()),
        (FREE, "neighbour ", ()),
        (FREE, f"neighbour {VIP} lladdr 02:42:c0:a8:38:66 REACHABLE", ()),
        (
            FREE,
            f"neighbour {VIP} lladdr 52:54:00:12:34:56 REACHABLE",
            (f"the VIP {VIP} is in use already: 52:54:00:12:34:56 answers for it on eth1",),
        ),
        (FREE, "fixed", (f"has the VIP {VIP} as an address of its own, and keepalived does not run",)),
        (PORT, "", ()),
        (PORT, 'LISTEN 0 4096 0.0.0.0:6443 0.0.0.0:* users:(("haproxy",pid=9,fd=7),("haproxy",pid=8,fd=7))', ()),
        (
            PORT,
            'LISTEN 0 128 0.0.0.0:6443 0.0.0.0:* users:(("haproxy",pid=9,fd=7))\n'
            'LISTEN 0 128 [::]:6443 [::]:* users:(("nginx",pid=12,fd=3))',
            ("port 6443 is taken by nginx",),
        ),
        (PORT, "LISTEN 0 128 0.0.0.0:6443 0.0.0.0:*", ("port 6443 is taken by an unknown program",)),
        (WALL, "", ()),
        (WALL, "port 6443/tcp\nprotocol vrrp\n", ("let port 6443/tcp in", "let protocol vrrp in")),
        (FILES, limits("20000", privileged=False), ()),
        (FILES, limits("1024", privileged=True), ()),
        (FILES, limits("unlimited", privileged=False), ()),
        (
            FILES,
            limits("4096", privileged=False),
            ("a service may open 4096 files at most, the proxy needs 17000",),
        ),
        (FILES, limits("524288", privileged=True, most=9000), ("a service may open 9000 files at most",)),
        (READY, "answers\nstate MASTER\nreachable\n", ()),
        (READY, "answers\nstate BACKUP\nreachable\n", ()),
        (READY, "answers\nstate FAULT\ndrained\nreachable\n", ()),
        (READY, "answers\nstate FAULT\nreachable\n", ("keepalived is FAULT, neither MASTER nor BACKUP",)),
        (READY, "state BACKUP\nreachable\n", ("HAProxy does not answer on this host",)),
        (READY, "answers\nstate BACKUP\n", (f"{VIP}:6443 does not take connections from this host",)),
        (
            READY,
            "",
            (
                "HAProxy does not answer on this host",
                "keepalived is not running, neither MASTER nor BACKUP",
                f"{VIP}:6443 does not take connections from this host",
            ),
        ),
        (STRICT, "answers\nstate FAULT\ndrained\nreachable\n", ("is drained",)),
        (Drained(True), "0\n", ("drained: False -> True",)),
        (Drained(True), "1\n", ()),
        (Drained(False), "", ()),
        (Drained(False), "1\n", ("drained: True -> False",)),
        (HoldsVIP(VIP), "vip eth1\n", ()),
        (HoldsVIP(VIP), "", (f"{VIP} is not on this host",)),
        (VIPHolder(VIP), "vip eth1\n", ()),
        (VIPHolder(VIP), "", ()),
    ],
)
def test_a_state_and_what_is_wrong_with_it(resource: Resource, seen: str | bytes, lines: tuple[str, ...]) -> None:
    found = resource.diff(seen if isinstance(seen, bytes) else seen.encode()).lines
    assert len(found) == len(lines)
    for line, wanted in zip(found, lines, strict=True):
        assert wanted in line


def test_servers_are_read_from_haproxys_own_words() -> None:
    first, _, third = HAProxy().parse(STATS.read_text())
    assert (first.server, first.status, first.up) == ("master-1", "UP", True)
    assert first.sessions_total > 0
    assert first.last_check == "L7OK 200 Layer7 check passed"
    assert (third.server, third.up) == ("master-3", False)
    assert third.status == "DOWN"
    assert third.downtime > 0
    assert third.last_check == "L4CON Connection refused"


def test_a_share_is_of_all_connections() -> None:
    servers = HAProxy().parse(STATS.read_text())
    seen = BalancerStatistics("lb-1", True, servers)
    assert sum(seen.share(server.server) for server in servers) == pytest.approx(1)
    assert "lb-1 (holds the VIP)" in str(seen)
    assert "master-3: DOWN" in str(seen)
    with pytest.raises(KeyError):
        seen.share("master-9")
    assert BalancerStatistics("lb-1", True, ()).sessions_total == 0
