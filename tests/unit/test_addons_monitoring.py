"""Monitoring: what is made of kube-prometheus' objects, what is refused, and what is proved by asking Prometheus."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from attrs import define, evolve, field

from k8sha import (
    BackupSchedule,
    ClusterSettings,
    ConfigError,
    ControlPlane,
    Endpoint,
    EtcdCluster,
    HAProxy,
    Host,
    KubeError,
    LoadBalancer,
    NodeSettings,
    NotReady,
    NotYet,
    Upstream,
)
from k8sha.addons import CsiNfs, KubePrometheusStack, Manifest, Mirror
from k8sha.addons.monitoring.checks import Asking
from k8sha.addons.monitoring.exports import (
    FOLDER,
    balancer_removal,
    balancer_resources,
    master_removal,
    master_resources,
)
from k8sha.addons.monitoring.files import FILES
from k8sha.addons.monitoring.listening import target_problems
from k8sha.addons.monitoring.targets import TARGETS
from k8sha.addons.passwords import Password
from k8sha.addons.storage_class import class_name, class_problems
from k8sha.distros import Debian
from k8sha.kube import Api, Json
from k8sha.objects import Objects
from k8sha.objects.rollout import unfinished
from k8sha.report import Outcome
from k8sha.resources import Absent, Directory, File, Resource
from k8sha.stage import Stage

MASTERS = [Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3)]
BALANCERS = [Host("lb-1", "192.168.56.101"), Host("lb-2", "192.168.56.102")]
LB = LoadBalancer(BALANCERS, "192.168.56.100", MASTERS)
OPEN = ClusterSettings(
    controller_manager=KubePrometheusStack.CONTROLLER_MANAGER,
    scheduler=KubePrometheusStack.SCHEDULER,
    etcd=KubePrometheusStack.ETCD,
)
PLANE = ControlPlane(
    hosts=MASTERS,
    endpoint=LB.endpoint,
    version="1.33.13",
    source=Upstream(),
    cluster=OPEN,
    settings=NodeSettings(kube_proxy=KubePrometheusStack.KUBE_PROXY),
)
SCHEDULE = BackupSchedule(PLANE.etcd, every=timedelta(hours=6), jitter=timedelta(minutes=5))

RELEASED = """\
apiVersion: v1
kind: Namespace
metadata:
  name: monitoring
  labels: {pod-security.kubernetes.io/warn: privileged, pod-security.kubernetes.io/warn-version: latest}
---
apiVersion: monitoring.coreos.com/v1
kind: Prometheus
metadata: {name: k8s, namespace: monitoring}
spec: {replicas: 2}
---
apiVersion: monitoring.coreos.com/v1
kind: Alertmanager
metadata: {name: main, namespace: monitoring}
spec: {replicas: 3}
---
apiVersion: v1
kind: Secret
metadata: {name: alertmanager-main, namespace: monitoring}
stringData: {alertmanager.yaml: theirs}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: grafana, namespace: monitoring}
spec: {template: {spec: {containers: [{name: grafana, image: "grafana/grafana:13", env: []}],
  volumes: [{name: grafana-storage, emptyDir: {}}, {name: other, emptyDir: {}}]}}}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: node-exporter, namespace: monitoring}
spec:
  template:
    spec:
      containers:
      - {name: node-exporter, args: [], volumeMounts: [], resources: {limits: {cpu: 250m}}}
      - {name: kube-rbac-proxy, args: [], resources: {limits: {cpu: 20m, memory: 40Mi}, requests: {cpu: 10m}}}
      volumes: []
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata: {name: kube-scheduler, namespace: monitoring}
spec: {}
---
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata: {name: kubernetes, namespace: monitoring}
spec: {groups: [{name: scheduler, rules: [{alert: KubeSchedulerDown}]}, {name: all, rules: [{alert: TargetDown}]}]}
---
apiVersion: v1
kind: ConfigMapList
items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: board}, data: {a: "="}}]
---
{apiVersion: v1, kind: ConfigMap, metadata: {name: equals}, data: {a: =}}
"""


@define(eq=False)
class Answers(Api):
    """An API server that gives canned answers by the beginning of their path; what it has none for is not found."""

    answers: dict[str, Json] = field(factory=dict)

    def request(
        self,
        verb: str,
        path: str,
        body: Json = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = "json",
        accept: str = "application/json",
    ) -> Json:
        for start, answer in self.answers.items():
            if path.startswith(start):
                if isinstance(answer, KubeError):
                    raise answer
                return answer
        raise KubeError(verb, path, 404, "not found")


def server(**answers: Json) -> Answers:
    found = Answers(lambda: "", Endpoint("192.168.56.100"))
    found.answers.update(answers)
    return found


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> KubePrometheusStack:
    sum = hashlib.sha256(RELEASED.encode()).hexdigest()
    (tmp_path / "all.yaml").write_text(RELEASED)
    manifest = Manifest("all", "v1", "https://example.org/all.yaml", sum)
    monkeypatch.setattr(KubePrometheusStack, "manifests", lambda self: (manifest,))
    mirror = Mirror(urls={"https://example.org": tmp_path.as_uri()})
    return KubePrometheusStack(PLANE, mirror=mirror)


def objects(stack: KubePrometheusStack) -> dict[str, Json]:
    return {f"{item['kind']} {item['metadata']['name']}": item for item in stack.objects()}


def test_the_pins_are_of_one_version_and_each_file_once() -> None:
    assert len({file.name for file in FILES}) == len({file.sha256 for file in FILES}) == len(FILES) == 67
    assert {file.version for file in FILES} == {"v0.18.0"}
    assert not [file.name for file in FILES if "Adapter" in file.name or "networkPolicy" in file.name]


def test_without_a_class_nothing_is_kept_and_with_one_all_of_it(stack: KubePrometheusStack) -> None:
    found = objects(stack)
    assert "storage" not in found["Prometheus k8s"]["spec"]
    assert "PersistentVolumeClaim grafana" not in found
    kept = objects(evolve(stack, storage_class="ssd", prometheus_storage="80Gi"))
    claim = kept["Prometheus k8s"]["spec"]["storage"]["volumeClaimTemplate"]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("ssd", "80Gi")
    assert kept["Alertmanager main"]["spec"]["storage"]["volumeClaimTemplate"]["spec"]["storageClassName"] == "ssd"
    grafana = kept["Deployment grafana"]["spec"]
    assert grafana["strategy"] == {"type": "Recreate"}
    assert grafana["template"]["spec"]["volumes"][0] == {
        "name": "grafana-storage",
        "persistentVolumeClaim": {"claimName": "grafana"},
    }
    nfs = CsiNfs(PLANE, server="nfs.example.org", path="/export", storage_class="shared")
    by_addon = evolve(stack, storage_class=nfs)
    assert objects(by_addon)["PersistentVolumeClaim grafana"]["spec"]["storageClassName"] == "shared"
    assert "against NFS" in next(by_addon.warnings())
    assert list(stack.warnings()) == []


def test_grafanas_password_is_random_and_in_its_secret_alone(stack: KubePrometheusStack) -> None:
    found = objects(stack)
    password = base64.b64decode(found["Secret grafana-admin"]["data"]["password"]).decode()
    assert len(password) == 32
    assert password not in repr(stack)
    del found["Secret grafana-admin"]
    assert password not in repr(found)
    assert objects(stack)["Secret grafana-admin"]["data"]["password"] == base64.b64encode(password.encode()).decode()
    [variable] = found["Deployment grafana"]["spec"]["template"]["spec"]["containers"][0]["env"]
    assert variable["valueFrom"]["secretKeyRef"] == {"name": "grafana-admin", "key": "password"}
    assert KubePrometheusStack(PLANE)._password.value != password


def test_a_password_that_is_there_is_kept_and_none_is_made_while_nobody_can_tell() -> None:
    path = "/api/v1/namespaces/n/secrets/s"
    password = Password(path, "password")
    made = password.value
    password.read(server())
    password.read(server(**{path: KubeError("read", "x", 0, "none has one: the cluster is not installed yet")}))
    assert password.value == made
    with pytest.raises(KubeError):
        password.read(server(**{path: KubeError("get", path, 503, "down")}))
    password.read(server(**{path: {"data": {"password": base64.b64encode(b"theirs").decode()}}}))
    assert password.value == "theirs"
    assert "theirs" not in repr(password)


def test_what_is_written_and_never_read_back_is_not_in_a_secret(stack: KubePrometheusStack) -> None:
    secret = objects(stack)["Secret alertmanager-main"]
    assert "stringData" not in secret
    assert base64.b64decode(secret["data"]["alertmanager.yaml"]) == b"theirs"
    text = "route: {receiver: mail}\nreceivers: [{name: mail}]\n"
    ours = evolve(stack, alertmanager=text)
    assert base64.b64decode(objects(ours)["Secret alertmanager-main"]["data"]["alertmanager.yaml"]) == text.encode()
    assert "receiver: mail" not in repr(ours)


def test_lists_are_taken_apart_and_a_lone_equals_sign_is_text(stack: KubePrometheusStack) -> None:
    found = objects(stack)
    assert found["ConfigMap board"]["data"] == found["ConfigMap equals"]["data"] == {"a": "="}


def test_its_namespace_admits_what_looks_at_the_hosts_themselves(stack: KubePrometheusStack) -> None:
    """Upstream's only warns: where the cluster refuses such pods by default, node_exporter would have none."""
    labels = objects(stack)["Namespace monitoring"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "privileged"
    assert {labels[f"pod-security.kubernetes.io/{mode}-version"] for mode in ("enforce", "warn", "audit")} == {"v1.33"}


def test_what_stands_before_the_exporters_has_the_time_to_answer(stack: KubePrometheusStack) -> None:
    """Its limit of a fiftieth of a processor goes, that of its memory stays, and other containers keep theirs."""
    pod = objects(stack)["DaemonSet node-exporter"]["spec"]["template"]["spec"]
    own, proxy = pod["containers"]
    assert own["resources"]["limits"] == {"cpu": "250m"}
    assert proxy["resources"] == {"limits": {"memory": "40Mi"}, "requests": {"cpu": "10m"}}


def test_nodes_export_what_lies_in_the_folder_of_the_schedule(stack: KubePrometheusStack) -> None:
    schedule = evolve(SCHEDULE, metrics="/srv/metrics")
    pod = objects(evolve(stack, backups=schedule))["DaemonSet node-exporter"]["spec"]["template"]["spec"]
    assert pod["volumes"] == [{"name": "textfile", "hostPath": {"path": "/srv/metrics", "type": "DirectoryOrCreate"}}]
    assert pod["containers"][0]["args"] == ["--collector.textfile.directory=/host/textfile"]
    assert pod["containers"][1]["args"] == []


def test_a_target_that_is_left_out_has_no_monitor_and_no_alert_for_its_absence(stack: KubePrometheusStack) -> None:
    everything = objects(stack)
    assert {f"Service k8sha-metrics-{name}" for name in TARGETS} <= everything.keys()
    assert {f"ServiceMonitor {name}" for name in ("etcd", "kube-proxy", "kube-scheduler")} <= everything.keys()
    assert len(everything["PrometheusRule kubernetes"]["spec"]["groups"]) == 2
    less = objects(evolve(stack, targets=("etcd",)))
    assert "ServiceMonitor kube-scheduler" not in less
    assert [group["name"] for group in less["PrometheusRule kubernetes"]["spec"]["groups"]] == ["all"]
    with pytest.raises(ConfigError, match="there is no target dns"):
        KubePrometheusStack(PLANE, targets=("dns",))


def asked(plane: ControlPlane, **answers: Json) -> ControlPlane:
    """A plane whose API server gives these answers."""
    found = evolve(plane)
    found._seen.api = server(**answers)
    return found


PLAIN = evolve(PLANE, cluster=ClusterSettings(), settings=NodeSettings())


def test_targets_on_loopback_are_refused_with_the_setting_that_opens_them() -> None:
    assert list(target_problems(asked(PLANE), TARGETS)) == []
    found = {problem.cause.split()[0]: problem.remedy for problem in target_problems(asked(PLAIN), TARGETS)}
    assert set(found) == set(TARGETS)
    assert "scheduler=KubePrometheusStack.SCHEDULER" in found["kube-scheduler"]
    half = evolve(PLANE, cluster=evolve(OPEN, etcd={"listen-metrics-urls": "http://127.0.0.1:2381,http://[::1]:2381"}))
    assert [problem.cause for problem in target_problems(asked(half), TARGETS)] == [
        "etcd shows its metrics on loopback alone"
    ]


def running(component: str, *arguments: str, node: str = "master-1") -> Json:
    meta = {"name": f"{component}-{node}", "labels": {"component": component, "tier": "control-plane"}}
    return {"metadata": meta, "spec": {"nodeName": node, "containers": [{"command": [component, *arguments]}]}}


def there(metrics: str, proxy: str) -> dict[str, Json]:
    """What a cluster says of itself, the second master being one on which the scheduler was opened."""
    pods = [
        running("kube-apiserver", "--bind-address=127.0.0.1"),
        running("etcd", f"--listen-metrics-urls={metrics}"),
        running("kube-controller-manager", "--bind-address=0.0.0.0"),
        running("kube-scheduler", "--bind-address=127.0.0.1"),
        running("kube-scheduler", "--bind-address=0.0.0.0", node="master-2"),
    ]
    path = "/api/v1/namespaces/kube-system"
    config = {"data": {"config.conf": f"metricsBindAddress: {proxy}\nmode: iptables\n"}}
    return {f"{path}/pods": {"items": pods}, f"{path}/configmaps/kube-proxy": config}


def test_of_a_cluster_that_is_there_its_own_word_counts_and_not_what_was_declared_since() -> None:
    """Settings that were added later are not applied: targets would stay down until the wait ran out."""
    answers = there("http://127.0.0.1:2381", '""')
    found = {problem.cause: problem.remedy for problem in target_problems(asked(PLANE, **answers), TARGETS)}
    assert sorted(found) == [
        "etcd shows its metrics on loopback alone (master-1)",
        "kube-proxy shows its metrics on loopback alone (every node)",
        "kube-scheduler shows its metrics on loopback alone (master-1)",
    ]
    etcd, proxy, scheduler = (found[cause] for cause in sorted(found))
    assert "s#--listen-metrics-urls=.*#--listen-metrics-urls=http://0.0.0.0:2381#" in etcd
    assert "on master-1, one after another" in scheduler
    assert "rollout restart daemonset kube-proxy" in proxy
    opened = there("http://127.0.0.1:2381,http://0.0.0.0:2381", '"0.0.0.0:10249"')
    assert list(target_problems(asked(PLAIN, **opened), ("etcd", "kube-proxy", "kube-controller-manager"))) == []


def test_a_class_by_name_must_be_there_and_one_of_an_addon_need_not() -> None:
    nfs = CsiNfs(PLANE, server="nfs.example.org", path="/export")
    assert list(class_problems("x", server(), nfs)) == list(class_problems("x", server(), None)) == []
    [problem] = class_problems("x", server(), "ssd")
    assert problem.cause == "there is no StorageClass ssd"
    there = server(**{"/apis/storage.k8s.io/v1/storageclasses/ssd": {"metadata": {"name": "ssd"}}})
    assert list(class_problems("x", there, "ssd")) == []
    down = server(**{"/apis/storage.k8s.io": KubeError("get", "x", 0, "nobody answers")})
    assert list(class_problems("x", down, "ssd")) == []


def test_a_class_that_nobody_has_made_by_its_turn_ends_the_install_before_the_first_object(
    stack: KubePrometheusStack,
) -> None:
    """A typing error on a fresh cluster, or an add-on whose own install was forgotten: its claims would be
    pending until the wait runs out."""
    nfs = CsiNfs(PLANE, server="nfs.example.org", path="/export")
    for given, remedy in (("sdd", "make it first, or give the add-on"), (nfs, "install CsiNfs first")):
        name = class_name(given)
        missing = evolve(stack, plane=asked(PLANE), storage_class=given)
        with pytest.raises(NotReady, match=f"there is no StorageClass {name} — {remedy}"):
            missing.gate()
        evolve(missing, plane=asked(PLANE, **{f"/apis/storage.k8s.io/v1/storageclasses/{name}": {}})).gate()
    evolve(stack, plane=asked(PLANE, **{"/apis/storage": KubeError("get", "x", 503, "down")})).gate()  # wants none
    step = stack._step(stack._wanted()[0])
    assert step.gate == stack.gate


def test_a_class_that_is_not_there_is_refused_before_the_first_change(stack: KubePrometheusStack) -> None:
    kept = evolve(stack, storage_class="ssd", plane=asked(PLANE), check_images=False)
    assert "there is no StorageClass ssd" in [problem.cause for problem in kept.problems()]
    there = asked(PLANE, **{"/apis/storage.k8s.io/v1/storageclasses/ssd": {}})
    assert "there is no StorageClass ssd" not in [problem.cause for problem in evolve(kept, plane=there).problems()]


def test_rules_are_about_what_is_watched(stack: KubePrometheusStack) -> None:
    plain = objects(stack)["PrometheusRule k8sha"]["spec"]["groups"]
    assert [group["name"] for group in plain] == ["k8sha-certificates", "k8sha-etcd"]
    watched = evolve(stack, backups=SCHEDULE, balancers=LB)
    groups = {group["name"]: group["rules"] for group in objects(watched)["PrometheusRule k8sha"]["spec"]["groups"]}
    alerts = {rule["alert"]: rule["expr"] for rules in groups.values() for rule in rules}
    assert (
        alerts["EtcdBackupOld"] == "time() - k8sha_etcd_backup_last_success_timestamp_seconds > 43500"
    )  # 2 * 6 h + 5 m
    assert alerts["EtcdQuorumAtRisk"].startswith('(sum(up{job="etcd"}) < 2)')
    assert alerts["HAProxyBackendDown"] == 'haproxy_server_status{proxy="kube-apiserver",state="UP"} == 0'
    assert {"CertificateEnds", "VIPFlapping", "VIPUnheld", "VIPHeldTwice"} <= alerts.keys()
    found = objects(watched)["ScrapeConfig balancers"]["spec"]["staticConfigs"]
    assert [each["targets"] for each in found] == [["192.168.56.101:9100"], ["192.168.56.102:9100"]]


def test_backups_that_no_exporter_would_tell_of_are_refused() -> None:
    """Their alert would fire for ever, and nothing be watched."""
    own = EtcdCluster([Host(f"e{number}", f"192.168.56.{29 + number}") for number in (1, 2, 3)])
    with pytest.raises(ConfigError, match="made on e1, e2, e3, where no node_exporter of the cluster runs"):
        KubePrometheusStack(PLANE, backups=BackupSchedule(own))
    with pytest.raises(ConfigError, match="writes no metrics — give the BackupSchedule a folder"):
        KubePrometheusStack(PLANE, backups=evolve(SCHEDULE, metrics=""))


@pytest.mark.parametrize(
    "wrong",
    [
        {"retention": "a while"},
        {"prometheus_storage": "much"},
        {"alertmanager": "route: [password"},
        {"alertmanager": "just text"},
    ],
)
def test_settings_that_can_not_work_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises((ConfigError, ValueError)) as caught:
        KubePrometheusStack(PLANE, **wrong)  # type: ignore[arg-type]
    assert "password" not in str(caught.value)


CONDITIONS = {
    "both": ([("Reconciled", "True"), ("Available", "True")], ""),
    "degraded": ([("Reconciled", "True"), ("Available", "Degraded")], "Available is Degraded"),
    "failing": ([("Reconciled", "False"), ("Available", "True")], "Reconciled is False"),
    "fresh": ([], "Reconciled is not known yet"),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_what_the_operator_makes_is_waited_for(name: str) -> None:
    conditions, lacks = CONDITIONS[name]
    status = {"conditions": [{"type": kind, "status": value} for kind, value in conditions]}
    for kind in ("Prometheus", "Alertmanager"):
        item = {"apiVersion": "monitoring.coreos.com/v1", "kind": kind, "metadata": {"name": "x"}, "status": status}
        assert unfinished(item) == lacks
        assert unfinished(item | {"apiVersion": "example.org/v1"}) == ""


def test_what_the_operator_said_before_a_change_does_not_count() -> None:
    conditions = [{"type": kind, "status": "True", "observedGeneration": 1} for kind in ("Available", "Reconciled")]
    item = {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "status": {"conditions": conditions}}
    assert unfinished(item | {"metadata": {"generation": 1}}) == ""
    assert unfinished(item | {"metadata": {"generation": 2}}) == "its operator has not seen it yet"


POD = "/api/v1/namespaces/monitoring/pods/"


def target(job: str, instance: str, health: str = "up", error: str = "") -> Json:
    return {"labels": {"job": job, "instance": instance}, "health": health, "lastError": error}


def asking(*targets: Json, **more: Json) -> Asking:
    data = {"status": "success", "data": {"activeTargets": list(targets)}}
    pods = {f"{POD}prometheus-k8s-{number}:9090/proxy/api/v1/targets": data for number in (0, 1)}
    api = server(**{"/api/v1/nodes": {"items": [{"metadata": {"name": "w"}}]}}, **pods, **more)
    return Asking(api=api, counts={"etcd": 2}, on_nodes=("kubelet",), groups=("ours",), masters=3)


def test_targets_must_be_as_many_as_there_are_hosts_and_all_of_them_up() -> None:
    good = (target("etcd", "a"), target("etcd", "b"), target("kubelet", "w"), target("kubelet", "w"))
    assert asking(*good)._targets() == "3 instances"
    with pytest.raises(NotYet, match="prometheus-k8s-0: etcd has 1 of 2 instances"):
        asking(good[0], *good[2:])._targets()
    for order in (1, -1):  # one endpoint of an instance is up, another is not
        both = (*good, target("kubelet", "w", "down", "401 Unauthorized"))[::order]
        with pytest.raises(NotYet, match="prometheus-k8s-1: kubelet w: 401 Unauthorized"):
            asking(*both)._targets()


def test_one_prometheus_that_does_not_answer_is_not_hidden_by_the_other() -> None:
    found = asking(target("etcd", "a"), target("etcd", "b"), target("kubelet", "w"))
    found.api.answers[f"{POD}prometheus-k8s-1:9090"] = KubeError("get", "x", 503, "no endpoints")  # type: ignore[attr-defined]
    del found.api.answers[f"{POD}prometheus-k8s-1:9090/proxy/api/v1/targets"]  # type: ignore[attr-defined]
    with pytest.raises(NotYet, match=r"prometheus-k8s-1: .*no endpoints"):
        found._targets()


@pytest.mark.parametrize(
    ("health", "said"), [("ok", "1 rules"), ("err", "EtcdNoLeader: parse error"), ("unknown", "EtcdNoLeader: unknown")]
)
def test_rules_must_have_been_evaluated(health: str, said: str) -> None:
    rule = {"name": "EtcdNoLeader", "health": health, "lastError": "parse error" if health == "err" else ""}
    data = {"status": "success", "data": {"groups": [{"name": "ours", "rules": [rule]}]}}
    found = asking(**{f"{POD}prometheus-k8s-{number}:9090/proxy/api/v1/rules": data for number in (0, 1)})
    if health == "ok":
        assert found._rules().startswith(said)
    else:
        with pytest.raises(NotYet, match=said):
            found._rules()


@pytest.mark.parametrize(
    ("told", "said"), [("3", ""), ("2", "2 of 3 members tell of theirs — .*systemctl start"), (None, "0 of 3")]
)
def test_every_members_backups_are_told_of(told: str | None, said: str) -> None:
    result = [] if told is None else [{"value": [0, told]}]
    data = {"status": "success", "data": {"result": result}}
    found = evolve(
        asking(**{f"{POD}prometheus-k8s-{number}:9090/proxy/api/v1/query": data for number in (0, 1)}), backups=3
    )
    [check] = [check for check in found.checks() if "backups" in check.sentence]
    if said:
        with pytest.raises(NotYet, match=said):
            check.look()
    else:
        assert check.look() == "3 members"
    assert not [check for check in evolve(found, backups=0).checks() if "backups" in check.sentence]


def test_an_alert_must_arrive_at_three_alertmanagers_that_see_each_other() -> None:
    def alertmanagers(peers: int, *alerts: str) -> dict[str, Json]:
        return {
            f"{POD}alertmanager-main-{number}:9093/proxy/api/v2/{path}": answer
            for number in range(3)
            for path, answer in (
                ("status", {"cluster": {"peers": [{}] * peers}}),
                ("alerts", [{"labels": {"alertname": name}} for name in alerts]),
            )
        }

    assert "all three" in asking(**alertmanagers(3, "Watchdog"))._alerts()
    with pytest.raises(NotYet, match="sees 2 of 3"):
        asking(**alertmanagers(2, "Watchdog"))._alerts()
    with pytest.raises(NotYet, match="has not arrived"):
        asking(**alertmanagers(3, "TargetDown"))._alerts()


@pytest.fixture
def _debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "distro", Debian())


def exported(lb: LoadBalancer = LB) -> list[Resource]:
    return list(balancer_resources(BALANCERS[0], lb))


@pytest.mark.usefixtures("_debian")
def test_an_uninstall_takes_away_every_file_that_hosts_were_given() -> None:
    made = [item.path for item in (*master_resources("/srv/m"), *exported()) if isinstance(item, File)]
    gone = {item.path for item in (*master_removal("/srv/m"), *balancer_removal()) if isinstance(item, Absent)}
    assert set(made) - gone == {"/etc/default/prometheus-node-exporter"}  # the package's own file


@pytest.mark.usefixtures("_debian")
def test_a_balancers_exporter_does_not_listen_on_the_vip() -> None:
    files = {item.path: str(item.content) for item in exported() if isinstance(item, File)}
    assert '"--web.listen-address=192.168.56.101:9100 ' in files["/etc/default/prometheus-node-exporter"]
    assert f" write {FOLDER} 192.168.56.100 8405\n" in files["/etc/systemd/system/k8sha-export-balancer.service"]
    silent = evolve(LB, proxy=HAProxy(metrics=False))
    files = {item.path: str(item.content) for item in exported(silent) if isinstance(item, File)}
    assert f" write {FOLDER} 192.168.56.100 0\n" in files["/etc/systemd/system/k8sha-export-balancer.service"]


def test_hosts_export_before_the_objects_are_made(stack: KubePrometheusStack) -> None:
    watched = evolve(stack, backups=evolve(SCHEDULE, metrics="/srv/metrics"))
    watched.plane._seen.api = server()
    stages = watched.stages()
    first = next(stages)
    assert isinstance(first, Stage)
    assert set(first.work) == set(MASTERS)
    assert Directory("/srv/metrics") in first.work[MASTERS[0]]
    assert isinstance(stages.send(Outcome()), Objects)
