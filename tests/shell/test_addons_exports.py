"""What hosts export, by the programs themselves: with real certificates, and with programs that play ip and curl."""

from __future__ import annotations

import base64
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

import k8sha.addons.monitoring

SCRIPTS = Path(k8sha.addons.monitoring.__file__).parent
VIP = "192.168.56.100"

HAPROXY = """\
# HELP haproxy_server_status Current status of the service, per state label value.
# TYPE haproxy_server_status gauge
haproxy_server_status{proxy="kube-apiserver",server="master-1",state="UP"} 1
haproxy_server_status{proxy="kube-apiserver",server="master-2",state="UP"} 0
# HELP haproxy_process_uptime_seconds How long ago it was started.
haproxy_process_uptime_seconds 7
"""


def run(folder: Path, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    command = ["sh", str(SCRIPTS / script), *arguments]
    return subprocess.run(command, env={"PATH": path}, text=True, capture_output=True, check=False, timeout=30)


def play(folder: Path, **programs: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    for name, text in programs.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / "bin" / name).chmod(0o755)


def values(file: Path) -> dict[str, float]:
    """The metrics in a file that node_exporter reads."""
    lines = [line.rpartition(" ") for line in file.read_text().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}


def certificate(path: Path, days: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", "/CN=x", "-days", str(days), "-keyout", "/dev/null", "-out", str(path)]
    subprocess.run(command, check=True, capture_output=True)


def test_every_certificate_of_a_master_is_told_with_its_end(tmp_path: Path) -> None:
    root = tmp_path / "root"
    certificate(root / "etc/kubernetes/pki/apiserver.crt", 10)
    certificate(root / "etc/kubernetes/pki/etcd/peer.crt", 20)
    certificate(tmp_path / "admin.pem", 30)
    data = base64.b64encode((tmp_path / "admin.pem").read_bytes()).decode()
    (root / "etc/kubernetes/admin.conf").write_text(f"users:\n- user:\n    client-certificate-data: {data}\n")
    (root / "etc/kubernetes/kubelet.conf").write_text("users:\n- user:\n    client-certificate: /var/lib/kubelet/x\n")
    done = run(tmp_path, "export_certificates.sh", str(tmp_path), str(root))
    assert (done.returncode, done.stderr) == (0, "")
    found = values(tmp_path / "k8sha-certificates.prom")
    now = datetime.now(tz=UTC).timestamp()
    days = {
        name.split('"')[1]: round((end - now) / 86400)
        for name, end in found.items()
        if name.startswith("k8sha_certificate_")
    }
    assert days == {
        "/etc/kubernetes/pki/apiserver.crt": 10,
        "/etc/kubernetes/pki/etcd/peer.crt": 20,
        "/etc/kubernetes/admin.conf": 30,
    }
    assert abs(found["k8sha_certificates_looked_at_timestamp_seconds"] - now) < 30
    assert (tmp_path / "k8sha-certificates.prom").stat().st_mode & 0o777 == 0o644


def test_a_certificate_that_can_not_be_read_leaves_the_last_look_and_fails(tmp_path: Path) -> None:
    broken = tmp_path / "root/etc/kubernetes/pki/apiserver.crt"
    broken.parent.mkdir(parents=True)
    broken.write_text("not a certificate")
    (tmp_path / "k8sha-certificates.prom").write_text("before\n")
    done = run(tmp_path, "export_certificates.sh", str(tmp_path), str(tmp_path / "root"))
    assert done.returncode != 0
    assert (tmp_path / "k8sha-certificates.prom").read_text() == "before\n"


@pytest.mark.parametrize("held", [True, False])
def test_a_balancer_tells_whether_it_holds_the_vip_and_what_haproxy_sees(tmp_path: Path, held: bool) -> None:
    address = f"echo '2: eth1 inet {VIP}/24 scope global'" if held else ":"
    (tmp_path / "metrics").write_text(HAPROXY)
    play(tmp_path, ip=address, curl=f'for url; do :; done; echo "$url" >{tmp_path}/asked; cat {tmp_path}/metrics')
    done = run(tmp_path, "export_balancer.sh", "write", str(tmp_path), VIP, "8405")
    assert (done.returncode, done.stderr) == (0, "")
    assert values(tmp_path / "k8sha-balancer.prom") == {
        f'k8sha_vip_held{{vip="{VIP}"}}': float(held),
        "k8sha_haproxy_answers": 1.0,
        'haproxy_server_status{proxy="kube-apiserver",server="master-1",state="UP"}': 1.0,
        'haproxy_server_status{proxy="kube-apiserver",server="master-2",state="UP"}': 0.0,
    }
    assert (tmp_path / "asked").read_text() == "http://127.0.0.1:8405/metrics\n"


def test_a_haproxy_that_does_not_answer_is_told_and_hides_nothing_else(tmp_path: Path) -> None:
    play(tmp_path, ip=":", curl="exit 7")
    run(tmp_path, "export_balancer.sh", "write", str(tmp_path), VIP, "8405")
    found = values(tmp_path / "k8sha-balancer.prom")
    assert found == {f'k8sha_vip_held{{vip="{VIP}"}}': 0.0, "k8sha_haproxy_answers": 0.0}


def test_each_time_the_vip_comes_is_counted_and_nothing_else_is(tmp_path: Path) -> None:
    lines = (
        f"2: eth1    inet {VIP}/24 scope global eth1",
        f"Deleted 2: eth1    inet {VIP}/24 scope global eth1",
        "2: eth1    inet 192.168.56.10/24 scope global eth1",
        f"3: eth2    inet {VIP}7/24 scope global eth2",
        f"2: eth1    inet {VIP}/24 scope global eth1",
    )
    play(tmp_path, ip="\n".join(f"echo '{line}'" for line in lines))
    done = run(tmp_path, "export_balancer.sh", "watch", str(tmp_path), VIP)
    assert (done.returncode, done.stderr) == (0, "")
    assert values(tmp_path / "k8sha-vip.prom") == {f'k8sha_vip_acquired_total{{vip="{VIP}"}}': 2.0}


def test_a_real_ip_tells_of_an_address_that_comes(tmp_path: Path) -> None:
    """iproute2's own words, in a network namespace of its own where we may make one."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("no network namespace can be made here")
    script = f"""\
trap : TERM
sh {SCRIPTS / "export_balancer.sh"} watch {tmp_path} {VIP} &
for round in $(seq 200); do
  ip address add {VIP}/24 dev lo
  ip address delete {VIP}/24 dev lo
  if grep -q ' 3$' {tmp_path}/k8sha-vip.prom; then break; fi
  sleep 0.05
done
kill 0
"""
    command = ["unshare", "-n", "sh", "-c", script]
    subprocess.run(command, capture_output=True, check=False, timeout=60, start_new_session=True)
    [count] = values(tmp_path / "k8sha-vip.prom").values()
    assert count >= 3
