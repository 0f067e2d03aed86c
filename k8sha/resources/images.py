"""Container images that are brought to a host as archives and imported into containerd."""

from __future__ import annotations

import shlex
from pathlib import Path

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.resource import STATE, Payload, Resource

__all__ = ["CTR", "ContainerImages", "ImageArchive"]

CTR = "ctr --connect-timeout 3s --namespace k8s.io images"
"""The images that the kubelet sees. Without the limit a containerd that is down would be waited for, for 10 s."""

_IMPORT = f"""
  if [ "$(sha256sum <"$1")" != "${{1##*/}}  -" ]; then
    rm -f "$1"
    echo "$1 was damaged on its way here: run again" >&2
    exit 1
  fi
  {CTR} import "$1\""""


@frozen
class ImageArchive:
    """An archive of images on the controller: its hash, its size in bytes, and the names that it brings."""

    source: Path = field(eq=False)
    sha256: str
    size: int
    names: tuple[str, ...]

    @property
    def staged(self) -> str:
        """Where it waits on the host until it is imported."""
        return f"{STATE}/upload/{self.sha256}"

    @property
    def stamp(self) -> str:
        """Is there once it was imported whole, unpacking included."""
        return f"{STATE}/images/{self.sha256}"


@frozen
class ContainerImages(Resource):
    """Images that the container runtime has, each from exactly this archive.

    Only missing ones are brought. They are pinned, so that the kubelet's image collection never removes what can't be
    pulled again. An import that dies leaves its archive and no stamp: the next run imports it again. An archive is
    hashed just before it is imported, and one that is damaged is removed, so that the next run brings it again.
    """

    archives: tuple[ImageArchive, ...]

    @property
    def key(self) -> str:
        return "container images"

    @property
    def timeout(self) -> int:
        return 1200

    def probe(self) -> str:
        return f"""\
if command -v ctr >/dev/null && images=$({CTR} list --quiet 2>/dev/null); then
  echo answers
  for image in $images; do echo "image $image"; done
fi
for stamp in {STATE}/images/*; do
  if [ -f "$stamp" ]; then echo "imported ${{stamp##*/}}"; fi
done"""

    def _missing(self, seen: bytes) -> dict[ImageArchive, tuple[str, ...]]:
        """Archives that must be imported, with the reason. While containerd does not answer, stamps are believed."""
        words = [line.split() for line in seen.decode(errors="replace").splitlines()]
        images = {word[1] for word in words if word[0] == "image"}
        stamps = {word[1] for word in words if word[0] == "imported"}
        answers = ["answers"] in words
        missing: dict[ImageArchive, tuple[str, ...]] = {}
        for archive in self.archives:
            absent = [name for name in archive.names if name not in images]
            if archive.sha256 not in stamps:
                whence = f"{archive.size / 1e6:.0f} MB, sha256 {archive.sha256[:8]}"
                missing[archive] = tuple(
                    f"+ {name} ({whence})"
                    if name in absent or not answers
                    else f"{name}: of unknown origin -> {whence}"
                    for name in archive.names
                )
            elif absent and answers:
                missing[archive] = tuple(f"+ {name}" for name in absent)
        return missing

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(line for lines in self._missing(seen).values() for line in lines))

    def payloads(self, seen: bytes) -> tuple[Payload, ...]:
        return tuple(Payload(item.source, item.staged, item.sha256) for item in self._missing(seen))

    def apply(self) -> str:
        staged = " ".join(item.staged for item in self.archives)
        finish = "".join(
            f"finish {item.sha256} {' '.join(shlex.quote(name) for name in item.names)}\n" for item in self.archives
        )
        return f"""\
mkdir -p {STATE}/images
set --
for archive in {staged}; do if [ -f "$archive" ]; then set -- "$@" "$archive"; fi; done
if [ $# -gt 0 ]; then printf '%s\\n' "$@" | xargs -P 2 -n 1 sh -c '{_IMPORT}' import; fi
finish() {{
  archive={STATE}/upload/$1 stamp={STATE}/images/$1
  shift
  if [ ! -f "$archive" ]; then return 0; fi
  for name; do {CTR} label "$name" io.cri-containerd.pinned=pinned; done
  : >"$stamp"
  rm -f "$archive"
}}
{finish}"""
