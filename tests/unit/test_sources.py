"""Bundles: what their check finds, which one is found, and what each role gets of one."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import pytest

from k8sha.distros import Debian
from k8sha.errors import BundleError
from k8sha.facts import Facts
from k8sha.resources.images import ContainerImages
from k8sha.resources.programs import Programs
from k8sha.resources.requirements import Space
from k8sha.sources import Bundle, Role
from k8sha.sources.index import ImageName, file_hash
from k8sha.versions import Version

from .tiny_bundle import IMAGES, make

V = Version.parse("1.33.13")


def edit(bundle: Bundle, **changes: object) -> None:
    path = bundle.path / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def wrong(bundle: Bundle) -> list[str]:
    with pytest.raises(BundleError) as caught:
        bundle.check()
    return [problem.cause for problem in caught.value.problems]


def test_a_whole_bundle_passes(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    bundle.check()
    assert (bundle.version, bundle.architecture) == (V, "amd64")
    assert list(bundle.problems(V, "amd64")) == []


def test_one_flipped_byte_is_found_and_named(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    file = tmp_path / "images" / "etcd.tar"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    (cause,) = wrong(bundle)
    assert cause.startswith("images/etcd.tar is damaged: its sha256 is")


def test_a_byte_that_flips_after_a_good_check_is_found_as_well(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    bundle.check()
    file = tmp_path / "bin" / "kubeadm"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    assert "bin/kubeadm is damaged" in wrong(bundle)[0]


def test_an_unchanged_file_is_hashed_once_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "large"
    file.write_bytes(b"x")
    first = file_hash(file)
    monkeypatch.setattr(hashlib, "file_digest", lambda *_: pytest.fail("hashed again"))
    assert file_hash(file) == first


def test_all_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    (tmp_path / "images" / "pause.tar").unlink()
    (tmp_path / "bin" / "kubectl").write_bytes(b"short")
    (tmp_path / "images" / "coredns.tar").write_bytes((tmp_path / "images" / "coredns.tar").read_bytes()[::-1])
    found = wrong(bundle)
    assert len(found) == 4
    assert "images/pause.tar is missing" in found
    assert "bin/kubectl has 5 bytes, not 27" in found
    assert "bin/kubectl is not a program for amd64 (ELF machine None)" in found
    assert any(cause.startswith("images/coredns.tar is damaged") for cause in found)


def test_a_missing_image_is_named(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    edit(bundle, images={name: names for name, names in IMAGES.items() if "proxy" not in name and "etcd" not in name})
    assert wrong(bundle) == ["it has no image of etcd", "it has no image of kube-proxy"]


def test_images_of_another_version_do_not_count(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    edit(bundle, kubernetes="1.33.14")
    assert (
        "it has no image of kube-proxy at v1.33.14 in registry.k8s.io, where kubeadm would look for it, "
        "only registry.k8s.io/kube-proxy:v1.33.13"
    ) in wrong(bundle)


@pytest.mark.parametrize(
    ("changed", "image", "at"),
    [
        ({"pause": "3.10.1"}, "pause", "3.10 and 3.10.1"),
        ({"etcd": "3.5.29"}, "etcd", "3.5.29"),
        ({"coredns": "v1.12.0"}, "coredns", "v1.12.0"),
        ({"images": {**IMAGES, "images/pause.tar": ["registry.k8s.io/pause:3.9"]}}, "pause", "3.10"),
        ({"images": {**IMAGES, "images/etcd.tar": ["example.com/etcd:3.5.30-0"]}}, "etcd", "any tag"),
    ],
)
def test_an_image_that_kubeadm_would_still_pull_is_named(
    tmp_path: Path, changed: dict[str, object], image: str, at: str
) -> None:
    bundle = make(tmp_path)
    edit(bundle, **changed)
    (cause,) = wrong(bundle)
    assert cause.startswith(f"it has no image of {image} at {at} in registry.k8s.io, where kubeadm would look for it")


def test_the_versions_that_the_index_tells_are_those_of_the_images(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    edit(bundle, etcd="3.5.30", coredns="v1.13.1", pause="3.10")
    bundle.check()


def test_of_several_images_the_one_that_fits_is_used(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    several = ["example.com/pause:3.10", "registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.10"]
    edit(bundle, images={**IMAGES, "images/pause.tar": several})
    bundle.check()
    assert bundle.pause_image(V) == "registry.k8s.io/pause:3.10"


def test_an_archive_that_is_no_file_of_the_bundle_is_named(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    edit(bundle, images={**IMAGES, "images/extra.tar": ["example.com/extra:1"]})
    assert wrong(bundle) == ["images/extra.tar is listed among the images and not among the files"]


def test_the_wrong_architecture_is_refused(tmp_path: Path) -> None:
    bundle = make(tmp_path, architecture="arm64", machine="arm64")
    bundle.check()
    (problem,) = bundle.problems(V, "amd64")
    assert problem.cause == "is for arm64, and hosts are amd64"


def test_programs_that_belie_the_index_are_refused(tmp_path: Path) -> None:
    found = wrong(make(tmp_path, machine="arm64"))
    assert found[0] == "bin/kubelet is not a program for amd64 (ELF machine 183)"
    assert len(found) == 3


def test_another_version_than_asked_for_is_refused(tmp_path: Path) -> None:
    (problem,) = make(tmp_path).problems(Version.parse("1.32.4"), "amd64")
    assert problem.cause == "holds Kubernetes 1.33.13, not 1.32.4"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("{", "Expecting property name"),
        ("[]", "its format is not 1"),
        ('{"format": 2}', "its format is not 1"),
        ('{"format": 1}', "'files' is missing"),
        ('{"format": 1, "files": {"bin/x": 3}}', "is not an object"),
        ('{"format": 1, "files": {"../x": {"sha256": "' + "0" * 64 + '", "size": 1}}}', "is not a file of the bundle"),
        (
            '{"format": 1, "files": {"/etc/x": {"sha256": "' + "0" * 64 + '", "size": 1}}}',
            "is not a file of the bundle",
        ),
        ('{"format": 1, "files": {"x": {"sha256": "abc", "size": 1}}}', "is not a file of the bundle"),
        (
            '{"format": 1, "files": {}, "images": {}, "kubernetes": "1.33", "architecture": "amd64"}',
            "not a full version",
        ),
    ],
)
def test_an_index_that_cannot_be_read_says_why(tmp_path: Path, text: str, cause: str) -> None:
    (tmp_path / "index.json").write_text(text)
    assert cause in wrong(Bundle(tmp_path))[0]


def test_a_folder_without_an_index_is_no_bundle(tmp_path: Path) -> None:
    assert wrong(Bundle(tmp_path)) == ["index.json: No such file or directory"]
    (problem,) = Bundle(tmp_path).problems(V, "amd64")
    assert str(tmp_path) in problem.subject


def test_the_newest_complete_bundle_is_found(tmp_path: Path) -> None:
    for version in ("1.33.9", "1.33.13", "1.33.20"):
        make(tmp_path / f"v{version}-amd64", version=version)
    (tmp_path / "v1.33.20-amd64" / "bin" / "kubelet").unlink()
    (tmp_path / "unfinished").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "index.json").write_text("{")
    found = Bundle.find(tmp_path)
    assert found is not None
    assert str(found.version) == "1.33.13"
    assert Bundle.find(tmp_path, "1.33.9") == Bundle(tmp_path / "v1.33.9-amd64")
    assert Bundle.find(tmp_path, Version.parse("1.30.0")) is None
    assert Bundle.find(tmp_path / "nowhere") is None


@pytest.mark.parametrize(
    ("role", "programs", "archives"),
    [
        ("master", {"kubeadm", "kubectl", "kubelet"}, {name.split("/")[1] for name in IMAGES}),
        ("worker", {"kubeadm", "kubelet"}, {"busybox.tar", "coredns.tar", "kube-proxy.tar", "pause.tar"}),
    ],
)
def test_each_role_gets_what_it_runs(tmp_path: Path, role: Role, programs: set[str], archives: set[str]) -> None:
    bundle = make(tmp_path)
    brought = [item for item in bundle.kubernetes(V, Facts(), Debian(), role) if isinstance(item, Programs)]
    assert {Path(path).name for item in brought for path in item.paths} == programs
    (images,) = bundle.images(V, role)
    assert isinstance(images, ContainerImages)
    assert {archive.source.name for archive in images.archives} == archives


def test_tags_and_names_come_from_its_images(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    assert bundle.etcd_tag(V) == "3.5.30-0"
    assert bundle.coredns_tag(V) == "v1.13.1"
    assert bundle.pause_image(V) == "registry.k8s.io/pause:3.10"
    assert bundle.image_repository is None
    renamed = {
        archive: [
            name.replace("registry.k8s.io/coredns", "r.example.com:5000/k8s").replace(
                "registry.k8s.io", "r.example.com:5000/k8s"
            )
            for name in names
        ]
        for archive, names in IMAGES.items()
    }
    edit(bundle, images=renamed)
    assert bundle.image_repository == "r.example.com:5000/k8s"
    assert bundle.coredns_tag(V) == "v1.13.1"


def test_an_image_name_in_its_parts() -> None:
    assert ImageName.parse("r.example.com:5000/a/pause:3.10") == ImageName("r.example.com:5000/a", "pause", "3.10")
    assert ImageName.parse("registry.k8s.io/coredns/coredns:v1") == ImageName("registry.k8s.io", "coredns", "v1")


def test_room_is_asked_for_by_what_the_role_gets(tmp_path: Path) -> None:
    bundle = make(tmp_path)
    sizes = {}
    for role in ("master", "worker"):
        (space,) = bundle.requirements(V, role, Debian())
        assert isinstance(space, Space)
        sizes[role] = space.mib
    assert sizes["master"] >= sizes["worker"]
