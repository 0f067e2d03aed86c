"""A whole bundle of tiny files, for tests of what is made of one."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from k8sha.sources import Bundle

ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little")
MACHINES = {"amd64": 62, "arm64": 183}
IMAGES = {
    "images/kube-apiserver.tar": ["registry.k8s.io/kube-apiserver:v1.33.13"],
    "images/kube-controller-manager.tar": ["registry.k8s.io/kube-controller-manager:v1.33.13"],
    "images/kube-scheduler.tar": ["registry.k8s.io/kube-scheduler:v1.33.13"],
    "images/etcd.tar": ["registry.k8s.io/etcd:3.5.30-0"],
    "images/kube-proxy.tar": ["registry.k8s.io/kube-proxy:v1.33.13"],
    "images/coredns.tar": ["registry.k8s.io/coredns/coredns:v1.13.1"],
    "images/pause.tar": ["registry.k8s.io/pause:3.10"],
    "images/busybox.tar": ["example.com/busybox:1.37.0"],
}


def make(folder: Path, *, version: str = "1.33.13", architecture: str = "amd64", machine: str = "amd64") -> Bundle:
    """A whole bundle of tiny files."""
    contents = {
        f"bin/{name}": ELF + bytes([MACHINES[machine], 0]) + name.encode() for name in ("kubelet", "kubeadm", "kubectl")
    }
    contents |= {name: name.encode() * 100 for name in IMAGES}
    contents["manifests/calico-v3.31.0.yaml"] = b"kind: List\n"
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    index = {
        "format": 1,
        "kubernetes": version,
        "architecture": architecture,
        "files": {
            name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in contents.items()
        },
        "images": IMAGES,
    }
    (folder / "index.json").write_text(json.dumps(index))
    return Bundle(folder)
