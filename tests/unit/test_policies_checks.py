"""What policies find in a cluster: each check holds where it should, and finds what it is there to find."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal

import pytest
import yaml
from attrs import define, field

from k8sha import ConfigError, ControlPlane, Endpoint, Host, KubeError, NotYet, Upstream, Workers
from k8sha.component import Checks
from k8sha.hosts.program import End, Frame, Program, Saw
from k8sha.kube import Api, Json
from k8sha.policies import AuditLog, EncryptionAtRest, Namespace, PodSecurityDefaults, SampleApp
from k8sha.policies.quota import used

from .fake import Fake


@define(eq=False)
class Answers(Api):
    """An API server that answers as told, by path; whatever else is asked of it is not there."""

    told: Mapping[str, Json] = field(factory=dict)
    why: str = ""
    """Why a pod is not admitted; it is where this is empty."""
    asked: list[tuple[str, str]] = field(factory=list)

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        self.asked.append((verb, path))
        if path in self.told:
            return self.told[path]
        if verb == "post" and path.endswith("/pods"):
            assert more["query"] == {"dryRun": "All"}
            if not self.why:
                return body
            raise KubeError(verb, path, 403, self.why)
        raise KubeError(verb, path, 404, "not found")


def server(told: Mapping[str, Json] | None = None, why: str = "") -> Answers:
    return Answers(lambda: "", Endpoint("192.168.56.100"), told=told or {}, why=why)


def of_core(resource: str, *items: Json, namespace: str = "team") -> dict[str, Json]:
    return {f"/api/v1/namespaces/{namespace}/{resource}": {"items": list(items)}}


def asking(cpu: str, **more: Json) -> Json:
    return {"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "1"}}, **more}


def pod(*containers: Json, phase: str = "Running", meta: Json = None, **spec: Json) -> Json:
    return {"metadata": meta or {}, "spec": {"containers": containers, **spec}, "status": {"phase": phase}}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("pods", "4"),
        ("requests.cpu", "3.35"),
        ("cpu", "3.35"),
        ("limits.cpu", "6.15"),
        ("memory", "0"),
        ("requests.nvidia.com/gpu", "0"),
    ],
)
def test_what_pods_use(name: str, count: str) -> None:
    """Those that initialize a pod go before the others, one by one, and some stay beside them."""
    pods = of_core(
        "pods",
        pod(asking("100m"), asking("150m")),
        pod(asking("100m"), initContainers=[asking("2"), asking("500m")]),
        pod(asking("100m"), initContainers=[asking("400m", restartPolicy="Always"), asking("300m")]),
        pod(asking("100m"), resources={"requests": {"cpu": "250m"}}, overhead={"cpu": "150m"}),
        pod(asking("7"), phase="Succeeded"),
        pod(asking("7"), phase="Failed"),
        pod(asking("7"), meta={"deletionTimestamp": "2026-01-01T00:00:00Z"}),
    )
    # 250m; 2 of the largest that initializes; 700m of two at once; 250m and what the sandbox takes
    assert used(server(pods), "team", [name]) == {name: Decimal(count)}


def claim(size: str, of: str) -> Json:
    return {"spec": {"resources": {"requests": {"storage": size}}, "storageClassName": of}}


def service(kind: str, *node_ports: int) -> Json:
    return {"spec": {"type": kind, "ports": [{"port": 80, "nodePort": port} for port in node_ports] or [{"port": 80}]}}


COUNTED = {
    **of_core("persistentvolumeclaims", claim("1Gi", "fast"), claim("512Mi", "slow")),
    **of_core("services", service("ClusterIP"), service("NodePort", 30001, 30002), service("LoadBalancer", 30003)),
    **of_core("configmaps", {}, {}),
    **of_core("pods", pod(asking("1"), phase="Succeeded")),
    "/apis/apps": {"preferredVersion": {"groupVersion": "apps/v1"}},
    "/apis/apps/v1/namespaces/team/deployments": {"items": [{}, {}, {}]},
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("persistentvolumeclaims", "2"),
        ("requests.storage", str(1536 * 1024**2)),
        ("fast.storageclass.storage.k8s.io/requests.storage", str(1024**3)),
        ("fast.storageclass.storage.k8s.io/persistentvolumeclaims", "1"),
        ("none.storageclass.storage.k8s.io/requests.storage", "0"),
        ("services", "3"),
        ("services.nodeports", "3"),
        ("services.loadbalancers", "1"),
        ("configmaps", "2"),
        ("count/configmaps", "2"),
        ("count/pods", "1"),
        ("count/deployments.apps", "3"),
    ],
)
def test_what_else_a_quota_counts(name: str, count: str) -> None:
    assert used(server(COUNTED), "team", [name]) == {name: Decimal(count)}


def test_what_nobody_can_count_is_left_out_and_the_rest_is_not() -> None:
    assert used(server(COUNTED), "team", ["count/widgets.example.org", "something.else", "services"]) == {"services": 3}


@define
class Replies:
    """Shells whose replies are looked up: exit code, output, error."""

    replies: Mapping[str, tuple[int, str, str]]
    texts: list[str] = field(factory=list)

    def host(self, name: str, last: int) -> Host:
        def answer(program: Program) -> Iterator[Frame]:
            self.texts += [probe.text for probe in program.probes]
            exit, out, err = self.replies[name]
            yield Saw(tuple((exit, out.encode(), err.encode()) for _ in program.probes))
            yield End()

        return Host(name, f"192.168.56.{last}", ssh=Fake(answer))


def plane(api: Api, replies: Replies, **given: object) -> ControlPlane:
    masters = tuple(replies.host(f"master-{number}", 9 + number) for number in (1, 2, 3))
    endpoint = Endpoint("192.168.56.100")
    made = ControlPlane(hosts=masters, endpoint=endpoint, version="1.33.13", source=Upstream(), **given)  # type: ignore[arg-type]
    made._seen.api = api
    return made


def looked(checks: Checks) -> dict[str, str]:
    """What each check says: what it saw, or what is missing."""
    found = {}
    for check in checks:
        try:
            found[check.sentence] = check.look()
        except NotYet as error:
            found[check.sentence] = f"MISSING {error}"
    return found


def event(name: str) -> str:
    return json.dumps({"kind": "Event", "objectRef": {"name": name}}) + "\n"


@pytest.mark.parametrize(
    ("third", "says"),
    [
        ((0, event("k8sha-audit-abc"), ""), "configmaps/k8sha-audit-abc in the log of master-3"),
        ((0, "", ""), "MISSING configmaps/k8sha-audit-abc is in none of the masters' logs"),
        ((0, event("k8sha-audit-other"), ""), "MISSING configmaps/k8sha-audit-abc is in none"),
        ((0, '{"kind":"Event","objectRef":{"name":"k8sha-aud', ""), "MISSING configmaps/k8sha-audit-abc is in none"),
        ((2, "", "grep: no such file"), "MISSING master-3: grep: no such file"),
    ],
)
def test_an_audit_log_without_our_request_is_found(
    monkeypatch: pytest.MonkeyPatch, third: tuple[int, str, str], says: str
) -> None:
    """It is in the log of whichever API server answered it."""
    monkeypatch.setattr("k8sha.policies.audit.secrets.token_hex", lambda size: "abc")
    api = server()
    replies = Replies({"master-1": (0, "", ""), "master-2": (0, "", ""), "master-3": third})
    (said,) = looked(AuditLog(directory="/srv/my logs").checks(plane(api, replies))).values()
    assert said.startswith(says)
    assert api.asked == [("get", "/api/v1/namespaces/kube-system/configmaps/k8sha-audit-abc")]
    assert all("'/srv/my logs/audit.log'" in text for text in replies.texts)


def kept(value: bytes) -> str:
    return json.dumps({"kvs": [{"value": base64.b64encode(value).decode()}]})


WRITTEN = b"k8s:enc:secretbox:v1:secretbox-1:"


@pytest.mark.parametrize(
    ("etcd", "read", "says"),
    [
        ((0, kept(WRITTEN + b"\0" * 40), ""), "abc", "73 bytes in etcd"),
        ((0, kept(b"k8s\0\n\x0cabc"), ""), "abc", "MISSING what etcd has of it does not begin with k8s:enc:secretbox"),
        ((0, kept(WRITTEN.replace(b"-1:", b"-2:") + b"\0" * 40), ""), "abc", "MISSING what etcd has of it"),
        ((0, kept(WRITTEN + b"abc"), ""), "abc", "MISSING what etcd has of it"),
        ((0, '{"header":{}}', ""), "abc", "MISSING what etcd has of it"),
        ((0, kept(WRITTEN + b"\0" * 40), ""), "another", "MISSING the API gives another value back"),
        ((1, "", "no member answers"), "abc", "MISSING etcd did not answer: no member answers"),
    ],
)
def test_a_secret_that_is_not_hidden_in_etcd_is_found(
    monkeypatch: pytest.MonkeyPatch, etcd: tuple[int, str, str], read: str, says: str
) -> None:
    """Whatever is found, nothing stays behind."""
    monkeypatch.setattr("k8sha.policies.encryption.secrets.token_hex", lambda size: "abc")
    folder = "/api/v1/namespaces/kube-system/secrets"
    path = f"{folder}/k8sha-check-abc"
    api = server({folder: {}, path: {"data": {"value": base64.b64encode(read.encode()).decode()}}})
    (said,) = looked(EncryptionAtRest().checks(plane(api, Replies({"master-1": etcd})))).values()
    assert said.startswith(says)
    assert api.asked[-1] == ("delete", path)
    assert "abc" not in said.removeprefix("MISSING").replace("k8sha-check-abc", "")


def test_what_is_written_in_plain_has_nothing_to_hide() -> None:
    assert not looked(EncryptionAtRest(provider="identity").checks(plane(server(), Replies({}))))


FORBIDDEN = 'pods "k8sha-check" is forbidden: '


@pytest.mark.parametrize(
    ("why", "privileged", "large"),
    [
        ("", False, False),
        (FORBIDDEN + 'violates PodSecurity "restricted:v1.33": privileged', True, False),
        (FORBIDDEN + "exceeded quota: k8sha, requested: requests.cpu=1M", False, True),
        (FORBIDDEN + "[maximum cpu usage per Container is 1, but limit is 1M]", False, True),
        (FORBIDDEN + "error looking up service account team/default", False, False),
    ],
)
def test_a_namespace_that_admits_too_much_is_found(why: str, privileged: bool, large: bool) -> None:
    """A LimitRange with a maximum refuses what is too large before its quota is asked."""
    owner = plane(server(why=why), Replies({}))
    limits = {"max": {"cpu": "1"}}
    team = Namespace(owner, called="team", quota={"requests.cpu": "2"}, limits=limits, pod_security="restricted")
    said = looked(team.checks())
    assert [not text.startswith("MISSING") for text in said.values()] == [privileged, large]


@pytest.mark.parametrize(
    "quota", [{"count/deployments.apps": "2"}, {"services.nodeports": "2"}, {"requests.storage": "1Gi"}]
)
def test_a_quota_below_what_is_there_is_refused(quota: dict[str, str]) -> None:
    owner = plane(server(COUNTED), Replies({}))

    def told(quota: dict[str, str]) -> list[str]:
        found = Namespace(owner, called="team", quota=quota, check_images=False).problems()
        return [problem.cause for problem in found if "quota" in problem.cause]  # nothing else is asked for here

    ((name, wanted),) = quota.items()
    [said] = told(quota)
    assert f"its quota of {name} is {wanted}, and what is in it uses" in said
    assert told({name: "2Gi"}) == []


def replica(node: str, *, is_ready: bool = True, going: bool = False) -> Json:
    meta = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {}
    status = {"conditions": [{"type": "Ready", "status": str(is_ready)}]}
    return {"metadata": meta, "spec": {"nodeName": node} if node else {}, "status": status}


@pytest.mark.parametrize(
    ("pods", "says"),
    [
        ([replica("worker-1"), replica("worker-2"), replica("worker-1")], "2 on worker-1, 1 on worker-2"),
        ([replica("worker-1")] * 3, "3 on worker-1, 0 on worker-2 (kubectl -n k8sha-sample rollout restart"),
        ([replica("worker-1")] * 2 + [replica("worker-2", is_ready=False)], "MISSING 2 of 3 are ready: 2 on worker-1"),
        ([replica("worker-1")] * 2 + [replica("worker-2", going=True)], "MISSING 2 of 3 are ready"),
        ([replica("", is_ready=False)] * 3, "MISSING 0 of 3 are ready: 0 on worker-1, 0 on worker-2"),
        ([], "MISSING 0 of 3 are ready"),
    ],
)
def test_replicas_that_are_not_ready_are_found_and_drained_workers_are_told(pods: list[Json], says: str) -> None:
    """Nothing goes back to a worker that was drained: that is no finding, or verify would fail for ever after."""
    owner = plane(server(of_core("pods", *pods, namespace="k8sha-sample")), Replies({}))
    hosts = [Host("worker-1", "192.168.56.20"), Host("worker-2", "192.168.56.21")]
    workers = Workers(hosts=hosts, plane=owner)
    check = next(iter(SampleApp(owner, workers=workers, replicas=3).checks()))
    assert next(iter(looked([check]).values())).startswith(says)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        ((0, "sample-1 on worker-1\n", ""), "sample-1 on worker-1"),
        ((7, "", "curl: (7) refused"), "MISSING curl: (7) refused"),
        ((0, "<html>", ""), "MISSING it answers with something else"),
    ],
)
def test_a_node_that_does_not_answer_is_found(reply: tuple[int, str, str], says: str) -> None:
    replies = Replies({"master-1": reply})
    _, *checks = SampleApp(plane(server(), replies)).checks()
    assert set(looked(checks).values()) == {says}
    assert len(checks) == 3
    assert "http://192.168.56.12:30090/" in replies.texts[-1]


def test_exemptions_are_written_as_the_admission_reads_them() -> None:
    policy = PodSecurityDefaults(
        version="1.33.13", exempt_users=("system:serviceaccount:ci:builder",), exempt_runtime_classes=["kata.v2"]
    )
    (plugin,) = yaml.safe_load(policy._text)["plugins"]
    assert plugin["configuration"]["exemptions"] == {
        "usernames": ["system:serviceaccount:ci:builder"],
        "runtimeClasses": ["kata.v2"],
        "namespaces": ["kube-system"],
    }
    assert policy.path != PodSecurityDefaults(version="1.33.13").path


def test_what_is_exempt_is_not_asked() -> None:
    owner = plane(server(), Replies({}))
    assert list(PodSecurityDefaults(version="1.33.13").checks(owner))
    assert not list(PodSecurityDefaults(version="1.33.13", exempt_users="kubernetes-admin").checks(owner))


@pytest.mark.parametrize(
    "given",
    [
        {"exempt": ("kube-system", "Web")},
        {"exempt": ("kube-system", "kube-system")},
        {"exempt": "k*", "enforce": "privileged"},
        {"exempt_users": ("",)},
        {"exempt_users": ("a", "a")},
        {"exempt_runtime_classes": ("Kata",)},
        {"exempt_runtime_classes": (1,)},
    ],
)
def test_exemptions_that_no_api_server_starts_with(given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="is none, or is given twice"):
        PodSecurityDefaults(version="1.33.13", **given)  # type: ignore[arg-type]
