"""Storage on an NFS server: the guide's subdirectory provisioner, and the CSI driver that is kept up upstream."""

from __future__ import annotations

import ipaddress
import re
import secrets
import shlex
from typing import ClassVar

from attrs import Attribute, Factory, field, frozen, validators

from k8sha.addons.addon import Addon
from k8sha.addons.admission import admitting
from k8sha.addons.manifests import Manifest
from k8sha.addons.proof import proof_namespace
from k8sha.component import Checks, Requirements
from k8sha.errors import ConfigError
from k8sha.kube import Json
from k8sha.objects import Wanted
from k8sha.report import Diff
from k8sha.resources.resource import Requirement
from k8sha.waiting import Check, NotYet, wait_for

__all__ = ["CsiNfs", "NfsProvisioner"]

_PATIENCE = 120.0
"""Seconds in which a claim must be bound and two pods have run: the kubelet looks at volumes every few seconds."""

_PROVISIONER = (
    "https://raw.githubusercontent.com/kubernetes-sigs/nfs-subdir-external-provisioner/{tag}/deploy/{name}.yaml"
)
_PROVISIONER_TAG = "nfs-subdir-external-provisioner-4.0.18"
_PROVISIONER_FILES = (
    ("deployment", "0df453ba467d28ec5384a9b84a5ccc40df32e3444ad7ef274edf86d49d3e0efa"),
    ("rbac", "a276f83e2dd534ebd540527df5214bc1f7cbc1ed6de81a01c0ec36f96363a77b"),
)
_CSI = "https://raw.githubusercontent.com/kubernetes-csi/csi-driver-nfs/{tag}/deploy/{tag}/{name}.yaml"
_CSI_TAG = "v4.13.4"
_CSI_FILES = (
    ("csi-nfs-controller", "dcc1aa5188c93bea3a3239175ce4e9ac577702818c4fb9fa611a0039aa5ab255"),
    ("csi-nfs-driverinfo", "fa2bba4674821b3317d1e016f3c9d54abe04fcdc6fed3fce9e58994c8311c4a0"),
    ("csi-nfs-node", "b66104b44d4569c926e11af5c6c3858fbc38fd16099b206fc4a0dc0f7fcd94d2"),
    ("rbac-csi-nfs", "312de689d07627330d8280e50d7b51357e0b5f5ca0d8aa75794aec460ee4cff0"),
)
_CSI_SNAPSHOTS = (
    ("crd-csi-snapshot", "34adb35e109165bb20b3748584a411e83b18844b6cef7754e7e3f8a02c55a237"),
    ("csi-snapshot-controller", "f783dea882bc01725e32783bba78889b2bbbc65f1184533483abcb08bcbb8b22"),
    ("rbac-snapshot-controller", "e898adec76fdccd31e53ccda598683644e182c92fa1107dd8ee2395617ddd230"),
)


def _valid_server(addon: Addon, attribute: Attribute[str], value: str) -> None:
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", value):
        return
    try:
        ipaddress.ip_address(value)
    except ValueError:
        cause = "is neither a name nor an address"
        raise ConfigError.of(f"NFS server {value!r}", cause, "write nfs.example.org") from None


@frozen
class NfsAnswers(Requirement):
    """An NFS server takes connections from this host, on the port of NFS 4. A host without curl can't tell.

    A server of NFS says nothing first, so one that takes the connection waits out curl's two seconds.
    """

    server: str

    @property
    def key(self) -> str:
        return f"NFS server {self.server}"

    def probe(self) -> str:
        where = f"[{self.server}]" if ":" in self.server else self.server
        return f"""\
if ! command -v curl >/dev/null; then exit 0; fi
ask="curl -s -o /dev/null --max-time 2"
if ! connected=$($ask -w '%{{time_connect}}' {shlex.quote(f"telnet://{where}:2049")} </dev/null); then :; fi
case $connected in *[1-9]*) ;; *) echo refused; esac"""

    def diff(self, seen: bytes) -> Diff:
        return Diff.of(f"gets no connection to the NFS server {self.server}, port 2049") if seen.strip() else Diff()


@frozen
class _Nfs(Addon):
    """What both have in common: a server's export, and a class by which claims ask for room on it.

    ``verify`` makes a claim, writes on one node and reads on another, with ``check_image`` (it needs ``sh``).
    """

    server: str = field(validator=_valid_server, kw_only=True)
    path: str = field(validator=validators.matches_re(r"/[^\s]*"), kw_only=True)
    storage_class: str = field(default="nfs", kw_only=True)
    default: bool = field(default=False, kw_only=True)
    reclaim: str = field(default="Delete", kw_only=True, validator=validators.in_(("Delete", "Retain")))
    mount_options: tuple[str, ...] = field(default=("nfsvers=4.1", "hard"), kw_only=True, converter=tuple)
    check_image: str = field(default="docker.io/library/busybox:1.37.0", kw_only=True)

    def _class(self, provisioner: str, parameters: Json) -> Json:
        annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if self.default else {}
        return {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": self.storage_class, "annotations": annotations},
            "provisioner": provisioner,
            "parameters": parameters,
            "reclaimPolicy": self.reclaim,
            "mountOptions": list(self.mount_options),
            "allowVolumeExpansion": True,
        }

    def requirements(self) -> Requirements:
        """See :meth:`Component.requirements`. Asked from the masters, which are the hosts that an add-on knows."""
        answers = NfsAnswers(self.server, remedy="start it, open its port to the nodes, or give the right server")
        return {host: (answers,) for host in self.hosts}

    def _wanted(self) -> tuple[Wanted, tuple[str, ...]]:
        """What ``verify`` runs is taken from elsewhere as well."""
        wanted, images = super()._wanted()
        return wanted, (*images, self.mirror.image(self.check_image))

    def checks(self) -> Checks:
        """See :meth:`Component.checks`."""
        yield Check(f"a claim of class {self.storage_class} is written on one node and read on another", self._shared)

    def _shared(self) -> str:
        api, word = self.plane.api, secrets.token_hex(8)
        nodes = [name for name, node in api.nodes().items() if not node["spec"].get("unschedulable")]
        with proof_namespace(api) as namespace:
            claim = {
                "metadata": {"name": "claim"},
                "spec": {
                    "storageClassName": self.storage_class,
                    "accessModes": ["ReadWriteMany"],
                    "resources": {"requests": {"storage": "1Mi"}},
                },
            }
            api.request("post", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
            self._run(namespace, "writer", nodes[0], f"echo {word} >/claim/word")
            self._run(namespace, "reader", nodes[-1], f'test "$(cat /claim/word)" = {word} && rm /claim/word')
            volume = api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/claim")["spec"]["volumeName"]
        self._wait_until_gone(f"/api/v1/namespaces/{namespace}")
        if self.reclaim == "Retain":  # nobody else would
            api.delete(f"/api/v1/persistentvolumes/{volume}")
        self._wait_until_gone(f"/api/v1/persistentvolumes/{volume}")
        return f"written on {nodes[0]}, read on {nodes[-1]}"

    def _wait_until_gone(self, path: str) -> None:
        """An uninstall that followed at once would take away who deletes the volume, and leave that for ever."""

        def look() -> str:
            if self.plane.api.found(path) is not None:
                raise NotYet(f"{path} is there")
            return ""

        wait_for(Check("what was made for the proof is gone", look), timeout=_PATIENCE)

    def _run(self, namespace: str, name: str, node: str, command: str) -> None:
        path = f"/api/v1/namespaces/{namespace}/pods"
        container = {
            "name": name,
            "image": self.mirror.image(self.check_image),
            "command": ["sh", "-c", command],
            "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
        }
        spec = {
            "nodeName": node,
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "claim"}}],
        }
        self.plane.api.request("post", path, {"metadata": {"name": name}, "spec": spec})

        def look() -> str:
            status = self.plane.api.get(f"{path}/{name}").get("status", {})
            if status.get("phase") != "Succeeded":
                states = [item.get("state", {}) for item in status.get("containerStatuses", ())]
                claim = self.plane.api.get(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/claim")["status"]
                raise NotYet(f"the {name} is {status.get('phase')}, {states}; the claim is {claim.get('phase')}")
            return ""

        wait_for(Check(f"the {name} has done its work", look), timeout=_PATIENCE)


@frozen
class NfsProvisioner(_Nfs):
    """The guide's nfs-subdir-external-provisioner: a directory of the export for each claim, and no quota.

    The nodes need the distribution's NFS client (``nfs-common``, ``nfs-utils``). Its last release is of 2023. A second
    export is a second one that is ``called`` something: it has its own namespace, its class is ``nfs-<called>``.
    """

    apart: ClassVar[str] = 'name one of them: NfsProvisioner(..., called="archive")'

    called: str = field(
        default="", kw_only=True, validator=validators.matches_re(r"([a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?)?")
    )
    storage_class: str = field(
        default=Factory(lambda self: f"nfs-{self.called}" if self.called else "nfs", takes_self=True), kw_only=True
    )
    archive: bool = field(default=True, kw_only=True)

    @property
    def name(self) -> str:
        """See :attr:`Component.name`."""
        return self._suffixed("NfsProvisioner")

    def _suffixed(self, name: str) -> str:
        return f"{name}-{self.called}" if self.called else name

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        return tuple(
            Manifest(f"nfs-subdir-{name}", "4.0.18", _PROVISIONER.format(tag=_PROVISIONER_TAG, name=name), sha256)
            for name, sha256 in _PROVISIONER_FILES
        )

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return self._suffixed("nfs-provisioner")

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`: the manifests' objects, with a real server in place of their example's."""
        items = super().objects()
        for item in items:
            if item["metadata"].get("namespace"):
                item["metadata"]["namespace"] = self.namespace
            for subject in item.get("subjects", ()):
                subject["namespace"] = self.namespace
            if item["kind"].startswith("ClusterRole"):
                item["metadata"]["name"] = self._suffixed(item["metadata"]["name"])
            if item["kind"] == "ClusterRoleBinding":
                item["roleRef"]["name"] = self._suffixed(item["roleRef"]["name"])
            if item["kind"] == "Deployment":
                pod = item["spec"]["template"]["spec"]
                values = {"NFS_SERVER": self.server, "NFS_PATH": self.path, "PROVISIONER_NAME": self._provisioner}
                for variable in pod["containers"][0]["env"]:
                    variable["value"] = values.get(variable["name"], variable["value"])
                pod["volumes"] = [{"name": "nfs-client-root", "nfs": {"server": self.server, "path": self.path}}]
        labels = admitting("baseline", self.plane.version)  # it writes as root
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}
        kept = {"archiveOnDelete": str(self.archive).lower()}
        return (space, *items, self._class(self._provisioner, kept))

    @property
    def _provisioner(self) -> str:
        """Who serves a claim is told apart by this alone."""
        return self._suffixed("k8s-sigs.io/nfs-subdir-external-provisioner")


@frozen
class CsiNfs(_Nfs):
    """csi-driver-nfs: its pods mount, so the nodes need no NFS client. ``snapshots`` brings the snapshot controller.

    One driver serves any number of exports: each of them but this one is a StorageClass of your own.
    """

    apart: ClassVar[str] = (
        "have one CsiNfs: a second export is a StorageClass in an add-on of your own, with provisioner nfs.csi.k8s.io"
    )

    snapshots: bool = field(default=False, kw_only=True)

    def manifests(self) -> tuple[Manifest, ...]:
        """See :meth:`Addon.manifests`."""
        files = _CSI_FILES + (_CSI_SNAPSHOTS if self.snapshots else ())
        return tuple(Manifest(name, _CSI_TAG, _CSI.format(tag=_CSI_TAG, name=name), sha256) for name, sha256 in files)

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return "kube-system"

    def objects(self) -> tuple[Json, ...]:
        """See :meth:`Addon.objects`."""
        return (*super().objects(), self._class("nfs.csi.k8s.io", {"server": self.server, "share": self.path}))
