"""The approver of kubelets' certificates with real requests made by openssl, and a program that plays kubectl."""

from __future__ import annotations

import base64
import os
import subprocess
from pathlib import Path

import pytest

import k8sha.addons

SCRIPT = Path(k8sha.addons.__file__).with_name("approve_kubelet.sh")
USAGES = "digital signature,server auth,"
NODE = "/O=system:nodes/CN=system:node:worker-1"
OWN = "DNS:worker-1,IP:192.168.56.20"

KUBECTL = """\
#!/bin/sh
folder=$(dirname "$0")
case "$*" in
  *"get certificatesigningrequests"*) cat "$folder/pending" ;;
  *"get node worker-1"*) printf 'worker-1\\n192.168.56.20\\n' ;;
  *"get node"*) echo 'nodes not found' >&2; exit 1 ;;
  *"certificate approve"*) for name; do :; done; echo "$name" >>"$folder/approved" ;;
  *) exit 9 ;;
esac
"""


def request(folder: Path, subject: str, names: str) -> str:
    """A request for a certificate, as it stands in an object: base64 of PEM."""
    command = ["openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", subject]
    command += ["-keyout", str(folder / "key"), "-out", str(folder / "made")]
    if names:
        command += ["-addext", f"subjectAltName={names}"]
    subprocess.run(command, check=True, capture_output=True)
    return base64.b64encode((folder / "made").read_bytes()).decode()


def approve(folder: Path, *pending: str) -> tuple[list[str], str]:
    """Run the approver with these pending; returns what it approved and what it said."""
    (folder / "kubectl").write_text(KUBECTL)
    (folder / "kubectl").chmod(0o755)
    (folder / "admin.conf").write_text("x")
    (folder / "pending").write_text("".join(f"{line}\n" for line in pending))
    text = SCRIPT.read_text().replace("/etc/kubernetes/admin.conf", str(folder / "admin.conf"))
    path = f"{folder}:{os.defpath}:/usr/local/bin"
    done = subprocess.run(["sh"], input=text, text=True, capture_output=True, env={"PATH": path}, check=False)
    assert done.returncode == 0, done.stderr
    approved = folder / "approved"
    return approved.read_text().split() if approved.exists() else [], done.stderr


@pytest.mark.parametrize(
    ("user", "usages", "subject", "names", "said"),
    [
        ("system:node:worker-1", USAGES, NODE, OWN, ""),
        ("system:node:worker-1", USAGES, NODE, "IP:192.168.56.20", ""),
        ("system:node:worker-1", "key encipherment,digital signature,server auth,", NODE, OWN, ""),
        ("system:node:worker-1", USAGES, NODE, OWN + ",DNS:evil.example.org", "asks for DNS:evil.example.org"),
        ("system:node:worker-1", USAGES, NODE, "IP:192.168.56.21", "asks for IP Address:192.168.56.21"),
        ("system:node:worker-1", USAGES, NODE, OWN + ",email:a@example.org", "asks for email:a@example.org"),
        ("system:node:worker-1", USAGES, NODE, "", "names nothing"),
        ("system:node:worker-1", "digital signature,client auth,", NODE, OWN, "asks for digital signature,client auth"),
        ("system:node:worker-1", USAGES, "/O=system:masters/CN=system:node:worker-1", OWN, "its subject"),
        ("system:node:worker-1", USAGES, "/O=system:nodes/CN=system:node:worker-2", OWN, "its subject"),
        ("system:node:worker-1", USAGES, NODE.replace("/O", "/O=system:masters/O"), OWN, "its subject"),
        ("system:node:worker-9", USAGES, NODE.replace("-1", "-9"), OWN, "there is no such node"),
        ("kubernetes-admin", USAGES, NODE, OWN, "no node asks for it"),
        ("system:node:", USAGES, NODE, OWN, "no node asks for it"),
    ],
)
def test_a_node_gets_what_is_its_own_and_nothing_else(
    tmp_path: Path, user: str, usages: str, subject: str, names: str, said: str
) -> None:
    # Usages have spaces in them, so the script reads the line as kubectl's template writes it.
    approved, told = approve(tmp_path, f"csr-1 {user} {request(tmp_path, subject, names)} {usages}")
    assert approved == ([] if said else ["csr-1"])
    assert said in told


def test_one_that_is_refused_does_not_stop_the_next(tmp_path: Path) -> None:
    bad, good = request(tmp_path, NODE, "DNS:other"), request(tmp_path, NODE, OWN)
    broken = base64.b64encode(b"no request").decode()
    approved, told = approve(
        tmp_path,
        f"one system:node:worker-1 {bad} {USAGES}",
        f"two system:node:worker-1 {broken} {USAGES}",
        f"three system:node:worker-1 {good} {USAGES}",
    )
    assert approved == ["three"]
    assert "one of system:node:worker-1 is not approved" in told
    assert "its signature is wrong" in told


def test_on_a_host_that_is_no_master_it_does_nothing(tmp_path: Path) -> None:
    text = SCRIPT.read_text().replace("/etc/kubernetes/admin.conf", str(tmp_path / "none"))
    done = subprocess.run(["sh"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
