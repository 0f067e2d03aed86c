"""Kernel modules, sysctl values, and swap that stays off."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from k8sha.report import Diff, line_diff
from k8sha.resources.files import beside
from k8sha.resources.resource import Resource

__all__ = ["Modules", "NoSwap", "Sysctl"]


def _frozen_items(values: Mapping[str, str] | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items())) if isinstance(values, Mapping) else values


def _names(instance: object, attribute: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ValueError(f"{name!r} is not the name of a kernel module")


_VALUES = "/proc/sys/"


def _place(name: str) -> str:
    """Where a setting is, below ``/proc/sys``."""
    return name.replace(".", "/")


def _split(seen: bytes) -> tuple[list[str], str]:
    """What a probe printed: the lines about the kernel, and the text of the file below the line that says ``file``."""
    lines = seen.decode(errors="replace").splitlines(keepends=True)
    heads = [line.rstrip("\n") for line in lines]
    at = heads.index("file") if "file" in heads else len(lines)
    return heads[:at], "".join(lines[at + 1 :])


def _write(path: str, text: str) -> str:
    """Shell that puts a text into a file for all to read."""
    new = shlex.quote(beside(path))
    return f"""\
(umask 022; mkdir -p {shlex.quote(str(Path(path).parent))}; printf '%s' {shlex.quote(text)} >{new})
mv -fT {new} {shlex.quote(path)}"""


@frozen
class Modules(Resource):
    """Kernel modules that are loaded now and at every boot. One that is built into the kernel counts as loaded."""

    names: tuple[str, ...] = field(validator=_names)
    path: str = field(default="/etc/modules-load.d/k8sha.conf", kw_only=True)

    @property
    def key(self) -> str:
        return f"modules {self.path}"

    @property
    def _text(self) -> str:
        return "".join(f"{name}\n" for name in self.names)

    def _loaded(self, name: str) -> str:
        sys = shlex.quote(f"/sys/module/{name.replace('-', '_')}")
        builtin = '"/lib/modules/$(uname -r)/modules.builtin"'
        wanted = f"/{name.replace('_', '[-_]')}\\.ko"
        traces = {"overlay": "grep -qw overlay /proc/filesystems", "br_netfilter": "[ -d /proc/sys/net/bridge ]"}
        trace = f" || {traces[name]}" if name in traces else ""
        return f"[ -d {sys} ]{trace} || {{ [ -r {builtin} ] && grep -q {shlex.quote(wanted)} {builtin}; }}"

    def probe(self) -> str:
        path = shlex.quote(self.path)
        loaded = "\n".join(f"if {self._loaded(name)}; then echo loaded {name}; fi" for name in self.names)
        return f"{loaded}\nif [ -f {path} ]; then echo file; cat {path}; fi"

    def diff(self, seen: bytes) -> Diff:
        lines, file = _split(seen)
        loaded = {line.removeprefix("loaded ") for line in lines}
        differs = Diff(tuple(f"{name} is not loaded" for name in self.names if name not in loaded))
        return differs + Diff(tuple(f"{self.path}: {line}" for line in line_diff(file, self._text, context=0)))

    def apply(self) -> str:
        load = "\n".join(f"if {self._loaded(name)}; then :; else modprobe {name}; fi" for name in self.names)
        return f"{_write(self.path, self._text)}\n{load}"


@frozen
class Sysctl(Resource):
    """Kernel settings that hold now and after every boot."""

    values: tuple[tuple[str, str], ...] = field(converter=_frozen_items)
    path: str = field(default="/etc/sysctl.d/90-k8sha.conf", kw_only=True)

    @property
    def key(self) -> str:
        return f"sysctl {self.path}"

    @property
    def _text(self) -> str:
        return "".join(f"{name} = {value}\n" for name, value in self.values)

    def probe(self) -> str:
        path = shlex.quote(self.path)
        values = " ".join(shlex.quote(_VALUES + _place(name)) for name, _ in self.values)
        # Not by the shell's own read: of a number the kernel gives all at once or nothing, and dash asks byte by byte.
        return f"""\
set --
for file in {values}; do if [ -r "$file" ]; then set -- "$@" "$file"; fi; done
if [ $# -gt 0 ]; then grep -asH '' -- "$@" || [ $? -le 2 ]; fi
if [ -f {path} ]; then echo file; cat {path}; fi"""

    def diff(self, seen: bytes) -> Diff:
        lines, file = _split(seen)
        found = dict(line.removeprefix(_VALUES).split(":", 1) for line in reversed(lines) if ":" in line)
        differs = Diff()
        for name, value in self.values:
            now = " ".join(found[_place(name)].split()) if _place(name) in found else "(not there)"
            differs += Diff.between(name, now, " ".join(value.split()))
        return differs + Diff(tuple(f"{self.path}: {line}" for line in line_diff(file, self._text, context=0)))

    def apply(self) -> str:
        return f"{_write(self.path, self._text)}\nsysctl -q -p {shlex.quote(self.path)}"


@frozen
class NoSwap(Resource):
    """Swap is off and stays off: in use, in fstab (tabs too), as systemd units, whoever made them (the type of a
    partition may do), and on zram, by a generator or a service.

    ``fstab`` lines are commented out, not deleted; the old file is kept beside it, and so is whatever has to make room.
    """

    fstab: str = field(default="/etc/fstab", kw_only=True)

    @property
    def key(self) -> str:
        return "swap"

    def probe(self) -> str:
        fstab = shlex.quote(self.fstab)
        return f"""\
while read -r name type rest; do if [ "$name" != Filename ]; then echo "in use: $name"; fi; done </proc/swaps
if [ -r {fstab} ]; then
  while read -r what where type rest || [ -n "$what" ]; do
    case $what in '#'*|'') ;; *) if [ "$type" = swap ]; then printf 'in %s: %s\\n' {fstab} "$what"; fi;; esac
  done <{fstab}
fi
for unit in {_SWAP_UNITS}; do
  if [ -f "$unit" ] && [ "$(readlink -f "/etc/systemd/system/${{unit##*/}}")" != /dev/null ]; then
    printf 'unit: %s\\n' "${{unit##*/}}"
  fi
done
if [ -e {_ZRAM} ]; then
  if [ "$(readlink -f {_ZRAM_CONF})" != /dev/null ]; then echo "generator: zram-generator"; fi
fi
for name in {_ZRAM_SERVICES}; do
  for link in /etc/systemd/system/*.wants/"$name.service"; do
    if [ -L "$link" ]; then echo "service: $name"; break; fi
  done
done"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(f"- {line}" for line in seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        fstab, new, kept = (
            shlex.quote(path) for path in (self.fstab, beside(self.fstab), f"{self.fstab}.before-k8sha")
        )
        return f"""\
if [ -r {fstab} ] && awk '$1 !~ /^#/ && $3 == "swap" {{ found = 1 }} END {{ exit !found }}' {fstab}; then
  cp -p {fstab} {new}
  awk '$1 !~ /^#/ && $3 == "swap" {{ print "#k8sha: swap is off# " $0; next }} {{ print }}' {fstab} >{new}
  cp -p {fstab} {kept}
  mv -fT {new} {fstab}
fi
for unit in {_SWAP_UNITS}; do
  name=${{unit##*/}}; own=/etc/systemd/system/$name
  if [ -f "$unit" ] && [ "$(readlink -f "$own")" != /dev/null ]; then
    if [ -f "$own" ]; then mv -f "$own" "$own.before-k8sha"; fi
    systemctl mask --quiet --now "$name"
  fi
done
if [ -e {_ZRAM} ] && [ "$(readlink -f {_ZRAM_CONF})" != /dev/null ]; then
  if [ -e {_ZRAM_CONF} ] || [ -L {_ZRAM_CONF} ]; then mv -fT {_ZRAM_CONF} {_ZRAM_CONF}.before-k8sha; fi
  ln -s /dev/null {_ZRAM_CONF}
fi
for name in {_ZRAM_SERVICES}; do
  for link in /etc/systemd/system/*.wants/"$name.service"; do
    if [ -L "$link" ]; then systemctl disable --quiet --now "$name"; break; fi
  done
done
swapoff -a
systemctl daemon-reload"""


_SWAP_UNITS = " ".join(
    f"{folder}/*.swap"
    for folder in (
        "/etc/systemd/system",
        "/run/systemd/system",
        "/run/systemd/generator.early",
        "/run/systemd/generator",
        "/run/systemd/generator.late",
        "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system",
    )
)
"""Where systemd finds units (systemd.unit(5)); those that follow from a partition table are among the late ones."""

_ZRAM = "/usr/lib/systemd/system-generators/zram-generator"
_ZRAM_CONF = "/etc/systemd/zram-generator.conf"
_ZRAM_SERVICES = "zramswap zram-config zram-swap"
"""Of Debian's zram-tools, Ubuntu's zram-config, and what others call it."""
