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


def test_what_no_rule_translated_does_not_leave_by_the_default_route(tmp_path: Path) -> None:
    """Seen: a connection to a service that was made before kube-proxy had its rule went out by the default route, where
    something answered it, and an API server kept it for good."""
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
sh {routes}
sh {routes}
iptables -S | grep -c k8sha-services
connect() {{
  case $(timeout 2 bash -c "exec 3<>/dev/tcp/$1/443" 2>&1) in *refused*) echo refused ;; *) echo 'no answer' ;; esac
}}
connect 10.96.0.1
connect 10.111.255.89
"""
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["2", "refused", "refused"], done.stderr
