"""Policies: what is refused before the first change, what API servers are told, whose labels and taints are whose."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import define, field

from k8sha import Cluster, ClusterSettings, ConfigError, ControlPlane, Endpoint, Host, KubeError, NotYet, Upstream
from k8sha.components.apiserver_host import MANIFEST, ApiServerRuns
from k8sha.components.formation import cluster_configuration
from k8sha.events import ignore
from k8sha.kube import Api, Json
from k8sha.objects import Wanted
from k8sha.objects.inventory import Inventory
from k8sha.policies import AuditLog, EncryptionAtRest, Namespace, Nodes, PodSecurityDefaults, SampleApp
from k8sha.policies.audit import DEFAULT_POLICY, policy_problems
from k8sha.policies.keys import FOLDER, MadeKey, OnlyThese, Rewritten, ask_etcd
from k8sha.policies.nodes import TAINTS
from k8sha.policies.quota import amount

MASTER = Host("master-1", "192.168.56.10")


def plane(*hosts: Host, version: str = "1.33.13", **given: object) -> ControlPlane:
    hosts = hosts or (MASTER,)
    endpoint = Endpoint("192.168.56.100")
    return ControlPlane(hosts=hosts, endpoint=endpoint, version=version, source=Upstream(), **given)  # type: ignore[arg-type]


HEAD = "apiVersion: audit.k8s.io/v1\nkind: Policy\n"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("rules: [", "does not parse"),
        ("- level: None", "is no mapping"),
        ("kind: Policy\nrules: [{level: None}]", "not audit.k8s.io/v1 Policy"),
        (HEAD, "has no rules"),
        (HEAD + "rules: [{level: Everything}]", "rule 1: level 'Everything' is none of"),
        (HEAD + "rules: [{level: None, user: [x]}]", "rule 1: has an unknown field user"),
        (HEAD + "rules: [{level: None}]\nomitStages: [Later]", "omitStages: 'Later' is no stage"),
        (HEAD + "rules: [{level: None, verbs: get}]", "verbs is no list"),
        (HEAD + "rules: [{level: None, resources: [secrets]}]", "resources is no list"),
        (HEAD + "rules: [{level: None, resources: [{group: apps/v1}]}]", "group 'apps/v1' is no name"),
        (HEAD + "rules: [{level: None, resources: [{group: a..b}]}]", "group 'a..b' is no name"),
        (HEAD + "rules: [{level: None, resources: [{group: 1}]}]", "group 1 is no name"),
        (HEAD + "rules: [{level: None, resources: [{group: false}]}]", "group False is no name"),
        (HEAD + "rules: [{level: None, resources: [1]}]", "resources is no list"),
        (HEAD + "rules: [{level: None, resources: {group: apps}}]", "resources is no list"),
        (
            HEAD + "rules: [{level: None, resources: [{group: '', resources: secrets}]}]",
            "'secrets' is no list of texts",
        ),
        (HEAD + "rules: [{level: None, resources: [{resources: [1]}]}]", "resources [1] is no list of texts"),
        (HEAD + "rules: [{level: None, resources: [{resources: [a], resourceNames: b}]}]", "'b' is no list of texts"),
        (HEAD + "rules: [{level: None, resources: [{resource: [a]}]}]", "resources: has an unknown field resource"),
        (HEAD + "rules: [{level: None, users: [1]}]", "users is no list of texts"),
        (HEAD + "rules: [{level: None, verbs: [on]}]", "verbs is no list of texts"),
        (HEAD + "rules: [{level: None, nonResourceURLs: /healthz}]", "nonResourceURLs is no list of texts"),
        (HEAD + "rules: [{level: None, omitStages: Panic}]", "rule 1: omitStages is no list"),
        (HEAD + "rules: [{level: None, omitManagedFields: 'yes'}]", "rule 1: omitManagedFields 'yes' is neither"),
        (HEAD + "omitManagedFields: 1\nrules: [{level: None}]", "omitManagedFields 1 is neither"),
        (HEAD + "metadata: audit\nrules: [{level: None}]", "metadata is no mapping"),
        (HEAD + "metadata: {name: 1}\nrules: [{level: None}]", "metadata: name 1 is no text"),
        (HEAD + "metadata: {labels: {a: 1}}\nrules: [{level: None}]", "metadata: labels is no mapping of texts"),
        (HEAD + "metadata: {nam: a}\nrules: [{level: None}]", "metadata: has an unknown field nam"),
        (HEAD + "rules: [{level: None, resources: [{resourceNames: [a]}]}]", "resourceNames needs resources"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [healthz]}]", "'healthz' does not begin with /"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [/a*b]}]", "has a * before its end"),
        (HEAD + "rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]", "beside resources or namespaces"),
    ],
)
def test_an_audit_policy_that_no_api_server_would_start_with(policy: str, said: str) -> None:
    with pytest.raises(ConfigError, match="its policy"):
        AuditLog(policy=policy)
    assert any(said in problem for problem in policy_problems(policy))


def test_all_that_an_audit_policy_may_have() -> None:
    """``null`` is what an API server's own reader takes for a field that is not there."""
    rule = (
        "{level: Metadata, users: null, userGroups: [a], verbs: [get], namespaces: [''], omitStages: [Panic],"
        " omitManagedFields: true, resources: [{group: null, resources: ['*/scale', secrets], resourceNames: [b]},"
        " {group: apps}, {}]}"
    )
    more = "metadata: {name: a, labels: {b: c}, creationTimestamp: null}\nomitManagedFields: false\nomitStages: []\n"
    urls = "{level: None, nonResourceURLs: ['*', /a*], resources: []}"
    assert list(policy_problems(f"{HEAD}{more}rules: [{rule}, {urls}]")) == []


@pytest.mark.parametrize("directory", [
    "/", "//", "/var", "/var/log", "//var/log/", "/var/log/./", "/var/log/kubernetes/..", "/var/log/audit",
    "/var/log/audit/", "/var/log/audit/kube", "/etc", "/etc/kubernetes/audit", "/var/lib/etcd/x", "/tmp",
    "/var/lib/k8sha",
])  # fmt: skip
def test_an_audit_log_has_a_folder_of_its_own(directory: str) -> None:
    """auditd's log has the same name, and a folder that others need would be root's alone."""
    with pytest.raises(ConfigError, match="is not the log's alone — give the log a folder of its own"):
        AuditLog(directory=directory)
    for fine in ("/var/log/kubernetes", "/var/log/kubernetes/audit/", "/srv/audit", "/audit", "/var/log/auditing"):
        AuditLog(directory=fine)


def test_the_default_policy_never_has_bodies() -> None:
    assert list(policy_problems(DEFAULT_POLICY)) == []
    assert "Request" not in DEFAULT_POLICY.replace("RequestReceived", "").replace("request", "")


@pytest.mark.parametrize("version", ["1.30.14", "1.33.13"])
def test_policies_reach_kubeadm_in_the_words_of_its_version(version: str) -> None:
    policies = (AuditLog(), EncryptionAtRest(), PodSecurityDefaults(version=version))
    server: Json = cluster_configuration(plane(version=version, policies=policies))["apiServer"]
    extra = server["extraArgs"]
    values = extra if isinstance(extra, Mapping) else {item["name"]: item["value"] for item in extra}
    assert isinstance(extra, Mapping) == version.startswith("1.30")
    assert values["audit-policy-file"] == AuditLog().path
    assert values["encryption-provider-config"] == "/etc/kubernetes/encryption/secretbox-1+identity.yaml"
    assert values["shutdown-delay-duration"] == "15s"
    types = {volume["name"]: (volume["pathType"], volume["readOnly"]) for volume in server["extraVolumes"]}
    assert types["audit-policy"] == ("File", True)
    assert types["audit-log"] == ("DirectoryOrCreate", False)


def test_two_policies_of_one_kind_are_refused() -> None:
    with pytest.raises(ConfigError, match="has two AuditLog"):
        plane(policies=(AuditLog(), AuditLog(max_files=2)))


def test_an_argument_that_a_policy_sets_is_not_given_twice() -> None:
    own = ClusterSettings(api_server={"audit-log-maxage": "7"})
    with pytest.raises(ConfigError, match="--audit-log-maxage is set by AuditLog too"):
        plane(policies=(AuditLog(),), cluster=own)


class Admission(Api):
    """An API server that answers every pod with this, and whose namespace ``default`` has these labels."""

    message: str = ""
    labels: Mapping[str, str] = {}

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        if verb == "get":
            return {"metadata": {"labels": dict(self.labels)}}
        assert more["query"] == {"dryRun": "All"}
        if self.message:
            raise KubeError(verb, path, 403, self.message)
        return body


@pytest.mark.parametrize(
    ("message", "labels", "holds"),
    [
        ('violates PodSecurity "baseline:v1.33": privileged', {}, True),
        ("exceeded quota", {}, False),
        ("", {}, False),
        ("", {"pod-security.kubernetes.io/enforce": "privileged"}, True),
    ],
)
def test_the_default_is_proven_by_a_pod_that_is_refused(message: str, labels: dict[str, str], holds: bool) -> None:
    owner = plane(policies=(PodSecurityDefaults(version="1.33.13"),))
    server = Admission(lambda: "", Endpoint("192.168.56.100"))
    server.message, server.labels = message, labels
    owner._seen.api = server
    (check,) = owner.policies[0].checks(owner)
    if holds:
        assert check.look()
    else:
        with pytest.raises(NotYet):
            check.look()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"key": b"short"}, "5 bytes"),
        ({"key": base64.b64encode(b"x" * 16).decode()}, "16 bytes"),
        ({"key": "?"}, "not base64"),
        ({"key": "schlüssel"}, "not base64"),
        ({"key": base64.encodebytes(b"x" * 32)}, "45 bytes, and secretbox takes 32 — give those, or the text"),
        ({"provider": "aesgcm"}, "unknown provider"),
        ({"generation": 0}, "generation 0"),
    ],
)
def test_keys_of_a_wrong_length(given: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        EncryptionAtRest(**given)  # type: ignore[arg-type]


def test_a_key_is_read_as_the_remedys_own_command_writes_it() -> None:
    key = bytes(range(32))
    assert EncryptionAtRest(key=base64.encodebytes(key).decode()) == EncryptionAtRest(key=key)
    with pytest.raises(ConfigError) as caught:
        EncryptionAtRest(key="geheim-ß")
    assert "geheim" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_given_key_is_not_shown() -> None:
    policy = EncryptionAtRest(key=b"0123456789abcdef" * 2)
    assert "0123" not in repr(policy) + policy.key_name
    assert "MDEy" not in repr(plane(policies=(policy,)))


STACKED = "https://127.0.0.1:2379"
ELSEWHERE = ",".join(f"https://192.168.56.{last}:2379" for last in (31, 32, 33))
PKI = "/etc/kubernetes/pki"


def asked(script: str, folder: Path, answers: Mapping[str, str], servers: str = STACKED) -> tuple[int, str, str]:
    """What a script says on a master whose API server has these ``servers``: members by URL, and what each answers to
    whoever has the API server's certificate. Any other is not there."""
    flags = {"servers": servers, "cafile": f"{PKI}/etcd/ca.crt"}
    flags |= {name: f"{PKI}/apiserver-etcd-client.{end}" for name, end in (("certfile", "crt"), ("keyfile", "key"))}
    manifest = folder / "kube-apiserver.yaml"
    manifest.write_text("".join(f"    - --etcd-{name}={value}\n" for name, value in flags.items()))
    known = f"*'--cacert {flags['cafile']} --cert {flags['certfile']} --key {flags['keyfile']} '"
    cases = "".join(f"{known}{url}/v3/kv/range*) {text} ;;\n" for url, text in answers.items())
    fake = f"curl() {{ case $* in\n{cases}*) echo 'curl: (7) no answer' >&2; return 7 ;; esac; }}\n"
    text = fake + script.replace(MANIFEST, str(manifest))
    done = subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip(), done.stderr


def etcd(values: list[bytes], told: int | None = None) -> str:
    """Shell for what an etcd with these values answers."""
    count = json.dumps({"count": str(len(values) if told is None else told)})
    kvs = [{"key": "a", "value": base64.b64encode(value).decode()} for value in values]
    everything = json.dumps({"kvs": kvs, "count": str(len(values))})
    return f"case $* in *count_only*) echo '{count}' ;; *) echo '{everything}' ;; esac"


def counted(folder: Path, values: list[bytes], told: int | None = None) -> str:
    """What the shell of :class:`Rewritten` says of an etcd with these values."""
    exit, out, err = asked(Rewritten("secretbox-1")._count(), folder, {STACKED: etcd(values, told)})
    assert (exit, err) == (0, "")
    return out


def test_what_etcd_has_is_judged_by_its_first_bytes(tmp_path: Path) -> None:
    new, older = b"k8s:enc:secretbox:v1:secretbox-1:", b"k8s:enc:secretbox:v1:secretbox-12:"
    body = bytes(range(256))
    assert counted(tmp_path, []) == "0 0"
    assert counted(tmp_path, [new + body, new + body[::-1]]) == "2 0"
    assert counted(tmp_path, [new + body, older + body, b"k8s\0\n" + body]) == "3 2"
    assert counted(tmp_path, [new + body], told=7).startswith("etcd has 7")
    assert Rewritten("secretbox-1").diff(b"etcd has 7, and told 1\n")


@pytest.mark.parametrize("alive", [31, 33])
def test_an_etcd_on_hosts_of_its_own_is_asked_at_whichever_member_answers(tmp_path: Path, alive: int) -> None:
    """With what the API server itself has: a master has no other certificate for it."""
    new = b"k8s:enc:secretbox:v1:secretbox-1:"
    answers = {f"https://192.168.56.{alive}:2379": etcd([new, b"k8s\0"])}
    assert asked(Rewritten("secretbox-1")._count(), tmp_path, answers, ELSEWHERE)[:2] == (0, "2 1")
    _, out, _ = asked(ask_etcd("/registry/secrets/kube-system/one"), tmp_path, answers, ELSEWHERE)
    assert base64.b64decode(json.loads(out)["kvs"][0]["value"]) == new


def test_an_etcd_of_which_no_member_answers_is_an_error_and_no_secret_counts_as_written(tmp_path: Path) -> None:
    for script in (Rewritten("secretbox-1")._count(), ask_etcd("/registry/secrets/kube-system/one")):
        exit, out, err = asked(script, tmp_path, {}, ELSEWHERE)
        assert (exit, out) == (1, "")
        assert f"no member of the API server's etcd answers: {ELSEWHERE}" in err


@define(eq=False)
class Server(Api):
    """An API server with one node: server-side apply by label, and taints as a whole."""

    node: Json = field(factory=dict)
    calls: list[str] = field(factory=list)

    def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
        self.calls.append(verb)
        meta = self.node["metadata"]
        if path in ("/api", "/apis"):
            kind = {"resource": "nodes", "responseKind": {"kind": "Node"}, "scope": "Cluster", "verbs": []}
            versions = [{"version": "v1", "resources": [kind]}] if path == "/api" else []
            return {"items": [{"metadata": {"name": ""}, "versions": versions}]}
        if verb == "get":
            return {"items": [self.node]} if path == "/api/v1/nodes" else self.node
        if more["kind"] == "apply-patch+yaml":
            mine = {key: dict(body["metadata"].get(key) or {}) for key in ("labels", "annotations")}
            owned = meta["managedFields"][0]["fieldsV1"].get("f:metadata", {})
            for key, values in mine.items():
                for name in owned.get(f"f:{key}", {}):
                    meta[key].pop(name[2:], None)
                meta[key].update(values)
            fields: Json = {f"f:{key}": {f"f:{name}": {} for name in values} for key, values in mine.items()}
            meta["managedFields"][0]["fieldsV1"] = {"f:metadata": fields}
        else:
            self.node["spec"]["taints"] = body["spec"]["taints"] or []
        return self.node


CONTROL_PLANE = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}


def cluster_node() -> Json:
    managed = [{"manager": "k8sha", "operation": "Apply", "fieldsV1": {}}]
    meta = {"name": "master-1", "uid": "1", "resourceVersion": "7", "labels": {"theirs": "1"}, "annotations": {}}
    return {"metadata": {**meta, "managedFields": managed}, "spec": {"taints": [dict(CONTROL_PLANE)]}}


def keep(server: Server, **declared: object) -> tuple[str, ...]:
    """Install with these labels and taints; the lines of the plan before it."""
    owner = plane(Host("master-1", "192.168.56.10", **declared))  # type: ignore[arg-type]
    owner._seen.api = server
    (step,) = list(Nodes(owner).stages())
    _, found = step.plan("Nodes", ignore)
    step.install("Nodes", ignore)
    _, left = step.plan("Nodes", ignore)
    assert not left.changes
    return found.changes[0].diff.lines


def test_labels_and_taints_of_ours_come_and_go_and_others_stay() -> None:
    server = Server(lambda: "", Endpoint("192.168.56.100"), node=cluster_node())
    taint = "example.org/gpu=yes:NoSchedule"
    assert keep(server, labels={"zone": "a"}, taints=(taint,)) == ("+ label zone=a", f"+ taint {taint}")
    assert server.node["metadata"]["labels"] == {"theirs": "1", "zone": "a"}
    assert CONTROL_PLANE in server.node["spec"]["taints"]
    server.node["metadata"]["labels"]["zone"] = "b"
    server.node["spec"]["taints"].pop()
    assert keep(server, labels={"zone": "a"}, taints=(taint,)) == ("label zone: b -> a", f"+ taint {taint}")
    assert keep(server, labels={}, taints=()) == ("- label zone", f"- taint {taint}")
    assert server.node["metadata"]["labels"] == {"theirs": "1"}
    assert server.node["spec"]["taints"] == [CONTROL_PLANE]
    assert TAINTS not in server.node["metadata"]["annotations"]


def test_a_taint_that_was_there_before_us_is_no_error_and_stays() -> None:
    server = Server(lambda: "", Endpoint("192.168.56.100"), node=cluster_node())
    keep(server, labels={"zone": "a"}, taints=("node-role.kubernetes.io/control-plane:NoSchedule",))
    keep(server, labels={}, taints=())
    assert server.node["spec"]["taints"] == [CONTROL_PLANE]


@pytest.mark.parametrize(
    "declared", [{"labels": {"a b": "c"}}, {"labels": {"a": "b c"}}, {"taints": ("a=b",)}, {"taints": ("a:Never",)}]
)
def test_what_is_no_label_or_taint(declared: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="is no"):
        Nodes(plane(Host("master-1", "192.168.56.10", **declared)))  # type: ignore[arg-type]


def test_labels_that_nothing_would_keep_are_refused() -> None:
    owner = plane(Host("master-1", "192.168.56.10", labels={"zone": "a"}))
    with pytest.raises(ConfigError, match=r"master-1.*kept by nothing"):
        Cluster(owner)
    assert Cluster(owner, Nodes(owner)).hosts


@pytest.mark.parametrize(
    ("text", "value"),
    [("500m", "0.5"), ("2Gi", "2147483648"), ("3k", "3000"), ("7", "7"), ("1e3", "1k"), ("5u", "5000n")],
)
def test_quantities(text: str, value: str) -> None:
    assert amount(text) == amount(value)


def test_a_quantity_that_is_none() -> None:
    with pytest.raises(ConfigError, match="is none"):
        amount("2 Gi")


def test_a_quota_below_what_runs_is_refused_with_the_numbers() -> None:
    class Running(Api):
        def request(self, verb: str, path: str, body: Json = None, **more: object) -> Json:
            if path.endswith("/pods"):
                container = {"resources": {"requests": {"cpu": "1500m"}}}
                return {"items": [{"spec": {"containers": [container, container]}, "status": {"phase": "Running"}}]}
            raise KubeError(verb, path, 0, "is down")

    owner = plane()
    owner._seen.api = Running(lambda: "", Endpoint("192.168.56.100"))
    quota = {"requests.cpu": "2", "pods": "5"}
    (problem,) = Namespace(owner, called="team", quota=quota, check_images=False).problems()
    assert "quota of requests.cpu is 2, and what is in it uses 3" in str(problem)


def test_every_name_that_a_namespace_may_have_can_be_its_objects_label() -> None:
    """The label's value has no room for more than 53 letters of it; of owners that fit, none changes."""
    owners = {
        name: Namespace(plane(), called=name).owner for name in ("t", "n" * 53, "n" * 54, "n" * 63, "n" * 62 + "m")
    }
    assert owners["t"] == "namespace-t"
    assert owners["n" * 53] == f"namespace-{'n' * 53}"
    assert len(set(owners.values())) == len(owners)
    dashed = Namespace(plane(), called="n" * 41 + "-" * 10 + "n" * 12).owner
    for owner in (*owners.values(), dashed):
        assert Wanted(owner=owner, items=()).owner == owner
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", Inventory(owner).name)


def test_a_quota_brings_defaults_and_standards_are_pinned() -> None:
    space, quota, limits = Namespace(plane(), called="team", quota={"memory": "1Gi"}, pod_security="baseline").objects()
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce-version"] == "v1.33"
    assert quota["spec"]["hard"] == {"memory": "1Gi"}
    (item,) = limits["spec"]["limits"]
    assert item["defaultRequest"] == {"memory": "128Mi"}


def test_the_sample_app_survives_a_drain_by_its_own_means() -> None:
    items = {item["kind"]: item for item in SampleApp(plane(), image="k8sha.io/busybox:1.37.0").objects()}
    pod = items["Deployment"]["spec"]["template"]["spec"]
    pause = int(pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod["terminationGracePeriodSeconds"] > pause
    assert items["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert items["Service"]["spec"]["ports"][0]["nodePort"] == 30090


def ran(script: str, folder: Path) -> str:
    """What a script says, with its keys in this folder. Runs as it does on a host."""
    text = script.replace(FOLDER, str(folder))
    return subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, check=True).stdout


def test_a_key_is_made_once_and_for_root_alone(tmp_path: Path) -> None:
    folder, made = tmp_path / "encryption", MadeKey("secretbox-1", make=True)
    assert ran(made.probe(), folder) == ""
    ran(made.apply(), folder)
    key = folder / "secretbox-1.key"
    first = key.read_text()
    assert len(base64.b64decode(first, validate=True)) == 32
    assert key.stat().st_mode & 0o777 == 0o600
    ran(made.apply(), folder)
    assert ran(made.probe(), folder) == first
    key.unlink()
    (folder / "secretbox-1+identity.yaml").write_text("providers:\n  - keys:\n    - name: secretbox-1\n")
    with pytest.raises(subprocess.CalledProcessError):
        ran(made.apply(), folder)
    assert not key.exists()


def test_old_keys_go_and_nothing_else(tmp_path: Path) -> None:
    kept = OnlyThese((str(tmp_path / "b-2+identity.yaml"), str(tmp_path / "b-2.key")))
    assert ran(kept.probe(), tmp_path / "missing") == ""
    for name in ("a-1.key", "b-2.key", "a-1+b-2+identity.yaml", "b-2+identity.yaml", "notes.txt"):
        (tmp_path / name).touch()
    assert sorted(ran(kept.probe(), tmp_path).split()) == [
        "-",
        "-",
        f"{tmp_path}/a-1+b-2+identity.yaml",
        f"{tmp_path}/a-1.key",
    ]
    ran(kept.apply(), tmp_path)
    assert ran(kept.probe(), tmp_path) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b-2+identity.yaml", "b-2.key", "notes.txt"]


def test_an_api_server_is_looked_for_among_all_processes() -> None:
    """The look itself does not fail on processes that end meanwhile, and what runs is told with its arguments."""
    said = subprocess.run(["sh", "-eu", "-c", ApiServerRuns().probe()], capture_output=True, text=True, check=True)
    assert all(line.startswith(("manifest ", "running --")) or line == "process" for line in said.stdout.splitlines())
