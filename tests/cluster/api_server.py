"""An etcd, a kube-apiserver and a kube-controller-manager on loopback, of any Kubernetes version, and no node.

Programs are taken from folders below /var/lib/k8sha/programs, or below what ``K8SHA_PROGRAMS`` names: one a version,
and named for it (``v1.33.4-amd64``).
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from k8sha import ControlPlane, KubeError, wait_for
from k8sha.endpoint import Endpoint
from k8sha.hosts import Host
from k8sha.sources import Upstream
from k8sha.waiting import Check, NotYet
from tests.shell.local import Local

__all__ = ["PROGRAMS", "nodeless", "programs"]

PROGRAMS = Path(os.environ.get("K8SHA_PROGRAMS", "/var/lib/k8sha/programs"))
_NEEDED = ("kube-apiserver", "kube-controller-manager")


def programs() -> list[Path]:
    """Every folder that has the programs, from the oldest version to the newest."""
    found = [folder for folder in PROGRAMS.glob("v*") if all((folder / name).is_file() for name in _NEEDED)]
    return sorted(found, key=_version)


def _version(folder: Path) -> tuple[int, int, int]:
    match = re.match(r"v(\d+)\.(\d+)\.(\d+)", folder.name)
    assert match is not None, f"{folder} is not named for a version"
    major, minor, patch = map(int, match.groups())
    return major, minor, patch


@contextlib.contextmanager
def nodeless(folder: Path, scratch: Path, **given: Any) -> Iterator[ControlPlane]:
    """A control plane whose one master is a folder of this machine, answering once everything that it makes for itself
    is there; ``given`` is what else it is made with. Ends with everything that was started."""
    etcd = next((str(path) for path in (folder / "etcd", shutil.which("etcd")) if path and Path(path).is_file()), None)
    assert etcd is not None, f"an etcd is needed in {folder} or in the PATH"
    ports = _free_ports(4)
    started: list[subprocess.Popen[bytes]] = []

    def start(program: str, **options: object) -> None:
        name = Path(program).name
        words = [f"--{option.replace('_', '-')}={value}" for option, value in options.items()]
        with (scratch / f"{name}.log").open("wb") as text:
            started.append(subprocess.Popen([program, *words], stdout=text, stderr=text, cwd=scratch))

    # One key and certificate: the administrator's, the authority that vouches for it, and what signs accounts' tokens.
    key, admin = scratch / "admin.key", scratch / "admin.crt"
    words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/O=system:masters/CN=admin"]
    subprocess.run(["openssl", "req", *words, "-keyout", key, "-out", admin], check=True, capture_output=True)
    server = f"https://127.0.0.1:{ports[2]}"
    client, peer = (f"http://127.0.0.1:{port}" for port in ports[:2])
    try:
        start(
            etcd,
            data_dir=scratch / "etcd",
            listen_client_urls=client,
            advertise_client_urls=client,
            listen_peer_urls=peer,
            initial_advertise_peer_urls=peer,
            initial_cluster=f"default={peer}",
            unsafe_no_fsync="true",
        )
        start(
            str(folder / "kube-apiserver"),
            advertise_address="127.0.0.1",
            allow_privileged="true",
            authorization_mode="Node,RBAC",
            bind_address="127.0.0.1",
            cert_dir=scratch / "certificates",
            client_ca_file=admin,
            enable_admission_plugins="NodeRestriction",
            endpoint_reconciler_type="none",
            etcd_servers=client,
            secure_port=ports[2],
            service_account_issuer="https://kubernetes.default.svc.cluster.local",
            service_account_key_file=key,
            service_account_signing_key_file=key,
            service_cluster_ip_range="10.96.0.0/12",
        )
        major, minor, patch = _version(folder)
        plane = ControlPlane(
            hosts=[Host("master", "127.0.0.1", ssh=Local(scratch))],
            endpoint=Endpoint("127.0.0.1", ports[2]),
            version=f"{major}.{minor}.{patch}",
            source=Upstream(),
            **given,
        )
        certificate = scratch / "certificates/apiserver.crt"

        def ready() -> str:
            for process in started:
                if process.poll() is not None:
                    name = Path(str(process.args[0])).name  # type: ignore[index]
                    raise RuntimeError(f"{name} has ended: {(scratch / f'{name}.log').read_text()[-3000:]}")
            if not certificate.is_file():
                raise NotYet("it has no certificate")
            config = _kubeconfig(server, certificate, admin, key)
            plane._seen.kubeconfig = config
            (scratch / "admin.conf").write_text(config)
            try:
                return str(plane.api.get("/readyz"))
            except KubeError as error:
                raise NotYet(str(error)) from None

        wait_for(Check("the API server is ready", ready), timeout=120)
        start(
            str(folder / "kube-controller-manager"),
            authentication_kubeconfig=scratch / "admin.conf",
            authorization_kubeconfig=scratch / "admin.conf",
            bind_address="127.0.0.1",
            cert_dir=scratch / "certificates-2",
            kubeconfig=scratch / "admin.conf",
            leader_elect="false",
            root_ca_file=certificate,
            secure_port=ports[3],
            service_account_private_key_file=key,
        )
        wait_for(Check("every namespace has what controllers make for it", lambda: _furnished(plane)), timeout=60)
        yield plane
        plane.api.close()
        plane.hosts[0].close()
    finally:
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _kubeconfig(server: str, authority: Path, certificate: Path, key: Path) -> str:
    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    user = {"client-certificate-data": data(certificate), "client-key-data": data(key)}
    made = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "k", "cluster": {"server": server, "certificate-authority-data": data(authority)}}],
        "users": [{"name": "admin", "user": user}],
        "contexts": [{"name": "k", "context": {"cluster": "k", "user": "admin"}}],
        "current-context": "k",
    }
    return yaml.safe_dump(made)


def _furnished(plane: ControlPlane) -> str:
    for space in ("default", "kube-system", "kube-public", "kube-node-lease"):
        base = f"/api/v1/namespaces/{space}"
        for path in (f"{base}/serviceaccounts/default", f"{base}/configmaps/kube-root-ca.crt"):
            if plane.api.found(path) is None:
                raise NotYet(f"{path} is not there")
    return ""
