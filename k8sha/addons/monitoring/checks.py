"""The proof that monitoring works: Prometheus and Alertmanager are asked, through the API server."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from attrs import frozen

from k8sha.addons.monitoring.rules import BACKED_UP
from k8sha.addons.monitoring.shape import NAMESPACE
from k8sha.component import Checks
from k8sha.errors import KubeError
from k8sha.etcd.schedule import UNIT
from k8sha.kube import Api, Json
from k8sha.waiting import Check, NotYet

__all__ = ["Asking"]

_PROMETHEUS = ("prometheus-k8s-0", "prometheus-k8s-1")
_ALERTMANAGERS = ("alertmanager-main-0", "alertmanager-main-1", "alertmanager-main-2")


@frozen(kw_only=True)
class Asking:
    """What is to be found: so many instances of each job, one on every node of others, these groups of rules."""

    api: Api
    counts: Mapping[str, int]
    on_nodes: tuple[str, ...]
    groups: tuple[str, ...]
    masters: int
    backups: int = 0
    """Members of etcd whose scheduled backups are watched."""

    def checks(self) -> Checks:
        """Each of them asks every pod: one Prometheus that works hides nothing of the other."""
        jobs = ", ".join((*self.counts, *self.on_nodes))
        yield Check(f"both Prometheus reach {jobs}", self._targets)
        yield Check("both Prometheus evaluate the rules", self._rules)
        yield Check("the masters' certificates are told of", self._certificates)
        if self.backups:
            yield Check("the members' backups are told of", self._backups)
        yield Check("three Alertmanagers are one cluster, and an alert of Prometheus reaches each", self._alerts)
        yield Check("Grafana answers", self._grafana)

    def _ask(self, kind: str, name: str, path: str, **query: str) -> Json:
        try:
            return self.api.get(f"/api/v1/namespaces/{NAMESPACE}/{kind}/{name}/proxy{path}", **query)
        except KubeError as error:
            raise NotYet(f"{name.partition(':')[0]}: {error}") from None

    def _prometheus(self, pod: str, path: str, **query: str) -> Json:
        answer = self._ask("pods", f"{pod}:9090", path, **query)
        if not isinstance(answer, dict) or answer.get("status") != "success":
            raise NotYet(f"{pod}: {str(answer)[:300]}")
        return answer["data"]

    def _targets(self) -> str:
        nodes = len(self.api.nodes())
        wanted = {**self.counts, **dict.fromkeys(self.on_nodes, nodes)}
        wrong = []
        for pod in _PROMETHEUS:
            found: dict[str, dict[str, str]] = defaultdict(dict)
            for target in self._prometheus(pod, "/api/v1/targets", state="active")["activeTargets"]:
                job, instance = target["labels"].get("job", ""), target["labels"].get("instance", "")
                if target["health"] != "up":
                    found[job][instance] = target.get("lastError") or target["health"]
                else:
                    found[job].setdefault(instance, "")
            for job, count in wanted.items():
                wrong += [f"{pod}: {job} {instance}: {said}" for instance, said in found[job].items() if said]
                if len(found[job]) < count:
                    wrong.append(f"{pod}: {job} has {len(found[job])} of {count} instances")
        if wrong:
            raise NotYet("; ".join(wrong))
        return f"{sum(wanted.values())} instances"

    def _rules(self) -> str:
        count = 0
        for pod in _PROMETHEUS:
            groups = {
                group["name"]: group["rules"]
                for group in self._prometheus(pod, "/api/v1/rules", type="alert")["groups"]
            }
            if missing := sorted(set(self.groups) - groups.keys()):
                raise NotYet(f"{pod}: has not loaded {', '.join(missing)}")
            for name in self.groups:
                for rule in groups[name]:
                    if rule["health"] != "ok":
                        raise NotYet(f"{pod}: {rule['name']}: {rule.get('lastError') or rule['health']}")
            count = sum(len(groups[name]) for name in self.groups)
        return f"{count} rules of our own"

    def _certificates(self) -> str:
        for pod in _PROMETHEUS:
            told = self._count(pod, "k8sha_certificates_looked_at_timestamp_seconds")
            if told < self.masters:
                raise NotYet(f"{pod}: {told} of {self.masters} masters tell of theirs")
        return f"{self.masters} masters"

    def _backups(self) -> str:
        for pod in _PROMETHEUS:
            told = self._count(pod, BACKED_UP)
            if told < self.backups:
                remedy = f"each run writes it: systemctl start {UNIT}.service"
                raise NotYet(f"{pod}: {told} of {self.backups} members tell of theirs — {remedy}")
        return f"{self.backups} members"

    def _count(self, pod: str, metric: str) -> int:
        """How many tell of something."""
        result = self._prometheus(pod, "/api/v1/query", query=f"count({metric})")["result"]
        return int(float(result[0]["value"][1])) if result else 0

    def _alerts(self) -> str:
        """``Watchdog`` fires always: where it arrives, every other alert would."""
        for pod in _ALERTMANAGERS:
            status = self._ask("pods", f"{pod}:9093", "/api/v2/status")
            peers = status["cluster"].get("peers") or ()
            if len(peers) < len(_ALERTMANAGERS):
                raise NotYet(f"{pod}: sees {len(peers)} of {len(_ALERTMANAGERS)}")
            alerts = self._ask("pods", f"{pod}:9093", "/api/v2/alerts")
            if not any(alert["labels"].get("alertname") == "Watchdog" for alert in alerts):
                raise NotYet(f"{pod}: the alert that always fires has not arrived")
        return "Watchdog arrived at all three"

    def _grafana(self) -> str:
        health = self._ask("services", "grafana:3000", "/api/health")
        if health.get("database") != "ok":
            raise NotYet(f"its database is {health.get('database')}")
        return f"version {health.get('version')}"
