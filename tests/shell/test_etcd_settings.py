"""What a member under systemd is set to, read by a real etcd: by the one in the PATH, of whatever version."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from k8sha.etcd.member import EtcdSettings, environment
from k8sha.hosts import Host

ETCD = shutil.which("etcd")

pytestmark = [pytest.mark.skipif(ETCD is None, reason="needs the program etcd"), pytest.mark.timeout(60)]


def test_etcd_knows_every_one_and_serves(tmp_path: Path) -> None:
    """It passes over a name that it does not know, with a warning only: a check that is not made then."""
    assert ETCD is not None
    told = subprocess.run([ETCD, "--version"], capture_output=True, text=True, check=True).stdout
    version = told.splitlines()[0].removeprefix("etcd Version: ")
    for name in ("server", "peer"):
        files = ["-keyout", str(tmp_path / f"{name}.key"), "-out", str(tmp_path / f"{name}.crt")]
        subject = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.57.21,IP:127.0.0.1"]
        words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *files]
        subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "ca.crt").write_text("".join((tmp_path / f"{name}.crt").read_text() for name in ("server", "peer")))
    text = environment(Host("m", "127.0.57.21"), version, EtcdSettings(auto_compaction="8h")).content
    assert isinstance(text, str)
    given = dict(line.split("=", 1) for line in text.splitlines() if not line.startswith("#"))
    pki = str(Path(given["ETCD_CERT_FILE"]).parent)
    given = {name: value.replace(pki, str(tmp_path)) for name, value in given.items()}
    given |= {"ETCD_DATA_DIR": str(tmp_path / "data"), "ETCD_INITIAL_CLUSTER_STATE": "new"}
    serve(given, tmp_path / "first")
    said = serve(given, tmp_path / "second")  # only a member with data has anything to check
    assert [each for each in said if "unrecognized" in each or "deprecated" in each] == []
    assert "starting initial corruption check" in said


def serve(given: dict[str, str], log: Path) -> list[str]:
    """Start it, and end it once it serves; returns what it said."""
    assert ETCD is not None
    with log.open("wb") as file:
        process = subprocess.Popen([ETCD], env=given, stdout=file, stderr=file)
    try:
        end = time.monotonic() + 20
        while "serving client traffic securely" not in log.read_text():
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)  # nothing tells us
    finally:
        process.kill()
        process.wait()
    return [str(json.loads(line)["msg"]) for line in log.read_text().splitlines() if line.startswith("{")]
