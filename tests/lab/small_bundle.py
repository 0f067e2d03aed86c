"""A small bundle, for hosts where nothing of Kubernetes is to run: real image archives with one file each, one of them
large enough to be cut off on its way, and programs that do nothing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from pathlib import Path

from k8sha.sources import Bundle

VERSION = "1.33.13"
_IMAGES = (
    f"registry.k8s.io/kube-apiserver:v{VERSION}",
    f"registry.k8s.io/kube-controller-manager:v{VERSION}",
    f"registry.k8s.io/kube-scheduler:v{VERSION}",
    f"registry.k8s.io/kube-proxy:v{VERSION}",
    "registry.k8s.io/etcd:3.5.30-0",
    "registry.k8s.io/coredns/coredns:v1.13.1",
    "registry.k8s.io/pause:3.10",
    "example.com/ballast:1",
)
_BALLAST = 16_000_000


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


def _archive(name: str) -> bytes:
    """An OCI archive of an image with one layer, in which there is one file."""
    blobs: dict[str, bytes] = {}

    def add(content: bytes, kind: str) -> dict[str, object]:
        digest = hashlib.sha256(content).hexdigest()
        blobs[f"blobs/sha256/{digest}"] = content
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(content)}

    layer = _tar({"about": os.urandom(_BALLAST) if "ballast" in name else f"{name}\n".encode()})
    diff = f"sha256:{hashlib.sha256(layer).hexdigest()}"
    config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": [diff]}}
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": add(json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
        "layers": [add(layer, "application/vnd.oci.image.layer.v1.tar")],
    }
    entry = add(json.dumps(manifest).encode(), "application/vnd.oci.image.manifest.v1+json")
    entry["annotations"] = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = {"schemaVersion": 2, "manifests": [entry]}
    return _tar({"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": json.dumps(index).encode(), **blobs})


def small_bundle(folder: Path) -> Bundle:
    """A whole bundle in a folder that need not exist yet."""
    images = {f"images/{name.rpartition('/')[2].partition(':')[0]}.tar": name for name in _IMAGES}
    for archive, name in images.items():
        (folder / archive).parent.mkdir(parents=True, exist_ok=True)
        (folder / archive).write_bytes(_archive(name))
    (folder / "bin").mkdir()
    for program in ("kubeadm", "kubectl", "kubelet"):
        shutil.copy("/bin/true", folder / "bin" / program)
        with (folder / "bin" / program).open("ab") as file:
            file.write(program.encode())  # so that no two of them are one file
    files = [path for name in ("bin", "images") for path in sorted((folder / name).iterdir())]
    index = {
        "format": 1,
        "kubernetes": VERSION,
        "architecture": "amd64",
        "files": {
            str(path.relative_to(folder)): {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "size": path.stat().st_size,
            }
            for path in files
        },
        "images": {archive: [name] for archive, name in images.items()},
    }
    (folder / "index.json").write_text(json.dumps(index))
    return Bundle(folder)
