"""Bundle: a folder on the controller with everything that a cluster needs, for hosts with no way out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import field, frozen

from k8sha.artifacts import Artifact
from k8sha.distros.distro import Distro
from k8sha.errors import BundleError, Problem
from k8sha.facts import Facts
from k8sha.resources.files import File, render
from k8sha.resources.images import ContainerImages, ImageArchive
from k8sha.resources.programs import Program, Programs
from k8sha.resources.requirements import Space
from k8sha.resources.resource import Requirement, Resource
from k8sha.sources.index import ImageName, Index, elf_machine, file_hash
from k8sha.sources.source import Role, Source
from k8sha.versions import Version, check_supported, default_pause

__all__ = ["Bundle"]

_PROGRAMS = {"master": ("kubelet", "kubeadm", "kubectl"), "worker": ("kubelet", "kubeadm")}
_CONTROL_PLANE = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd")
_EVERYWHERE = ("kube-proxy", "coredns", "pause")
_ELF = {"amd64": 62, "arm64": 183}  # e_machine, from the ELF specification
_UPSTREAM = "registry.k8s.io"
_FOLDER = "/usr/local/bin"
_MIB = 1 << 20


@frozen
class Bundle(Source):
    """A folder with ``bin/``, ``images/`` (archives that containerd imports), ``manifests/`` and ``index.json``.

    It is for one version and one architecture. Every file is checked against the index before the first change.
    """

    path: Path = field(converter=Path)

    @classmethod
    def find(cls, folder: str | Path = "/var/lib/k8sha/bundles", version: Version | str | None = None) -> Bundle | None:
        """The bundle of the newest version (or of that one) in a folder whose files are all there; None if none is."""
        wanted = None if version is None else Version.parse(version)
        found: list[tuple[Version, Bundle]] = []
        for index in sorted(Path(folder).glob("*/index.json")):
            bundle = cls(index.parent)
            try:
                if not list(bundle._misfits()) and wanted in (None, bundle.version):
                    found.append((bundle.version, bundle))
            except BundleError:
                continue
        return max(found, key=lambda pair: pair[0])[1] if found else None

    @property
    def _index(self) -> Index:
        file = self.path / "index.json"
        try:
            return Index.read(file)
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else str(error)
            raise BundleError([Problem(f"bundle {self.path}", f"index.json: {cause}", "build it again")]) from None

    @property
    def version(self) -> Version:
        """The version of Kubernetes that it holds. Raises BundleError where its index can't be read."""
        return self._index.kubernetes

    @property
    def architecture(self) -> str:
        """The architecture that it is for: amd64, arm64."""
        return self._index.architecture

    def check(self) -> None:
        """Look at all of it: every file there, of the right size and hash, for the right machine, nothing lacking.

        Raises BundleError with everything that is wrong. Files that were hashed by this process and did not change
        since are not hashed again.
        """
        problems = [*self._misfits(), *self._lacking(), *self._damaged()]
        if problems:
            raise BundleError(problems)

    def _problem(self, cause: str) -> Problem:
        return Problem(f"bundle {self.path}", cause, "build or copy it again")

    def _misfits(self) -> Iterator[Problem]:
        for name, entry in self._index.files.items():
            file = self.path / name
            if not file.is_file():
                yield self._problem(f"{name} is missing")
            elif file.stat().st_size != entry.size:
                yield self._problem(f"{name} has {file.stat().st_size} bytes, not {entry.size}")

    def _damaged(self) -> Iterator[Problem]:
        entries = [(name, entry) for name, entry in self._index.files.items() if (self.path / name).is_file()]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            sums = pool.map(file_hash, (self.path / name for name, _ in entries))
            for (name, entry), sum in zip(entries, sums, strict=True):
                if sum != entry.sha256 and (self.path / name).stat().st_size == entry.size:
                    yield self._problem(f"{name} is damaged: its sha256 is {sum[:8]}..., not {entry.sha256[:8]}...")

    def _lacking(self) -> Iterator[Problem]:
        index = self._index
        for name in (f"bin/{program}" for program in _PROGRAMS["master"]):
            if name not in index.files:
                yield self._problem(f"it has no {name}")
            elif (self.path / name).is_file() and (found := elf_machine(self.path / name)) != _ELF.get(
                index.architecture
            ):
                yield self._problem(f"{name} is not a program for {index.architecture} (ELF machine {found})")
        for archive in index.images:
            if archive not in index.files:
                yield self._problem(f"{archive} is listed among the images and not among the files")
        for image in (*_CONTROL_PLANE, *_EVERYWHERE):
            names = [name for name in self._names() if ImageName.parse(name).image == image]
            if not names:
                yield self._problem(f"it has no image of {image}")
            elif not self._fitting(image):
                at = " and ".join(self._tags(image)) or "any tag"
                yield self._problem(
                    f"it has no image of {image} at {at} in {self._registry}, where kubeadm would look for it, "
                    f"only {', '.join(names)}"
                )

    def _tags(self, image: str) -> tuple[str, ...]:
        """What an image's tag must be, by each who says so: the version, kubeadm's own list (pause is none of its
        settings: it would pull the one that it knows), and the index."""
        index = self._index
        wanted = [f"v{index.kubernetes}"] if image.startswith("kube-") else []
        if image == "pause" and check_supported(index.kubernetes)[0] is None:
            wanted.append(default_pause(index.kubernetes))
        return tuple(dict.fromkeys((*wanted, *(tag for name, tag in index.tags.items() if name == image))))

    def _fitting(self, image: str) -> list[str]:
        """The names of an image that kubeadm would use: in the registry of all others, with the right tag. etcd's has
        a revision of its own behind its version."""
        parsed = {name: ImageName.parse(name) for name in self._names()}
        wanted = self._tags(image)
        return [
            name
            for name, found in parsed.items()
            if (found.image, found.registry) == (image, self._registry)
            and all(tag in (found.tag, found.tag.rpartition("-")[0] if image == "etcd" else "") for tag in wanted)
        ]

    @property
    def _registry(self) -> str:
        """Where kubeadm looks for its images: where kube-apiserver's is from."""
        found = (ImageName.parse(name) for name in self._names())
        return next((each.registry for each in found if each.image == "kube-apiserver"), _UPSTREAM)

    def _names(self) -> Iterator[str]:
        for names in self._index.images.values():
            yield from names

    @property
    def image_names(self) -> frozenset[str]:
        """The full name of every image that it brings."""
        return frozenset(self._names())

    def _image(self, image: str) -> str:
        for name in self._fitting(image):
            return name
        raise BundleError([self._problem(f"it has no image of {image}")])

    def problems(self, version: Version, architecture: str) -> Iterator[Problem]:
        """See :meth:`Source.problems`."""
        try:
            if version != self.version:
                yield Problem(
                    f"bundle {self.path}", f"holds Kubernetes {self.version}, not {version}", "take the right bundle"
                )
            if architecture != self.architecture:
                yield Problem(
                    f"bundle {self.path}",
                    f"is for {self.architecture}, and hosts are {architecture}",
                    "one bundle serves one architecture",
                )
            self.check()
        except BundleError as error:
            yield from error.problems

    def requirements(self, version: Version, role: Role, distro: Distro) -> tuple[Requirement, ...]:
        """See :meth:`Source.requirements`."""
        sizes = sum(archive.size for archive in self._archives(role))
        programs = sum(self._index.files[f"bin/{name}"].size for name in _PROGRAMS[role])
        # An archive lies there once staged and once imported; unpacked it grows up to fourfold if it was compressed.
        return (Space(mib=(6 * sizes + 2 * programs) // _MIB),)

    def kubernetes(self, version: Version, facts: Facts, distro: Distro, role: Role) -> tuple[Resource, ...]:
        """See :meth:`Source.kubernetes`."""
        here = Path(__file__).parent
        kubelet, others = (
            Programs(
                tuple(
                    Program(f"{_FOLDER}/{name}", self._index.files[f"bin/{name}"].sha256, self.path / "bin" / name)
                    for name in names
                )
            )
            for names in (("kubelet",), tuple(name for name in _PROGRAMS[role] if name != "kubelet"))
        )
        unit = "/etc/systemd/system/kubelet.service"
        return (
            others,
            kubelet,
            File(unit, render(here / "kubelet.service.j2", kubelet=self.kubelet)),
            File(f"{unit}.d/10-kubeadm.conf", render(here / "kubelet-kubeadm.conf.j2", kubelet=self.kubelet)),
        )

    def images(self, version: Version, role: Role) -> tuple[Resource, ...]:
        """See :meth:`Source.images`. Archives of the control plane go to masters only, all others to every node."""
        return (ContainerImages(self._archives(role)),)

    def _archives(self, role: Role) -> tuple[ImageArchive, ...]:
        found: list[ImageArchive] = []
        for archive, names in sorted(self._index.images.items()):
            control = all(ImageName.parse(name).image in _CONTROL_PLANE for name in names)
            if role == "master" or not control:
                entry = self._index.files[archive]
                found.append(ImageArchive(self.path / archive, entry.sha256, entry.size, names))
        return tuple(found)

    def artifacts(self, version: Version) -> Iterator[Artifact]:
        """See :meth:`Source.artifacts`."""
        yield from (Artifact("image", name, "Kubernetes", True) for name in dict.fromkeys(self._names()))

    @property
    def kubelet(self) -> str:
        """Where no package of the distribution puts anything."""
        return f"{_FOLDER}/kubelet"

    @property
    def brings_cni_plugins(self) -> bool:
        """No: the distribution's package has them."""
        return False

    @property
    def image_repository(self) -> str | None:
        """The registry that its images are named after, None where it is kubeadm's own."""
        return None if self._registry == _UPSTREAM else self._registry

    def etcd_tag(self, version: Version) -> str | None:
        """The tag of the etcd image that it holds."""
        return ImageName.parse(self._image("etcd")).tag

    def coredns_tag(self, version: Version) -> str | None:
        """The tag of the CoreDNS image that it holds."""
        return ImageName.parse(self._image("coredns")).tag

    def pause_image(self, version: Version) -> str:
        """The pause image that it holds."""
        return self._image("pause")
