"""The alerts that a cluster made by k8sha needs beyond those of kube-prometheus.

etcd's thresholds are those of its own documentation (log synced in 10 ms, committed in 25 ms, at the 99th percentile),
of its own alerts (four changes of leader), and of its maintenance here (half unused, and more than 500 MB).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from k8sha.kube import Json

__all__ = ["BACKED_UP", "backup_rules", "balancer_rules", "certificate_rules", "etcd_rules", "rule_object"]

BACKED_UP = "k8sha_etcd_backup_last_success_timestamp_seconds"
"""What each member's schedule of backups exports."""

_DAY = 86400


def _alert(name: str, expression: str, wait: str, severity: str, summary: str) -> Json:
    found = {
        "alert": name,
        "expr": expression,
        "labels": {"severity": severity},
        "annotations": {"summary": summary},
    }
    return {**found, "for": wait} if wait else found


def etcd_rules(members: int) -> Iterator[Json]:
    """For an etcd of so many members, whose job is ``etcd``."""
    up, percentile = 'up{job="etcd"}', "histogram_quantile(0.99, sum by (instance, le) (rate({}[5m])))"
    synced = percentile.format('etcd_disk_wal_fsync_duration_seconds_bucket{job="etcd"}')
    committed = percentile.format('etcd_disk_backend_commit_duration_seconds_bucket{job="etcd"}')
    size, used = 'etcd_mvcc_db_total_size_in_bytes{job="etcd"}', 'etcd_mvcc_db_total_size_in_use_in_bytes{job="etcd"}'
    quota = 'etcd_server_quota_backend_bytes{job="etcd"}'
    changes = 'increase(etcd_server_leader_changes_seen_total{job="etcd"}[15m])'
    yield _alert("EtcdMemberDown", f"{up} == 0", "3m", "warning", "{{ $labels.instance }} is not reached")
    quorum = members // 2 + 1
    lost = f"(sum({up}) < {quorum}) or absent({up})"
    yield _alert("EtcdQuorumAtRisk", lost, "1m", "critical", f"Fewer than {quorum} of {members} members are reached")
    yield _alert(
        "EtcdNoLeader",
        'etcd_server_has_leader{job="etcd"} == 0',
        "1m",
        "critical",
        "{{ $labels.instance }} knows no leader",
    )
    yield _alert(
        "EtcdLeaderChanges",
        f"{changes} >= 4",
        "5m",
        "warning",
        "{{ $value }} changes of leader in 15 minutes",
    )
    yield _alert(
        "EtcdSlowLog", f"{synced} > 0.01", "10m", "warning", "{{ $labels.instance }} syncs its log in {{ $value }} s"
    )
    yield _alert(
        "EtcdSlowCommit", f"{committed} > 0.025", "10m", "warning", "{{ $labels.instance }} commits in {{ $value }} s"
    )
    yield _alert("EtcdNearlyFull", f"{size} / {quota} > 0.8", "10m", "critical", "80 % of etcd's quota are used")
    yield _alert(
        "EtcdFragmented",
        f"{used} / {size} < 0.5 and {size} > 500e6",
        "1h",
        "warning",
        "More than half of {{ $labels.instance }}'s file is unused: defragment it",
    )


def certificate_rules(masters: int) -> Iterator[Json]:
    """For what the masters' certificates export."""
    left = "k8sha_certificate_not_after_timestamp_seconds - time()"
    looked = "k8sha_certificates_looked_at_timestamp_seconds"
    told = "{{ $labels.file }} on {{ $labels.instance }} ends in {{ $value | humanizeDuration }}"
    yield _alert("CertificateEndsSoon", f"{left} < {30 * _DAY}", "1h", "warning", told)
    yield _alert("CertificateEnds", f"{left} < {7 * _DAY}", "1h", "critical", told)
    unseen = f"(count(time() - {looked} < {3 * 3600}) < {masters}) or absent({looked})"
    yield _alert(
        "CertificatesUnseen", unseen, "1h", "warning", f"Not all of {masters} masters told of their certificates"
    )


def backup_rules(members: int, longest: timedelta) -> Iterator[Json]:
    """For what a schedule of backups exports; a good one must not be older than ``longest``."""
    late = f"time() - {BACKED_UP} > {longest.total_seconds():.0f}"
    yield _alert(
        "EtcdBackupOld",
        late,
        "5m",
        "critical",
        "The last good backup of {{ $labels.instance }} is {{ $value | humanizeDuration }} old",
    )
    yield _alert(
        "EtcdBackupFailed",
        "k8sha_etcd_backup_last_run_success == 0",
        "5m",
        "warning",
        "The last backup of {{ $labels.instance }} failed",
    )
    missing = f"(count({BACKED_UP}) < {members}) or absent({BACKED_UP})"
    yield _alert("EtcdBackupMissing", missing, "30m", "critical", f"Not all of {members} members tell of a backup")


def balancer_rules(proxied: str) -> Iterator[Json]:
    """For what balancers export; ``proxied`` is HAProxy's name of the API servers."""
    up = f'haproxy_server_status{{proxy="{proxied}",state="UP"}}'
    held = "sum by (vip) (k8sha_vip_held)"
    yield _alert("BalancerDown", 'up{job="balancers"} == 0', "2m", "critical", "{{ $labels.balancer }} is not reached")
    yield _alert(
        "VIPFlapping",
        "sum by (vip) (increase(k8sha_vip_acquired_total[1h])) > 3",
        "",
        "warning",
        "{{ $labels.vip }} moved {{ $value }} times within an hour",
    )
    yield _alert("VIPUnheld", f"{held} == 0", "1m", "critical", "No balancer holds {{ $labels.vip }}")
    yield _alert("VIPHeldTwice", f"{held} > 1", "1m", "critical", "Two balancers hold {{ $labels.vip }}")
    yield _alert(
        "HAProxySilent",
        "k8sha_haproxy_answers == 0",
        "1m",
        "critical",
        "HAProxy on {{ $labels.balancer }} does not answer",
    )
    yield _alert(
        "HAProxyBackendDown",
        f"{up} == 0",
        "1m",
        "warning",
        "{{ $labels.balancer }} sends nothing to {{ $labels.server }}",
    )
    yield _alert(
        "HAProxyNoBackend",
        f"sum by (balancer) ({up}) == 0",
        "30s",
        "critical",
        "{{ $labels.balancer }} has no API server to send to",
    )
    stale = 'time() - node_textfile_mtime_seconds{job="balancers",file=~".*k8sha-balancer.prom"} > 120'
    yield _alert("BalancerStale", stale, "1m", "warning", "{{ $labels.balancer }} has told nothing new for 2 minutes")


def rule_object(namespace: str, groups: dict[str, list[Json]]) -> Json:
    """All of them as one object for the operator."""
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "k8sha", "namespace": namespace, "labels": {"prometheus": "k8s", "role": "alert-rules"}},
        "spec": {"groups": [{"name": name, "rules": rules} for name, rules in groups.items()]},
    }
