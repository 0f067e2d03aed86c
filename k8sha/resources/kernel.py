"""Kernel modules, sysctl values, and swap that stays off."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from attrs import field, frozen

from k8sha.report import Diff, line_diff
from k8sha.resources.resource import Resource

__all__ = ["Modules", "NoSwap", "Sysctl"]


def _frozen_items(values: Mapping[str, str] | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(values.items())) if isinstance(values, Mapping) else values


@frozen
class Modules(Resource):
    """Kernel modules that are loaded now and at every boot. One that is built into the kernel counts as loaded."""

    names: tuple[str, ...]
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
        head, _, file = seen.decode(errors="replace").partition("file\n")
        loaded = {line.removeprefix("loaded ") for line in head.splitlines()}
        differs = Diff(tuple(f"{name} is not loaded" for name in self.names if name not in loaded))
        return differs + Diff(tuple(f"{self.path}: {line}" for line in line_diff(file, self._text, context=0)))

    def apply(self) -> str:
        path = shlex.quote(self.path)
        load = "\n".join(f"if {self._loaded(name)}; then :; else modprobe {name}; fi" for name in self.names)
        return f"mkdir -p /etc/modules-load.d\nprintf '%s' {shlex.quote(self._text)} >{path}.new\nmv -f {path}.new {path}\n{load}"


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
        reads = "\n".join(
            f"if [ -r {file} ]; then printf '%s=%s\\n' {shlex.quote(name)} \"$(cat {file})\"; fi"
            for name, _ in self.values
            for file in [shlex.quote("/proc/sys/" + name.replace(".", "/"))]
        )
        return f"{reads}\nif [ -f {path} ]; then echo file; cat {path}; fi"

    def diff(self, seen: bytes) -> Diff:
        head, _, file = seen.decode(errors="replace").partition("file\n")
        found = dict(line.split("=", 1) for line in head.splitlines() if "=" in line)
        differs = Diff()
        for name, value in self.values:
            now = " ".join(found[name].split()) if name in found else "(not there)"
            differs += Diff.between(name, now, " ".join(value.split()))
        return differs + Diff(tuple(f"{self.path}: {line}" for line in line_diff(file, self._text, context=0)))

    def apply(self) -> str:
        path = shlex.quote(self.path)
        return f"""\
mkdir -p /etc/sysctl.d
printf '%s' {shlex.quote(self._text)} >{path}.new
mv -f {path}.new {path}
sysctl -q -p {path}"""


@frozen
class NoSwap(Resource):
    """Swap is off and stays off: in use, in fstab (tabs too), as systemd units, and from zram generators.

    ``fstab`` lines are commented out, not deleted; the old file is kept beside it.
    """

    fstab: str = field(default="/etc/fstab", kw_only=True)

    @property
    def key(self) -> str:
        return "swap"

    def probe(self) -> str:
        return f"""\
while read -r name type rest; do if [ "$name" != Filename ]; then echo "in use: $name"; fi; done </proc/swaps
if [ -r {self.fstab} ]; then
  while read -r what where type rest || [ -n "$what" ]; do
    case $what in '#'*|'') ;; *) if [ "$type" = swap ]; then echo "in {self.fstab}: $what"; fi;; esac
  done <{self.fstab}
fi
for unit in /etc/systemd/system/*.swap /run/systemd/generator/*.swap /usr/lib/systemd/system/*.swap; do
  if [ -f "$unit" ] && [ "$(readlink -f "/etc/systemd/system/${{unit##*/}}")" != /dev/null ]; then
    echo "unit: ${{unit##*/}}"
  fi
done
if [ -e /usr/lib/systemd/system-generators/zram-generator ]; then
  if [ "$(readlink -f /etc/systemd/zram-generator.conf)" != /dev/null ]; then echo "generator: zram-generator"; fi
fi
if [ -e /etc/default/zramswap ] && [ -e /etc/systemd/system/multi-user.target.wants/zramswap.service ]; then
  echo "service: zramswap"
fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(f"- {line}" for line in seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
if [ -r {self.fstab} ]; then
  new=$(mktemp {self.fstab}.XXXXXX)
  awk '$1 !~ /^#/ && $3 == "swap" {{ print "#k8sha: swap is off# " $0; next }} {{ print }}' {self.fstab} >"$new"
  if cmp -s "$new" {self.fstab}; then rm -f "$new"; else
    cp -p {self.fstab} {self.fstab}.before-k8sha
    chmod 0644 "$new"; mv -f "$new" {self.fstab}
  fi
fi
for unit in /etc/systemd/system/*.swap /run/systemd/generator/*.swap /usr/lib/systemd/system/*.swap; do
  name=${{unit##*/}}
  if [ -f "$unit" ] && [ "$(readlink -f "/etc/systemd/system/$name")" != /dev/null ]; then
    if [ -f "/etc/systemd/system/$name" ]; then mv -f "/etc/systemd/system/$name" "/etc/systemd/system/$name.before-k8sha"; fi
    systemctl mask --quiet --now "$name"
  fi
done
if [ -e /usr/lib/systemd/system-generators/zram-generator ]; then ln -sfn /dev/null /etc/systemd/zram-generator.conf; fi
if [ -e /etc/systemd/system/multi-user.target.wants/zramswap.service ]; then systemctl disable --quiet --now zramswap; fi
swapoff -a
systemctl daemon-reload"""
