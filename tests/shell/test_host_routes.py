"""The way to pods and services that HostRoutes makes, in a network namespace of its own with a real iptables."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from k8sha import ControlPlane, Endpoint, Host, Upstream
from k8sha.addons import HostRoutes

MASTERS = [Host(f"master-{number}", f"192.0.2.{number}") for number in (1, 2, 3)]
RANGES = {host.name: f"10.244.{number}.0/24" for number, host in enumerate(MASTERS)}


def run(tmp_path: Path, before: str, after: str) -> list[str]:
    """What is printed on a host with an address and a default route, before and after the script has run twice."""
    if not shutil.which("iptables"):
        pytest.skip("needs iptables")
    if subprocess.run(["unshare", "-n", "iptables", "-S"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace with rules of its own can be made here")
    plane = ControlPlane(hosts=MASTERS, endpoint=Endpoint("192.0.2.100"), version="1.33.13", source=Upstream())
    routes = tmp_path / "routes"
    routes.write_text(str(HostRoutes(plane)._routes(MASTERS[0], RANGES)))
    script = f"""\
set -eu
ip link set lo up
ip link add outside type veth peer name far
ip link set far up
ip address add 192.0.2.1/24 dev outside
ip link set outside up
ip route add default via 192.0.2.254
{before}
sh {routes}
sh {routes}
{after}"""
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_what_no_rule_translated_does_not_leave_by_the_default_route(tmp_path: Path) -> None:
    """Seen: a connection to a service that was made before kube-proxy had its rule went out by the default route, where
    something answered it, and an API server kept it for good."""
    after = """\
iptables -S | grep -c k8sha-services
connect() {
  case $(timeout 2 bash -c "exec 3<>/dev/tcp/$1/443" 2>&1) in *refused*) echo refused ;; *) echo 'no answer' ;; esac
}
connect 10.96.0.1
connect 10.111.255.89
"""
    assert run(tmp_path, "", after) == ["2", "refused", "refused"]


def test_the_way_to_a_node_that_has_left_goes_also_where_its_range_is_our_own_now(tmp_path: Path) -> None:
    """Seen: a master that was removed and came back was given a range to which it still had the way from before, and
    no packet of others came to its own pods."""
    before = """\
ip route add 10.244.0.0/24 via 192.0.2.9
ip route add 10.244.2.0/24 via 192.0.2.9
ip route add 10.244.7.0/24 via 192.0.2.9
ip link add cni0 type bridge
ip link set cni0 up
ip address add 10.244.0.1/24 dev cni0"""
    after = "ip route show | sed 's/ *$//; s/ linkdown//'"
    assert run(tmp_path, before, after) == [
        "default via 192.0.2.254 dev outside",
        "10.244.0.0/24 dev cni0 proto kernel scope link src 10.244.0.1",
        "10.244.1.0/24 via 192.0.2.2 dev outside",
        "10.244.2.0/24 via 192.0.2.3 dev outside",
        "192.0.2.0/24 dev outside proto kernel scope link src 192.0.2.1",
    ]
