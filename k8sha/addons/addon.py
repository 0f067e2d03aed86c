"""Addon: what runs in a cluster. A subclass says which objects it consists of and how it is proved."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from attrs import field, frozen

from k8sha import operation
from k8sha.addons.manifests import Manifest, rewrite_images
from k8sha.addons.mirror import Mirror
from k8sha.artifacts import Artifact, unreachable
from k8sha.component import Component, Stages
from k8sha.components.control_plane import ControlPlane
from k8sha.errors import BundleError, ConfigError, KubeError, Problem
from k8sha.events import Listener, ignore
from k8sha.hosts.host import Host
from k8sha.kube import Json
from k8sha.objects import NodePort, Objects, Ref, Removal, Wanted, claims
from k8sha.objects.others import passing
from k8sha.report import Report
from k8sha.sources import Bundle

__all__ = ["Addon", "refused"]


def refused(addon: str, error: KubeError) -> Iterator[Problem]:
    """What an API server that answers will not do. One that is down, or does not let us in, is no problem: it may be so
    because of what this very install mends (kubeadm gives admin.conf its rights last of all), and the add-on's turn
    comes after that."""
    if not passing(error) and error.status not in (401, 403):
        yield Problem(addon, f"the API server refuses: {error}", "mend what it names")


def _fields(given: Iterable[str]) -> frozenset[str]:
    """Fields of objects, each written ``apps/v1 Deployment web/shop .spec.replicas``."""
    found = frozenset(given)
    for text in found:
        ref, _, path = text.rpartition(" ")
        Ref.parse(ref)
        if not path.startswith("."):
            raise ConfigError.of(f"field {text!r}", "is not named right", "write it as v1 ConfigMap web/x .data.key")
    return found


def _refs(given: Iterable[str]) -> frozenset[Ref]:
    return frozenset(Ref.parse(text) for text in given)


@frozen
class Addon(Component):
    """Objects of the API server, made and kept by server-side apply as field manager ``k8sha``.

    A subclass gives :meth:`manifests` or :meth:`objects`, and ``checks()``. Images and files come through ``mirror``.
    Fields of other owners are taken over only where ``force`` names them (``apps/v1 Deployment web/x .spec.replicas``),
    objects that were there before us only where ``adopt`` does (``v1 Namespace monitoring``). ``patience`` is how long
    everything may take to run, in seconds. ``check_images=False`` leaves out asking registries before the first change.
    """

    plane: ControlPlane
    mirror: Mirror = field(factory=Mirror, kw_only=True)
    force: frozenset[str] = field(default=frozenset(), converter=_fields, kw_only=True)
    adopt: frozenset[Ref] = field(default=frozenset(), converter=_refs, kw_only=True)
    patience: float = field(default=300, kw_only=True)
    check_images: bool = field(default=True, kw_only=True)

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The masters: through them the API server is reached, and their locks keep a second installer away."""
        return self.plane.hosts

    @property
    def namespace(self) -> str:
        """Where objects go whose manifest names no namespace."""
        return "default"

    @property
    def owner(self) -> str:
        """The value of the label by which its objects are known. Two with one owner delete each other's objects."""
        return self.name.lower()

    @property
    def made_by_pods(self) -> tuple[str, ...]:
        """What its programs make for themselves and nobody else owns, so that it goes with their namespace or kind:
        kinds and names, with ``*`` for any text (``Secret shop-*``)."""
        return ()

    def manifests(self) -> tuple[Manifest, ...]:
        """The pinned files that it is made of."""
        return ()

    def objects(self) -> tuple[Json, ...]:
        """Its objects as they shall be, with our settings: those of its manifests, unless a subclass says otherwise.

        Raises ConfigError where they can't be had.
        """
        return tuple(copy.deepcopy(item) for file in self.manifests() for item in self.read(file))

    def read(self, file: Manifest) -> tuple[Json, ...]:
        """A pinned file's objects: from the bundle that Kubernetes comes from, else from its URL or a mirror's."""
        return file.read(self._folder, mirror=self.mirror)

    @property
    def _folder(self) -> Path | None:
        source = self.plane.source
        return Path(source.path) / "manifests" if isinstance(source, Bundle) else None

    def _wanted(self) -> tuple[Wanted, tuple[str, ...]]:
        """What the API server shall have, and the images that it needs."""
        items = self.objects()
        wanted = Wanted(
            owner=self.owner, items=items, namespace=self.namespace, force=self.force, adopt=self.adopt,
            by_pods=self.made_by_pods,
        )  # fmt: skip
        return wanted, rewrite_images(items, self.mirror.image)

    def _step(self, wanted: Wanted) -> Objects:
        return Objects(
            name="objects", api=self.plane.api, wanted=wanted, patience=self.patience, pause=self._pause, gate=self.gate
        )

    def gate(self) -> None:
        """Called before an install changes its first object. Raises NotReady where its programs could never start, as
        what they need and others make is missing."""

    def _pause(self, seconds: float) -> None:
        """Let time pass; a run that was interrupted has halted its hosts, and is told so by their links."""
        self.hosts[0].pause(seconds)
        self.hosts[0].connect()

    def artifacts(self) -> Iterator[Artifact]:
        """See :meth:`Component.artifacts`."""
        for file in self.manifests():
            bundled = self._folder is not None and (self._folder / file.file_name).is_file()
            yield Artifact("url", self.mirror.url(file.url), self.name, bundled)
        _, images = self._wanted()
        yield from self._images(images)

    def _images(self, images: Iterable[str]) -> Iterator[Artifact]:
        source = self.plane.source
        bundled = source.image_names if isinstance(source, Bundle) else frozenset()
        for image in images:
            yield Artifact("image", image, self.name, image in bundled)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`: files that can't be had, what the API server would refuse, and, where
        something would change, images that nobody could pull."""
        try:
            wanted, images = self._wanted()
        except (ConfigError, BundleError) as error:
            yield from error.problems
            return
        yield from self.unsettled(wanted.items)
        try:
            seen = self._step(wanted).look()
        except KubeError as error:
            yield from refused(self.name, error)
            seen = None
        if seen is not None:
            yield from seen.problems
        if self.check_images and (seen is None or seen.changes):
            yield from unreachable(self._images(images))

    def unsettled(self, items: tuple[Json, ...]) -> Iterator[Problem]:
        """Why these objects would be other ones at the next look, though nobody changes anything."""
        yield from ()

    def claims(self) -> Mapping[object, str]:
        """See :meth:`Component.claims`: its objects, and the node ports that they name."""
        try:
            wanted, _ = self._wanted()
        except (ConfigError, BundleError):  # which problems() has told
            return {}
        known = self.plane.api.kinds_known
        return {claim: self.gives_way(claim) for claim in claims(wanted.items, wanted.namespace, known)}

    def gives_way(self, claim: Ref | NodePort) -> str:
        """What to do where another add-on claims the same object or node port."""
        return "choose another one for one of the two" if isinstance(claim, NodePort) else ""

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        wanted, _ = self._wanted()
        yield self._step(wanted)

    def uninstall(self, listen: Listener = ignore, *, keep: Iterable[str] = ()) -> Report:
        """Delete everything that it made, and nothing else; what it adopted stays, and so do claims with their data.

        Raises PreflightError with nothing changed where a namespace or definition of ours has objects of others in it,
        or data (``keep`` leaves it there), NotReady where something does not go.
        """
        removal = Removal(
            name="uninstall", api=self.plane.api, owner=self.owner, patience=self.patience, keep=_refs(keep),
            by_pods=self.made_by_pods,
        )  # fmt: skip

        def steps() -> Stages:
            yield removal
            yield from self.removal_stages()

        return operation.carry_out(self.name, steps(), self.hosts, listen, what=f"uninstalls {self.name}")

    def removal_stages(self) -> Stages:
        """What an uninstall does on hosts, after the objects are gone."""
        yield from ()
