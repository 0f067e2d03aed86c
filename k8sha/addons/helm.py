"""HelmChart: a chart's objects, rendered here by ``helm template`` and then treated like any other add-on's.

There is no release in the cluster: nothing of Helm's own is stored, and what is applied is what the plan showed.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Iterator
from typing import ClassVar

import yaml
from attrs import field, frozen, validators

from k8sha.addons.addon import Addon
from k8sha.addons.manifests import Manifest, parse, rewrite_images
from k8sha.component import Stages
from k8sha.errors import ConfigError, KubeError, Problem
from k8sha.kube import Json
from k8sha.objects import NodePort, Ref
from k8sha.objects.applied import not_there_yet
from k8sha.objects.identity import expanded, kinds_defined
from k8sha.scratch import private_folder

__all__ = ["HelmChart"]

_HOOK = "helm.sh/hook"
_PROGRAMS = "/usr/local/bin:/usr/bin:/bin"
_LABEL = 63
"""Characters that a label's value may have."""

_LIMIT = 60
"""Seconds that helm may take: the largest charts in use render in a few."""


def _frozen_values(values: object) -> str:
    """Values as JSON, which is what they may be given as too."""
    return values if isinstance(values, str) else json.dumps(values or {}, sort_keys=True)


@frozen
class HelmChart(Addon):
    """A chart of a ``repository`` (its web address), of exactly this ``version`` and ``sha256``.

    ``values`` go to helm through a file that only we can read, never on its command line. ``helm`` is the program: a
    path, or a name that is looked for in /usr/local/bin, /usr/bin and /bin; it must be of ``helm_version`` (``v3``,
    ``v3.18``, ``v3.18.4``). A chart whose ``kubeVersion`` does not admit the control plane's version is refused before
    the first change. ``hooks`` says what becomes of objects that Helm would run around a release: ``refuse``, ``skip``,
    or ``apply`` like all others. Tests are always left out. The namespace that it goes ``into`` is made with it, unless
    ``create_namespace=False``. A release is known by its name and that namespace, as it is to Helm.
    """

    apart: ClassVar[str] = "give one of them release=, or another into="

    chart: str = field(kw_only=True, validator=validators.matches_re(r"[a-zA-Z0-9][a-zA-Z0-9._-]*"))
    version: str = field(kw_only=True)
    repository: str = field(kw_only=True)
    sha256: str = field(kw_only=True, validator=validators.matches_re(r"[0-9a-f]{64}"))
    values: str = field(default=None, kw_only=True, converter=_frozen_values, repr=False)
    release: str = field(default="", kw_only=True)
    into: str = field(default="default", kw_only=True)
    create_namespace: bool = field(default=True, kw_only=True)
    helm: str = field(default="helm", kw_only=True)
    helm_version: str = field(default="v3", kw_only=True)
    made_by_pods: tuple[str, ...] = field(default=(), kw_only=True, converter=tuple)
    hooks: str = field(default="refuse", kw_only=True, validator=validators.in_(("refuse", "skip", "apply")))

    def __attrs_post_init__(self) -> None:
        if not re.match(r"https?://|file:///", self.repository):
            raise ConfigError.of(
                f"chart {self.chart}",
                f"its repository {self.repository!r} is no web address",
                "oci:// is not supported",
            )
        if len(self.owner) > _LABEL:
            cause = f"its release and its namespace have more than {_LABEL - 1} characters together"
            raise ConfigError.of(f"chart {self.chart}", cause, "give a shorter release=")

    @property
    def name(self) -> str:
        """Its release's: several charts are several add-ons."""
        return self.release or self.chart

    @property
    def owner(self) -> str:
        """See :attr:`Addon.owner`: one chart may be in several namespaces."""
        return f"{super().owner}.{self.into}"

    @property
    def namespace(self) -> str:
        """See :attr:`Addon.namespace`."""
        return self.into

    def manifests(self) -> tuple[Manifest, ...]:
        """The chart's archive, pinned like any other file."""
        url = f"{self.repository.rstrip('/')}/{self.chart}-{self.version}.tgz"
        return (Manifest(self.chart, self.version, url, self.sha256, suffix="tgz"),)

    def objects(self) -> tuple[Json, ...]:
        """What helm renders for this cluster. Raises ConfigError with helm's own words where it refuses."""
        (archive,) = self.manifests()
        data = archive.bytes(self._folder, mirror=self.mirror)
        self._check_metadata(data)
        program = self._program()
        with private_folder("helm") as folder:
            file, values = folder / "chart.tgz", folder / "values.json"
            file.write_bytes(data)
            values.touch(mode=0o600)
            values.write_text(self.values)
            command = [
                program, "template", self.name, str(file), "--namespace", self.into, "--include-crds",
                "--skip-tests", "--kube-version", f"v{self.plane.version}", "--values", str(values),
            ]  # fmt: skip
            items = self._rendered(command, str(folder))
        made = any(item["kind"] == "Namespace" and item["metadata"]["name"] == self.into for item in items)
        if made or not self.create_namespace or self.into in ("default", "kube-system"):
            return items
        return ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.into}}, *items)

    def _rendered(self, command: list[str], folder: str) -> tuple[Json, ...]:
        """The chart's objects, for what the API server has. It will have the chart's own kinds as well: what depends on
        them would else come with the second install."""

        def render(kinds: Iterable[tuple[str, str]]) -> tuple[Json, ...]:
            versions = sorted({version for version, _ in kinds} | {f"{version}/{kind}" for version, kind in kinds})
            text = self._run([*command, *(("--api-versions", ",".join(versions)) if versions else ())], folder)
            return tuple(self._without_hooks(parse(text, f"chart {self.chart}")))

        known = self.plane.api.kinds_known.keys()
        items = render(known)
        own = kinds_defined(items).keys()
        return items if own <= known else render(known | own)

    def problems(self) -> Iterator[Problem]:
        """See :meth:`Component.problems`."""
        with contextlib.suppress(KubeError):  # it may be down because of what this very install mends
            self.plane.api.kinds(again=True)
        yield from super().problems()

    def gives_way(self, claim: Ref | NodePort) -> str:
        """See :meth:`Addon.gives_way`."""
        if isinstance(claim, Ref) and (claim.kind, claim.name) == ("Namespace", self.into) and self.create_namespace:
            return f"say create_namespace=False to the chart {self.name}"
        return super().gives_way(claim)

    def stages(self) -> Stages:
        """See :meth:`Component.stages`."""
        try:
            self.plane.api.kinds(again=True)  # what comes before it may have brought kinds
        except KubeError as error:  # rendered for less than there is, its objects would be taken for gone
            if not not_there_yet(error):
                raise
        yield from super().stages()

    def unsettled(self, items: tuple[Json, ...]) -> Iterator[Problem]:
        """See :meth:`Addon.unsettled`: random values are others each time, as nothing here keeps a release."""
        again = self.objects()
        rewrite_images(again, self.mirror.image)

        def named(rendered: tuple[Json, ...]) -> dict[str, Json]:
            metas = ((item, item["metadata"]) for item in expanded(rendered))
            return {
                f"{item['kind']} {meta.get('namespace', self.into)}/{meta.get('name')}": item for item, meta in metas
            }

        first, second = named(items), named(again)
        if differing := sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name)):
            cause = f"it makes random values: two renderings differ in {', '.join(differing)}"
            yield Problem(f"chart {self.chart} {self.version}", cause, "set them in values=, so that it makes none up")

    def _check_metadata(self, data: bytes) -> None:
        """The archive is the chart and version that was asked for."""
        try:
            with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
                names = [name for name in archive.getnames() if name.count("/") == 1 and name.endswith("/Chart.yaml")]
                member = archive.extractfile(names[0]) if names else None
                found = yaml.safe_load(member.read()) if member else {}
        except (tarfile.TarError, OSError, yaml.YAMLError) as error:
            raise ConfigError.of(
                f"chart {self.chart}", f"is no chart's archive: {error}", "take what helm package made"
            ) from None
        if (found.get("name"), str(found.get("version"))) != (self.chart, self.version):
            said = f"{found.get('name')} {found.get('version')}"
            raise ConfigError.of(f"chart {self.chart} {self.version}", f"the archive holds {said}", "pin the right one")

    def _program(self) -> str:
        program = shutil.which(self.helm, path=_PROGRAMS)
        if program is None:
            raise ConfigError.of(f"chart {self.chart}", f"there is no {self.helm}", "install helm, or give helm=path")
        found = self._run([program, "version", "--template", "{{.Version}}"], "/").strip()
        if found != self.helm_version and not found.startswith(f"{self.helm_version}."):
            raise ConfigError.of(
                f"chart {self.chart}",
                f"{program} is {found or 'no helm'}, not {self.helm_version}",
                "give helm_version=",
            )
        return program

    def _run(self, command: list[str], folder: str) -> str:
        # helm keeps its caches and settings in a home: it gets an empty one, so what others left there plays no part.
        environment = {"PATH": _PROGRAMS, "HOME": folder, "HELM_NO_PLUGINS": "1"}
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_LIMIT, env=environment, check=False, cwd="/"
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            cause = f"helm can't be run: {error}"
            raise ConfigError.of(f"chart {self.chart}", cause, "give helm= one that can") from None
        if done.returncode != 0:
            said = done.stderr.strip()[-1000:] or f"exit {done.returncode}"
            cause = f"helm refuses it: {said}"
            remedy = "correct the chart's values"
            if "kubeVersion" in said:
                remedy = f"take a version of the chart that is for Kubernetes {self.plane.version}"
            raise ConfigError.of(f"chart {self.chart} {self.version}", cause, remedy)
        return done.stdout

    def _without_hooks(self, items: tuple[Json, ...]) -> Iterator[Json]:
        for item in items:
            hook = ((item.get("metadata") or {}).get("annotations") or {}).get(_HOOK, "")
            if hook and hook != "crd-install" and self.hooks == "refuse":
                raise ConfigError.of(
                    f"chart {self.chart}",
                    f"{item['kind']} {item['metadata']['name']} is a hook ({hook})",
                    'turn it off in its values, or give hooks="skip" or hooks="apply"',
                )
            if not hook or hook == "crd-install" or self.hooks == "apply":
                yield item
