"""Policies on a real cluster: switched on, rotated and off again while a client writes through the endpoint all the
time, killed half-way, and proven by what they do. Figures are logged: ``-o log_cli=true -o log_cli_level=INFO``.

The tests follow one another: what one switches on, the next finds on. The last one leaves a cluster without any.
"""

from __future__ import annotations

import base64
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from attrs import define, evolve, field, frozen

from acceptance.lab_cluster import kubernetes_cluster
from acceptance.subject import Subject, open_namespace
from acceptance.vagrant import Lab
from acceptance.workload import Workload
from k8sha import (
    ApplyError,
    Bundle,
    Cluster,
    ConfigError,
    ControlPlane,
    Host,
    KubeError,
    Plan,
    PreflightError,
    Report,
    Workers,
)
from k8sha.components.apiserver import ApiServerPolicy
from k8sha.events import Event
from k8sha.kube import Json
from k8sha.policies import AuditLog, EncryptionAtRest, Namespace, Nodes, PodSecurityDefaults
from k8sha.report import Status

from .conftest import whole, with_policies

pytestmark = pytest.mark.timeout(1200, func_only=True)  # without the installation of the cluster

log = logging.getLogger(__name__)
IMAGE = "k8sha.io/busybox:1.37.0"
KEY = bytes(range(7, 39))
"""A key that is given, so that it can be looked for while it is brought to the masters."""


@frozen
class Real:
    """The lab's cluster, with whatever policies a test wants."""

    lab: Lab
    bundle: Bundle

    def cluster(self, *policies: ApiServerPolicy) -> Cluster:
        return with_policies(kubernetes_cluster(self.lab, self.bundle, self.bundle.version), *policies)

    def defaults(self) -> PodSecurityDefaults:
        return PodSecurityDefaults(version=str(self.bundle.version))


@pytest.fixture(scope="module")
def real(lab: Lab) -> Real:
    bundle = Bundle.find()
    if bundle is None:
        pytest.skip("there is no bundle below /var/lib/k8sha/bundles: policies need a cluster")
    found = Real(lab, bundle)
    try:
        with found.cluster() as plain:
            plain.install()
    except PreflightError as error:  # what an earlier run has left on
        if "encrypts Secrets" not in str(error):
            raise
        for policies in ((EncryptionAtRest(provider="identity"),), ()):
            with found.cluster(*policies) as cluster:
                cluster.install()
    return found


@contextmanager
def written(cluster: Cluster, what: str, *, restarts: int) -> Iterator[None]:
    """A client that writes through the endpoint, over new connections, all the time.

    Balancers give an API server that is not ready any more no new connections, and notice it a moment later: each
    restart may cost one write, and one read.
    """
    subject = Subject(cluster, what)
    assert subject.plane is not None
    open_namespace(subject.plane.api)
    with Workload(subject.target(prefix=f"policies-{int(time.time())}", watch=False)) as client:
        client.answers_until(client.now())
        began = client.now()
        yield
        ended = client.now()
        client.answers_until(ended)
        seen = client.history().between(began, ended)
    load = os.getloadavg()[0]
    for kind, requests in (("reads", seen.probes), ("writes", seen.writes)):
        why = Counter(request.error for request in requests if not request.ok)
        figure = f"{sum(why.values())} of {len(requests)} in {ended - began:.0f} s {dict(why)}, load {load:.1f}"
        log.info("%s: %s failed: %s", what, kind, figure)
    for kind, requests in (("reads", seen.probes), ("writes", seen.writes)):
        assert requests, kind
        failed = [request.error for request in requests if not request.ok]
        assert len(failed) <= restarts, (kind, failed)


def changed(report: Report) -> set[str]:
    return {result.resource for result in report.results if result.status is not Status.UNCHANGED}


def settled(cluster: Cluster) -> None:
    """A second plan is empty, a second install changes nothing, and every check holds, once the controllers are back
    that gave up when the API server beside them was started anew."""
    assert not cluster.plan().changes
    assert not changed(cluster.install())
    whole(cluster, within=180)
    for check in cluster.verify():
        assert not check.problem, (check.check, check.problem)
        if any(word in check.check for word in ("audit", "Secret", "privileged")):
            log.info("%s: %s", check.check, check.detail)


SUMS = "sha256sum /etc/kubernetes/manifests/*; ls -A /etc/kubernetes/manifests /var/lib/k8sha"


@frozen
class Wrong(ApiServerPolicy):
    """What no API server starts with, and only it knows: it looks at the format once there is to be a log."""

    def arguments(self) -> Mapping[str, str]:
        return {"audit-log-path": "-", "audit-log-format": "nonsense"}


def test_what_no_api_server_starts_with_is_taken_back(real: Real) -> None:
    """The first master runs as before, and no other was touched."""
    with real.cluster(Wrong()) as cluster:
        plane = cluster.of(ControlPlane)[0]
        before = [host.execute(SUMS)[1] for host in plane.hosts]
        with written(cluster, "refused by the API server itself", restarts=1):
            with pytest.raises(ApplyError, match="it runs with its old ones again") as caught:
                cluster.install()
        assert "invalid audit log format nonsense" in str(caught.value)
        assert before == [host.execute(SUMS)[1] for host in plane.hosts]
    with real.cluster() as plain:
        settled(plain)


KILLED = """
import sys
from pathlib import Path
from acceptance.vagrant import Lab
from k8sha import Bundle
from tests.cluster.test_policies import Real, switched_on
from k8sha.events import Began
def tell(event):
    if isinstance(event, Began): print(event.host, event.resource, flush=True)
real = Real(Lab(Path(sys.argv[1]), home=Path(sys.argv[2])), Bundle.find())
with switched_on(real) as cluster: cluster.install(tell)
"""


def switched_on(real: Real) -> Cluster:
    return real.cluster(AuditLog(), EncryptionAtRest(), real.defaults())


def test_switched_on_while_a_client_writes_and_killed_half_way(real: Real) -> None:
    topology = os.environ.get("K8SHA_TOPOLOGY", "acceptance/topology.json")
    with switched_on(real) as cluster:
        assert any("kube-apiserver" in change.resource for change in cluster.plan().changes)
        with written(cluster, "switched on, killed half-way", restarts=6):
            command = [sys.executable, "-c", KILLED, topology, str(real.lab.home)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
                assert child.stdout is not None
                reached = any(line.startswith("master-2 ") and "kube-apiserver" in line for line in child.stdout)
                assert reached
                os.kill(child.pid, signal.SIGKILL)
            cluster.install()
        settled(cluster)


def test_left_out_while_secrets_are_encrypted_is_refused(real: Real) -> None:
    with real.cluster(AuditLog(), real.defaults()) as cluster, pytest.raises(PreflightError, match="encrypts Secrets"):
        cluster.install()


@define
class Told:
    """Everything that a run tells its caller. Mutable: it is written down as it comes."""

    texts: list[str] = field(factory=list)

    def __call__(self, event: Event) -> None:
        self.texts.append(repr(event))

    def note(self, *results: Plan | Report) -> None:
        self.texts += [repr(result) for result in results]


LOOK = """\
umask 077
printf '%s\\n' "$needle" >/root/needle
while [ -e /root/needle ]; do
  grep -lF -f /root/needle /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || :
  sleep 0.2
done"""
FIND = """\
umask 077
printf '%s\\n' "$needle" >/root/needle
grep -rlF -f /root/needle /etc /var/log /var/lib/k8sha /var/lib/kubelet /run/k8sha /tmp /root /home 2>/dev/null || :
journalctl --no-pager -o cat | grep -cF -f /root/needle || :
rm -f /root/needle"""


def test_a_rotation_to_a_key_that_is_seen_nowhere(real: Real, caplog: pytest.LogCaptureFixture) -> None:
    text, told = base64.b64encode(KEY).decode(), Told()
    hunted: list[bytes] = []
    with real.cluster(AuditLog(), EncryptionAtRest(key=KEY), real.defaults()) as cluster:
        plane = cluster.of(ControlPlane)[0]
        watched = [evolve(host) for host in plane.hosts]

        def watch(host: Host) -> None:
            hunted.append(host.execute(f"needle={text}\n{LOOK}", timeout=900)[1])

        threads = [threading.Thread(target=watch, args=(host,)) for host in watched]
        for thread in threads:
            thread.start()
        try:
            told.note(cluster.plan(told))
            with caplog.at_level(logging.DEBUG), written(cluster, "rotated", restarts=9):
                told.note(cluster.install(told))
        finally:
            for host in plane.hosts:
                host.execute("rm -f /root/needle")
            for thread in threads:
                thread.join()
        assert [found.decode() for found in hunted] == ["", "", ""]
        assert text not in "\n".join(told.texts)
        assert text not in caplog.text
        for host in plane.hosts:
            *files, journal = host.execute(f"needle={text}\n{FIND}", timeout=120)[1].decode().split()
            assert sorted(set(files) - {"/root/needle"}) == sorted(
                f"/etc/kubernetes/encryption/{name}"
                for name in (
                    f"{EncryptionAtRest(key=KEY).key_name}.key",
                    f"{EncryptionAtRest(key=KEY).key_name}+identity.yaml",
                )
            )
            assert journal == "0"
            modes = host.execute("stat -c '%a %U' /etc/kubernetes/encryption/* | sort -u")[1].decode()
            assert modes == "600 root\n"
        settled(cluster)


def test_switched_off_again(real: Real) -> None:
    with (
        real.cluster(EncryptionAtRest(provider="identity")) as cluster,
        written(cluster, "decrypted, no audit", restarts=6),
    ):
        cluster.install()
    with real.cluster() as plain:
        with written(plain, "all switched off", restarts=3):
            plain.install()
        settled(plain)
        names = "audit-|admission-control-config-file|encryption-provider-config"
        for host in plain.of(ControlPlane)[0].hosts:
            said = host.execute(f"grep -cE '{names}' /etc/kubernetes/manifests/kube-apiserver.yaml || :")[1]
            assert said == b"0\n"


def marked(real: Real, name: str, **marks: object) -> Nodes:
    plain = real.cluster()
    workers = plain.of(Workers)[0]
    hosts = [evolve(host, **marks) if host.name == name else host for host in workers.hosts]
    return Nodes(plain.of(ControlPlane)[0], evolve(workers, hosts=hosts))


def test_labels_and_taints_are_kept_and_those_of_others_stay(real: Real) -> None:
    name, taint = "worker-1", "example.org/gpu=yes:PreferNoSchedule"
    kept = marked(real, name, labels={"example.org/zone": "a"}, taints=(taint,))
    master = kept.plane.hosts[0]

    def kubectl(text: str) -> str:
        exit, out, err = master.execute(f"set -e; export KUBECONFIG=/etc/kubernetes/admin.conf\n{text}")
        assert exit == 0, err.decode()
        return out.decode().strip()

    kept.install()
    assert not kept.plan().changes
    taints = f"kubectl get node {name} -o jsonpath='{{.spec.taints[*].key}} {{.metadata.labels.example\\.org/zone}}'"
    assert kubectl(taints) == "example.org/gpu a"
    kubectl(f"kubectl label node {name} theirs=1\nkubectl taint node {name} theirs=1:PreferNoSchedule")
    assert not kept.plan().changes
    kubectl(f"kubectl label node {name} example.org/zone=b --overwrite\nkubectl taint node {name} example.org/gpu-")
    (change,) = kept.plan().changes
    assert change.diff.lines == ("label example.org/zone: b -> a", f"+ taint {taint}")
    kept.install()
    given_up = marked(real, name)
    given_up.install()
    assert not given_up.plan().changes
    assert kubectl(taints) == "theirs"
    kubectl(f"kubectl label node {name} theirs-\nkubectl taint node {name} theirs-")


SAFE = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "runAsUser": 65534,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def admitted(plane: ControlPlane, name: str, **container: Json) -> str:
    """Ask for a pod; empty where it was admitted, else why not."""
    main = {"name": "main", "image": IMAGE, "command": ["sleep", "600"], "securityContext": SAFE, **container}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [main]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    try:
        plane.api.request("post", "/api/v1/namespaces/team/pods", pod)
    except KubeError as error:
        return error.message
    return ""


def test_a_namespace_refuses_and_admits_what_it_should(real: Real) -> None:
    plane = real.cluster().of(ControlPlane)[0]
    quota = {"requests.cpu": "1", "limits.memory": "1Gi", "pods": "3"}
    team = Namespace(plane, called="team", quota=quota, pod_security="restricted", check_images=False)
    try:
        team.install()
        assert not team.plan().changes
        for check in team.verify():
            log.info("%s: %s %s", check.check, check.problem, check.detail)
            assert not check.problem
        assert not admitted(plane, "says-nothing")
        assert "violates PodSecurity" in admitted(plane, "privileged", securityContext={"privileged": True})
        large = {name: {"cpu": "2", "memory": "1Mi"} for name in ("requests", "limits")}
        assert "exceeded quota" in admitted(plane, "large", resources=large)
        assert not admitted(plane, "second")
        assert not admitted(plane, "third")
        assert "exceeded quota" in admitted(plane, "fourth")
        low = evolve(team, quota={"requests.cpu": "100m", "pods": "2"})
        with pytest.raises(PreflightError, match="its quota of pods is 2, and what is in it uses 3"):
            low.install()
        assert not team.plan().changes
    finally:
        for name in ("says-nothing", "second", "third"):
            plane.api.delete(f"/api/v1/namespaces/team/pods/{name}")
        team.uninstall()
    assert plane.api.found("/api/v1/namespaces/team") is None


@pytest.mark.parametrize("given", [{"policy": "rules: ["}, {"max_files": 0}])
def test_what_does_not_parse_never_reaches_a_host(real: Real, given: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        real.cluster(AuditLog(**given))  # type: ignore[arg-type]
