"""Keys of Secrets, as real shells hash them on a host, are those of the archive, however they are written."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from k8sha.etcd.fence import CONTROLLERS, FENCED, MANIFESTS
from k8sha.etcd.present import Manifests
from k8sha.etcd.sealing import KeysUsed, archived_keys
from k8sha.policies.encryption import _config

from .local import KINDS, SHELLS

KEYS = {"secretbox-1": "b25lb25lb25l+/==", "secretbox-2": "dHdvdHdvdHdv"}
ORDER = ("secretbox-2", "secretbox-1", "identity")
CONFIG = yaml.safe_load(_config(ORDER, KEYS))
OTHERS = """\
apiVersion: apiserver.config.k8s.io/v1
kind: EncryptionConfiguration
resources:
  - resources: [secrets]
    providers:
      - kms: {apiVersion: v2, name: vault, endpoint: "unix:///run/kms"}
      - aescbc:
          keys:
            - name: "secretbox-2" # quoted
              secret: 'dHdvdHdvdHdv'
            - secret: b25lb25lb25l+/==
              name: secretbox-1
      - identity: {}
"""
TEXTS = {
    "ours": _config(ORDER, KEYS),
    "json": json.dumps(CONFIG),
    "flow": yaml.safe_dump(CONFIG, default_flow_style=True),
}
TEXTS |= {"others'": OTHERS, "indented json": json.dumps(CONFIG, indent=2)}


def archive(folder: Path, text: str) -> Path:
    """An unpacked archive whose API server has this configuration."""
    path = "/etc/kubernetes/encryption/all.yaml"
    for name, said in (
        (f"{MANIFESTS}/kube-apiserver.yaml", f"    - --encryption-provider-config={path}\n"),
        (path, text),
    ):
        file = folder / "files" / name.lstrip("/")
        file.parent.mkdir(parents=True)
        file.write_text(said)
    return folder


def used(shell: str, folder: Path, place: str = MANIFESTS) -> KeysUsed.Seen:
    """What a host says whose files are those of the archive."""
    text = KeysUsed().probe().replace(place, f"{folder}/files{MANIFESTS}")
    manifest = folder / "files" / f"{MANIFESTS}/kube-apiserver.yaml".lstrip("/")
    config = folder / "files/etc/kubernetes/encryption/all.yaml"
    manifest.write_text(f"    - --encryption-provider-config={config}\n")
    done = subprocess.run([*SHELLS[shell], "-eu", "-c", text], check=True, capture_output=True)
    assert not any(key.encode() in done.stdout + done.stderr for key in KEYS.values())
    return KeysUsed().read(done.stdout)


@pytest.mark.parametrize("shell", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_a_host_and_an_archive_hash_alike(tmp_path: Path, shell: str, text: str) -> None:
    folder = archive(tmp_path, TEXTS[text])
    found = archived_keys(folder)
    assert found is not None
    assert sorted(found.values()) == ["secretbox-1", "secretbox-2"]
    assert used(shell, folder) == KeysUsed.Seen(True, True, frozenset(found))
    assert used(shell, folder, FENCED).hashes == set(found)


@pytest.mark.parametrize("shell", KINDS)
def test_another_key_of_the_same_name_is_another(tmp_path: Path, shell: str) -> None:
    folder = archive(tmp_path, TEXTS["ours"])
    found = archived_keys(folder) or {}
    (folder / "files/etc/kubernetes/encryption/all.yaml").write_text(
        _config(ORDER, {**KEYS, "secretbox-1": "dHJlZQ=="})
    )
    assert {found[hash] for hash in found if hash not in used(shell, folder).hashes} == {"secretbox-1"}


@pytest.mark.parametrize("shell", KINDS)
def test_a_host_without_an_api_server_says_so(tmp_path: Path, shell: str) -> None:
    text = KeysUsed().probe().replace("/etc/kubernetes", str(tmp_path))
    done = subprocess.run([*SHELLS[shell], "-eu", "-c", text], check=True, capture_output=True)
    assert KeysUsed().read(done.stdout) == KeysUsed.Seen(False, False, frozenset())


@pytest.mark.parametrize("shell", KINDS)
def test_manifests_are_there_where_they_run_or_wait_and_not_where_they_are_empty(tmp_path: Path, shell: str) -> None:
    def lacking() -> str:
        text = Manifests(stacked=True).probe().replace("/etc/kubernetes", str(tmp_path))
        done = subprocess.run([*SHELLS[shell], "-eu", "-c", text], check=True, capture_output=True, text=True)
        return done.stdout

    assert lacking().split() == [f"{name}.yaml" for name in ("kube-apiserver", *CONTROLLERS, "etcd")]
    for folder, *names in (("manifests", "etcd", "kube-apiserver"), ("k8sha-fenced", *CONTROLLERS)):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / f"{name}.yaml").write_text("kind: Pod")
    assert lacking() == ""
    (tmp_path / "manifests/etcd.yaml").write_text("")
    assert lacking() == "etcd.yaml\n"


def test_an_archive_may_have_no_keys_or_none_that_can_be_read(tmp_path: Path) -> None:
    assert archived_keys(tmp_path) is None
    folder = archive(tmp_path, "no: configuration\n")
    assert archived_keys(folder) is None
    (folder / "files" / f"{MANIFESTS}/kube-apiserver.yaml".lstrip("/")).write_text("    - --v=2\n")
    assert archived_keys(folder) == {}
