"""Stages of a control plane by its policies: none where none is declared, and whatever a killed run left is met."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import pytest
from attrs import evolve

from k8sha import ClusterSettings, ControlPlane, Endpoint, Host, Upstream
from k8sha.component import Stages
from k8sha.components import control_plane, replace
from k8sha.components.apiserver_change import ApiServerManifest, UnfinishedChange
from k8sha.components.apiserver_given import NothingByHand
from k8sha.components.apiserver_host import MANIFEST as PATH
from k8sha.components.apiserver_host import KubeadmConfig, NotEncrypted
from k8sha.components.formation import cluster_configuration
from k8sha.components.masters import ApiReady
from k8sha.components.membership import EtcdFolder
from k8sha.components.names import CertificateNames
from k8sha.components.node import NodeSettings
from k8sha.components.replace import replacement
from k8sha.components.serving import NamesServed, ServingCertificate
from k8sha.policies import AuditLog, EncryptionAtRest
from k8sha.policies.keys import FOLDER, config_path
from k8sha.report import Outcome
from k8sha.resources import File, Resource
from k8sha.stage import Stage

from .policies_samples import CONFIG, VERSION

MASTERS = tuple(Host(f"master-{number}", f"192.168.56.{9 + number}") for number in (1, 2, 3))
HEAD = """\
spec:
  containers:
  - command:
    - kube-apiserver
    - --secure-port=6443
    - --goaway-chance=0.001
    - --shutdown-delay-duration=15s
"""
AUDITED = f"{HEAD}    - --audit-log-maxage=30\n"


@pytest.fixture(autouse=True)
def nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes hosts nodes reads them, and is not at stake; what is looked at beside it is."""

    def looks(hosts: Sequence[Host], *, looks: tuple[Resource, ...], **_: object) -> Generator[Stage, Outcome, Outcome]:
        return (yield Stage("prepare masters", dict.fromkeys(hosts, looks)))

    monkeypatch.setattr(control_plane, "node_stages", looks)
    monkeypatch.setattr(control_plane, "node_requirements", lambda *_, **__: {})


def made(**given: object) -> ControlPlane:
    endpoint = Endpoint("192.168.56.100")
    return ControlPlane(hosts=MASTERS, endpoint=endpoint, version="1.33.13", source=Upstream(), **given)  # type: ignore[arg-type]


def stages(
    manifests: Mapping[str, str],
    lost: str = "",
    certificates: Mapping[str, str] = MappingProxyType({}),
    **given: object,
) -> list[Stage]:
    """All stages on masters that are done, with these manifests and certificates."""
    told = {
        host.name: {
            "arguments of the API server": manifests.get(host.name, HEAD),
            "state of the control plane": "none" if host.name == lost else "done",
            "settings in force": _lines(manifests.get(host.name, HEAD)),
            "names of the API server": certificates.get(host.name, ""),
        }
        for host in MASTERS
    }
    return carried_out(made(**given).stages(), told)


def carried_out(steps: Stages, told: Mapping[str, Mapping[str, str]]) -> list[Stage]:
    """All stages, on hosts that tell this of these resources and nothing of others."""
    step, found = next(steps), []
    while True:
        assert isinstance(step, Stage)
        found.append(step)
        seen = [
            (host.name, resource.key, told.get(host.name, {}).get(resource.key, "").encode())
            for host, resources in step.work.items()
            for resource in resources
        ]
        try:
            step = steps.send(Outcome(tuple(seen)))
        except StopIteration:
            return found


def _lines(manifest: str) -> str:
    """A manifest's arguments as the look at the settings in force prints them."""
    return "".join(f"{PATH}:{line}\n" for line in manifest.splitlines() if line.startswith("    - --"))


def names(found: list[Stage]) -> list[str]:
    return [stage.name for stage in found]


def test_no_policy_costs_no_stage() -> None:
    assert names(stages({}))[-1] == "administrator's kubeconfig"
    assert "API servers" in names(stages({}, policies=(AuditLog(),)))


def test_what_is_asked_of_masters_before_the_first_change() -> None:
    """An encryption of one's own is no leftover of a policy's; what a run makes anew must have nothing by hand."""

    def asked(**given: object) -> set[type]:
        return {type(need) for needs in made(**given).requirements().values() for need in needs}

    assert {NotEncrypted, NothingByHand} <= asked()
    assert NotEncrypted not in asked(policies=(EncryptionAtRest(),))
    own = ClusterSettings(api_server={"encryption-provider-config": "/etc/kubernetes/own.yaml"})
    assert NotEncrypted not in asked(cluster=own)
    assert NotEncrypted in asked(policies=(AuditLog(),))
    assert EtcdFolder in asked()
    for name in ("DirAvailable--var-lib-etcd", "all"):
        assert EtcdFolder not in asked(settings=NodeSettings(ignore_preflight=(name,)))


def test_what_stands_there_by_hand_counts_where_a_manifest_is_to_be_made_anew() -> None:
    manifest = f"{HEAD}    - --oidc-issuer-url=https://id.example.org\n".encode()
    assert NothingByHand(CONFIG).diff(manifest)
    assert not NothingByHand({"apiServer": {}}).diff(manifest)
    assert NothingByHand({"apiServer": {}}).diff(manifest + b"    - --audit-log-maxage=30\n")


def test_what_is_made_anew_for_ones_own_arguments_must_have_nothing_by_hand_either() -> None:
    """An argument that was declared and is not any more is one by hand as well."""
    config = cluster_configuration(made(cluster=ClusterSettings(api_server={"v": "4"})))
    need, own = NothingByHand(config), "    - --oidc-issuer-url=https://id.example.org\n"
    assert not need.diff(f"{HEAD}    - --v=4\n{own}".encode()), "nothing is made anew"
    assert "--oidc-issuer-url" in str(need.diff(f"{HEAD}{own}".encode()))


def test_arguments_of_ones_own_are_no_leftovers() -> None:
    own = ClusterSettings(api_server={"audit-log-maxage": "30"})
    everywhere = dict.fromkeys(("master-1", "master-2", "master-3"), AUDITED)
    assert names(stages(everywhere, cluster=own))[-1] == "administrator's kubeconfig"


@pytest.mark.parametrize("changed", ["master-1", "master-3"])
def test_another_argument_of_ones_own_is_rolled_out_without_any_policy(changed: str) -> None:
    """It gave an empty plan, and ``verify`` found nothing wrong. kubeadm's record follows the first that runs by it."""
    own = ClusterSettings(api_server={"audit-log-maxage": "30"})
    manifests = dict.fromkeys(("master-1", "master-2", "master-3"), AUDITED) | {changed: HEAD}
    last = stages(manifests, cluster=own)[-1]
    assert (last.name, last.batch, set(last.work)) == ("API servers", 1, set(MASTERS))
    assert [type(resource) for resource in next(iter(last.work.values()))][:2] == [ApiServerManifest, KubeadmConfig]


CASES = Path(__file__).with_name("cases")
SHOWN = (CASES / "serving-certificate.txt").read_text().split("== every name is there\n")[1].partition("\n--\n")[0]


def test_a_name_that_is_asked_for_later_is_put_into_every_certificate_that_lacks_it() -> None:
    """Before anybody joins, who may do it by that name; kubeadm's record has it, and the arguments that run."""
    ours = {"certificates": {"master-1": SHOWN}, "lost": "master-3"}
    own = ClusterSettings(extra_sans=("fd00::1", "KUBERNETES"), api_server={"audit-log-maxage": "30"})
    assert "names of the API servers" not in names(stages({}, cluster=own, **ours))  # type: ignore[arg-type]
    found = stages({}, cluster=evolve(own, extra_sans=("api.example.org",)), **ours)  # type: ignore[arg-type]
    at = names(found).index("names of the API servers")
    assert at < names(found).index("which masters there are")
    assert (found[at].batch, [host.name for host in found[at].work]) == (1, ["master-1"])
    certificate, ready, shown, record = found[at].work[MASTERS[0]]
    assert isinstance(certificate, ServingCertificate)
    assert certificate.diff(SHOWN.encode()).lines == ("+ api.example.org",)
    assert [type(ready), type(shown)] == [ApiReady, NamesServed]
    assert isinstance(record, CertificateNames)
    server = record.cluster["apiServer"]
    assert "api.example.org" in server["certSANs"]  # type: ignore[index]
    assert "audit-log-maxage" not in str(server)


@pytest.mark.parametrize("left", ["master-1", "master-3"])
def test_a_policy_that_is_left_out_goes_from_every_master_that_has_it(left: str) -> None:
    """A run that was killed left it on some. kubeadm's record goes first, so it has none where no master has it."""
    last = stages({left: AUDITED})[-1]
    assert last.name == "API servers"
    assert last.batch == 1
    first = [type(resource) for resource in next(iter(last.work.values()))]
    assert first[:2] == [KubeadmConfig, ApiServerManifest]
    assert set(last.work) == set(MASTERS)


def test_kubeadms_record_follows_once_an_api_server_runs_by_it() -> None:
    first, *others = stages({}, policies=(AuditLog(),))[-1].work.values()
    assert [type(resource) for resource in first][:2] == [ApiServerManifest, KubeadmConfig]
    assert all(KubeadmConfig not in map(type, own) for own in others)


def test_a_master_that_joins_while_policies_change_finds_the_files_that_it_is_told_of() -> None:
    """It is told what kubeadm's record says: the policies of now, but the keys in the order that the others have."""
    policies = (AuditLog(), EncryptionAtRest(generation=2))
    order = "/etc/kubernetes/encryption/secretbox-1+identity.yaml"
    running = f"{HEAD}    - --encryption-provider-config={order}\n"
    manifests = {"master-1": running, "master-2": running, "master-3": ""}
    found = stages(manifests, lost="master-3", policies=policies)
    at = names(found).index("API servers of masters that join")
    assert at < names(found).index("other control planes")
    ((record,),) = found[at].work.values()
    assert isinstance(record, KubeadmConfig)
    extra = {item["name"]: item["value"] for item in record.config["apiServer"]["extraArgs"]}  # type: ignore[index]
    assert extra["audit-policy-file"] == AuditLog().path
    assert extra["encryption-provider-config"] == order
    bare = stages({"master-3": ""}, lost="master-3", policies=policies)
    ((record,),) = next(stage for stage in bare if stage.name == names(found)[at]).work.values()
    assert "encryption-provider-config" not in str(record.config)  # type: ignore[attr-defined]
    assert names(found)[at] not in names(stages({}, policies=policies)) + names(stages({}, lost="master-3"))


def test_a_replacement_finds_the_files_that_it_is_told_of_before_the_dead_one_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The policies have changed since kubeadm's record was written, and a rotation has begun: one file that the record
    names and the new host has not, and its API server would never start, with the old member removed already."""
    monkeypatch.setattr(replace, "node_stages", lambda *_, **__: ())
    spare, policies = Host("spare-1", "192.168.56.30"), (AuditLog(), EncryptionAtRest(generation=2))
    order = ("secretbox-1", "secretbox-2", "identity")
    manifest = f"{HEAD}    - --audit-policy-file=/old\n    - --encryption-provider-config={config_path(order)}\n"
    exchange = replacement(made(policies=policies), MASTERS[0], spare, balancers=(), powered_off=True)
    assert exchange.prepare is not None
    keys = f"manifest\nconfig {config_path(order)}\nkey {FOLDER}/secretbox-1.key\nkey {FOLDER}/secretbox-2.key"
    told = {host.name: {"arguments of the API server": manifest, "keys of the API server": keys} for host in MASTERS}
    told["master-2"]["API server as it is seen from here"] = "(no answer)\n"
    told["master-3"]["API server as it is seen from here"] = "ok\n"
    found = carried_out(exchange.prepare(), told)
    brought = {resource.path for stage in found for resource in stage.work.get(spare, ()) if isinstance(resource, File)}
    ((host, (record,)),) = found[-1].work.items()
    assert host.name == "master-3"  # the first whose API server is ready
    assert isinstance(record, KubeadmConfig)
    extra = {item["name"]: item["value"] for item in record.config["apiServer"]["extraArgs"]}  # type: ignore[index]
    assert extra["audit-policy-file"] == AuditLog().path
    assert extra["encryption-provider-config"] == config_path(order)
    assert {extra["audit-policy-file"], extra["encryption-provider-config"]} <= brought


class Master:
    """A folder that stands for a master: its kubelet is played by ``kubeadm``, its API server by a file."""

    def __init__(self, folder: Path, *, starts: bool) -> None:
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "manifest").write_text("old")
        (folder / "ready").write_text("old")
        self.tool("kubeadm", f"echo new >{folder}/manifest")
        # An API server with the new manifest starts or does not; with the old one it always does.
        bad = "" if starts else f'if [ "$(cat {folder}/manifest)" = new ]; then echo refused >&2; exit 1; fi'
        self.tool("kubectl", f"{bad}\necho ok")

    def tool(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        manifest = f"{self.folder}/manifest"
        text = script.replace("/etc/kubernetes/manifests/.k8sha.kube-apiserver.yaml", f"{manifest}.k8sha")
        text = text.replace(PATH, manifest).replace("/var/lib/k8sha", f"{self.folder}/state")
        text = text.replace("/run/k8sha", str(self.folder)).replace("/var/log/pods", str(self.folder))
        # Each look sees another process: what ends, and what starts, is not at stake here.
        text = text.replace("now=$(processes)", "now=$$").replace("processes=$(processes)", "processes=")
        path = f"{self.folder}/bin:/usr/bin:/bin"
        return subprocess.run(["sh", "-eu", "-c", text], capture_output=True, text=True, env={"PATH": path})


def change() -> str:
    resource = ApiServerManifest(CONFIG, VERSION, "192.168.56.10", ("192.168.56.11",))
    return resource.apply().replace("within 240", "within 2").replace("within 120", "within 2")


def test_an_api_server_that_starts_keeps_its_new_manifest(tmp_path: Path) -> None:
    master = Master(tmp_path, starts=True)
    done = master.run(change())
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "manifest").read_text() == "new\n"
    assert not list(tmp_path.glob("state/*"))
    assert not list(tmp_path.glob("apiserver.*"))


def test_one_that_does_not_start_gets_its_old_manifest_back(tmp_path: Path) -> None:
    master = Master(tmp_path, starts=False)
    ready = master.tool
    ready("kubectl", f"case $* in *192.168.56.11*) echo ok; exit ;; esac\n{(tmp_path / 'bin/kubectl').read_text()}")
    done = master.run(change())
    assert done.returncode == 1
    assert "is not ready with its new arguments: refused" in done.stderr
    assert "it runs with its old ones again" in done.stderr
    assert (tmp_path / "manifest").read_text() == "old"
    assert not list(tmp_path.glob("state/*"))


def test_nothing_changes_while_another_is_not_ready(tmp_path: Path) -> None:
    master = Master(tmp_path, starts=True)
    master.tool("kubectl", "echo 'connection refused'; exit 1")
    done = master.run(change())
    assert done.returncode == 1
    assert "the API server on 192.168.56.11 is not ready: connection refused" in done.stderr
    assert (tmp_path / "manifest").read_text() == "old"


@pytest.mark.parametrize(("starts", "kept"), [(True, "new"), (False, "old")])
def test_a_change_that_the_end_of_a_machine_cut_off_is_judged_by_its_api_server(
    tmp_path: Path, starts: bool, kept: str
) -> None:
    master = Master(tmp_path, starts=starts)
    (tmp_path / "state").mkdir()
    (tmp_path / "state/kube-apiserver.yaml.before").write_text("old")
    (tmp_path / "manifest").write_text("new")
    cut = UnfinishedChange("192.168.56.10")
    assert cut.diff(master.run(cut.probe()).stdout.encode())
    assert master.run(cut.apply()).returncode == 0
    assert (tmp_path / "manifest").read_text() == kept
    assert not cut.diff(master.run(cut.probe()).stdout.encode())
