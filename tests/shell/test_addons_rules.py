"""The alerts, judged by Prometheus' own promtool: they can be read, fire when they should, and not before."""

from __future__ import annotations

import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from k8sha.addons.monitoring.rules import backup_rules, balancer_rules, certificate_rules, etcd_rules, rule_object
from k8sha.kube import Json

PROMTOOL = shutil.which("promtool")
pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool, of the package prometheus, is not installed")

ETCD = 'etcd_mvcc_db_total_size_in_{}{{job="etcd",instance="{}"}}'
UP = 'up{{job="etcd",instance="{}"}}'
GOOD = 'k8sha_etcd_backup_last_success_timestamp_seconds{{instance="{}"}}'
VIP = 'k8sha_vip_{}{{vip="v",balancer="{}"}}'
SERVER = 'haproxy_server_status{{proxy="kube-apiserver",server="{}",state="UP",balancer="lb-1"}}'
ENDS = 'k8sha_certificate_not_after_timestamp_seconds{file="a",instance="m"}'
LOOKED = 'k8sha_certificates_looked_at_timestamp_seconds{{instance="{}"}}'
DAY = 86400

# What is seen minute by minute ("1x90": for 90 minutes), and whether this alert fires at the end of the 91st.
CASES: dict[str, tuple[str, dict[str, str], bool]] = {
    "all members are up": ("EtcdQuorumAtRisk", {UP.format(name): "1x90" for name in "abc"}, False),
    "one member is down": ("EtcdMemberDown", {UP.format("a"): "0x90", UP.format("b"): "1x90"}, True),
    "two of three are up": (
        "EtcdQuorumAtRisk",
        {UP.format("a"): "1x90", UP.format("b"): "1x90", UP.format("c"): "0x90"},
        False,
    ),
    "one of three is up": (
        "EtcdQuorumAtRisk",
        {UP.format("a"): "1x90", UP.format("b"): "0x90", UP.format("c"): "0x90"},
        True,
    ),
    "nobody tells of etcd": ("EtcdQuorumAtRisk", {}, True),
    "its file is small": (
        "EtcdFragmented",
        {ETCD.format("bytes", "a"): "4e8x90", ETCD.format("use_in_bytes", "a"): "1e8x90"},
        False,
    ),
    "its file is mostly unused": (
        "EtcdFragmented",
        {ETCD.format("bytes", "a"): "9e8x90", ETCD.format("use_in_bytes", "a"): "1e8x90"},
        True,
    ),
    "three backups an hour old": ("EtcdBackupOld", {GOOD.format(name): "1800x90" for name in "abc"}, False),
    "a backup of before the last two": ("EtcdBackupOld", {GOOD.format("a"): "-90000x90"}, True),
    "a member without a backup": ("EtcdBackupMissing", {GOOD.format("a"): "1x90", GOOD.format("b"): "1x90"}, True),
    "every member has one": ("EtcdBackupMissing", {GOOD.format(name): "1x90" for name in "abc"}, False),
    "a certificate has a month and more": ("CertificateEndsSoon", {ENDS: f"{40 * DAY}x90"}, False),
    "a certificate has 20 days": ("CertificateEndsSoon", {ENDS: f"{20 * DAY}x90"}, True),
    "a certificate has 20 days, which is no week": ("CertificateEnds", {ENDS: f"{20 * DAY}x90"}, False),
    "a certificate has 5 days": ("CertificateEnds", {ENDS: f"{5 * DAY}x90"}, True),
    "two masters tell of certificates": ("CertificatesUnseen", {LOOKED.format(name): "1x90" for name in "ab"}, True),
    "three masters do": ("CertificatesUnseen", {LOOKED.format(name): "1x90" for name in "abc"}, False),
    "the VIP moved twice": ("VIPFlapping", {VIP.format("acquired_total", "lb-1"): "0x40 1x30 2x20"}, False),
    "the VIP moved every ten minutes": (
        "VIPFlapping",
        {VIP.format("acquired_total", name): "0x30 1x20 2x20 3x20" for name in ("lb-1", "lb-2")},
        True,
    ),
    "one balancer holds it": (
        "VIPUnheld",
        {VIP.format("held", "lb-1"): "1x90", VIP.format("held", "lb-2"): "0x90"},
        False,
    ),
    "none holds it": ("VIPUnheld", {VIP.format("held", "lb-1"): "0x90", VIP.format("held", "lb-2"): "0x90"}, True),
    "both hold it": ("VIPHeldTwice", {VIP.format("held", "lb-1"): "1x90", VIP.format("held", "lb-2"): "1x90"}, True),
    "a backend is down": ("HAProxyBackendDown", {SERVER.format("a"): "0x90", SERVER.format("b"): "1x90"}, True),
    "one backend is left": ("HAProxyNoBackend", {SERVER.format("a"): "0x90", SERVER.format("b"): "1x90"}, False),
    "no backend is left": ("HAProxyNoBackend", {SERVER.format("a"): "0x90", SERVER.format("b"): "0x90"}, True),
}


def groups() -> dict[str, list[Json]]:
    return {
        "etcd": list(etcd_rules(3)),
        "certificates": list(certificate_rules(3)),
        "backups": list(backup_rules(3, timedelta(hours=24, minutes=10))),
        "balancers": list(balancer_rules("kube-apiserver")),
    }


def promtool(folder: Path, *arguments: str) -> None:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=folder, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule_object("monitoring", groups())["spec"]))
    return tmp_path


def test_prometheus_reads_them(rules: Path) -> None:
    promtool(rules, "check", "rules", "rules.yaml")


def test_each_alert_fires_when_it_should(rules: Path) -> None:
    """Told by the name of the case; an expression that gives nothing is what does not fire."""
    tests = []
    for name, (alert, series, fires) in CASES.items():
        seen = [{"series": key, "values": values} for key, values in series.items()]
        expression = {
            "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0',
            "eval_time": "90m",
            "exp_samples": [{"labels": "{}", "value": 1}] if fires else [],
        }
        tests.append({"name": name, "interval": "1m", "input_series": seen, "promql_expr_test": [expression]})
    (rules / "tests.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests})
    )
    promtool(rules, "test", "rules", "tests.yaml")
