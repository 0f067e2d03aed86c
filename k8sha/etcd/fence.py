"""Stopping what serves the old data for certain, and letting it start again, part by part.

A stacked member is a static pod, and so are the API server and the controllers that live on it. Their manifests are
moved to a folder that no kubelet watches, and the kubelet is stopped first: waiting for it to notice costs 20 s and
more, and it would bring back what is killed. A member under systemd is a unit that is stopped and not enabled. Both
outlive a reboot.
"""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.etcd.access import DATA
from k8sha.etcd.record import OPEN
from k8sha.report import Diff
from k8sha.resources.resource import Resource

__all__ = [
    "CONTROLLERS",
    "FENCED",
    "IN_PODS",
    "MANIFESTS",
    "RUNNING",
    "Begun",
    "Fenced",
    "StaticPods",
    "UnitFenced",
    "UnitRuns",
    "ended",
]

MANIFESTS = "/etc/kubernetes/manifests"
FENCED = "/etc/kubernetes/k8sha-fenced"
"""Where manifests wait for their return: beside the folder that the kubelet watches, not in it."""

CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
_PARTS = ("kube-apiserver", *CONTROLLERS, "etcd")

# The kernel shows 15 letters of a name. A trial of a snapshot is an etcd as well, and says that it has other data.
RUNNING = f"""\
running() {{
  for process in /proc/[0-9]*; do
    if ! {{ read -r name <"$process/comm" && read -r state <"$process/stat"; }} 2>/dev/null; then continue; fi
    case ${{state##*") "}} in
      [ZX]*) if [ "$(ls "$process/task" 2>/dev/null | wc -l)" -le 1 ]; then continue; fi ;; # it has ended, to be reaped
    esac
    case $name in
      kube-apiserver | kube-controller | kube-scheduler) echo "${{process#/proc/}} $name" ;;
      etcd)
        words=" $(tr '\\000=' '  ' 2>/dev/null <"$process/cmdline" || echo) "
        case $words in
          *" --data-dir {DATA} "*) echo "${{process#/proc/}} etcd" ;;
          *" --data-dir "*) ;;
          *) echo "${{process#/proc/}} etcd" ;; # a unit's settings are in its environment
        esac
        ;;
    esac
  done
}}
"""
"""Shell whose ``running`` prints what there is of a control plane on a host: process ids and the kernel's names."""

IN_PODS = """\
in_pods() {
  for file in $(grep -ls /kubepods /proc/[0-9]*/cgroup); do
    process=${file%/cgroup}
    if ! { read -r name <"$process/comm" && read -r state <"$process/stat"; } 2>/dev/null; then continue; fi
    case ${state##*") "} in [ZX]*) ;; *) echo "${process#/proc/} $name" ;; esac
  done
}
"""
"""Shell whose ``in_pods`` prints the same of all that runs in a pod, by kubelet's cgroups: crictl is not everywhere."""


def ended(listed: str = "running") -> str:
    """Shell that kills what the command ``listed`` prints, and waits until it prints nothing; needs :data:`RUNNING`."""
    return f"""\
tries=0
while :; do
  left=$({listed})
  if [ -z "$left" ]; then break; fi
  if [ $tries -ge 300 ]; then echo "does not end: $left" >&2; exit 1; fi
  tries=$((tries + 1))
  echo "$left" | while read -r process name; do
    if ! kill -KILL "$process" 2>/dev/null; then continue; fi
  done
  sleep 0.2
done"""


def _begun(mark: str) -> str:
    return f"mkdir -p -m 0700 {OPEN}\n: >{OPEN}/{mark}\nsync {OPEN}"


@frozen
class Fenced(Resource):
    """No API server, controller manager, scheduler or etcd runs on a master, and no kubelet that would start one.

    Once the file ``until`` of the open restore is there, the host is past that: they may be running again.
    """

    until: str = field(default="exchanged", kw_only=True)
    mark: str = field(default="fencing", kw_only=True)

    @property
    def key(self) -> str:
        return "fenced"

    def probe(self) -> str:
        return f"""\
{RUNNING}
if [ -e {OPEN}/{self.until} ]; then exit 0; fi
if [ ! -e {OPEN}/{self.mark} ]; then echo 'not begun'; fi
if systemctl is-active --quiet kubelet; then echo 'the kubelet runs'; fi
for name in {" ".join(_PARTS)}; do
  if [ -e "{MANIFESTS}/$name.yaml" ]; then echo "{MANIFESTS}/$name.yaml is in place"; fi
done
running"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
{RUNNING}
{_begun(self.mark)}
if [ -n "$(systemctl list-unit-files --no-legend kubelet.service)" ]; then systemctl stop kubelet; fi
mkdir -p -m 0700 {FENCED}
for name in {" ".join(_PARTS)}; do
  if [ -e "{MANIFESTS}/$name.yaml" ]; then mv -f "{MANIFESTS}/$name.yaml" {FENCED}/; fi
done
sync {FENCED} {MANIFESTS}
{ended()}"""


@frozen
class Begun(Resource):
    """A host without a member has the record of what is open, and with ``mark`` that it is past its fence.

    Its own state is all that a run after a kill goes by, as it is on members' hosts.
    """

    record: str
    mark: str

    @property
    def key(self) -> str:
        return f"{self.mark} is marked"

    def probe(self) -> str:
        return f"if [ -e {OPEN}/{self.mark} ]; then cat {OPEN}/record.json; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff() if seen.decode(errors="replace").strip() == self.record else Diff.of(f"+ {OPEN}/{self.mark}")

    def apply(self) -> str:
        return f"""\
umask 077
mkdir -p {OPEN}
printf '%s\\n' {shlex.quote(self.record)} >{OPEN}/record.new
mv -f {OPEN}/record.new {OPEN}/record.json
: >{OPEN}/{self.mark}
sync {OPEN}"""


@frozen
class StaticPods(Resource):
    """These static pods of a master are where its kubelet runs them, and the kubelet is at work."""

    names: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"manifests of {', '.join(self.names)}"

    def probe(self) -> str:
        return f"""\
for name in {" ".join(self.names)}; do
  if [ ! -e "{MANIFESTS}/$name.yaml" ]; then echo "{FENCED}/$name.yaml -> {MANIFESTS}"; fi
done
if ! systemctl is-active --quiet kubelet; then echo 'the kubelet does not run'; fi"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
for name in {" ".join(self.names)}; do
  if [ -e "{FENCED}/$name.yaml" ]; then mv -f "{FENCED}/$name.yaml" {MANIFESTS}/; fi
  if [ ! -e "{MANIFESTS}/$name.yaml" ]; then
    echo "$name.yaml is neither fenced nor in place: put it back (docs/diagnose.md), then run again" >&2; exit 1
  fi
done
sync {MANIFESTS}
systemctl start kubelet
rmdir --ignore-fail-on-non-empty {FENCED} 2>/dev/null || [ ! -e {FENCED} ]"""


@frozen
class UnitFenced(Resource):
    """A member under systemd that is stopped and does not start at boot. See :class:`Fenced` for ``until``."""

    unit: str = field(default="etcd.service", kw_only=True)
    until: str = field(default="exchanged", kw_only=True)
    mark: str = field(default="fencing", kw_only=True)

    @property
    def key(self) -> str:
        return "fenced"

    def probe(self) -> str:
        unit = shlex.quote(self.unit)
        return f"""\
{RUNNING}
if [ -e {OPEN}/{self.until} ]; then exit 0; fi
if [ ! -e {OPEN}/{self.mark} ]; then echo 'not begun'; fi
if systemctl is-active --quiet {unit}; then echo '{self.unit} runs'; fi
if systemctl is-enabled --quiet {unit} 2>/dev/null; then echo '{self.unit} starts at boot'; fi
running"""

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        return f"""\
{RUNNING}
{_begun(self.mark)}
systemctl disable --now --quiet {shlex.quote(self.unit)}
{ended()}"""


@frozen
class UnitRuns(Resource):
    """A member under systemd that runs and starts at boot."""

    unit: str = field(default="etcd.service", kw_only=True)

    @property
    def key(self) -> str:
        return f"{self.unit} runs"

    def probe(self) -> str:
        unit = shlex.quote(self.unit)
        return f"""\
systemctl show -p ActiveState --value {unit}
if ! systemctl is-enabled --quiet {unit}; then echo disabled; fi"""

    def diff(self, seen: bytes) -> Diff:
        words = seen.decode(errors="replace").split()
        differs = Diff.of(f"{self.unit} does not start at boot") if "disabled" in words else Diff()
        # "activating" is one that waits for its peers; it tells systemd that it is up once there is a leader
        return differs + (Diff() if {"active", "activating"} & set(words) else Diff.of(f"{self.unit} does not run"))

    def apply(self) -> str:
        unit = shlex.quote(self.unit)
        # It is up only once there is a leader, which other hosts are needed for: that is waited for elsewhere.
        begun = 'until [ "$(systemctl show -p ActiveState --value "$1")" != inactive ]; do sleep 0.1; done'
        return f"""\
systemctl enable --quiet {unit}
systemctl start --no-block {unit}
timeout 20 sh -c {shlex.quote(begun)} sh {unit}"""
