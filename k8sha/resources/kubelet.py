"""What surrounds the kubelet: its service, the plugins of its network, and its names."""

from __future__ import annotations

import shlex

from attrs import field, frozen

from k8sha.report import Diff
from k8sha.resources.files import beside
from k8sha.resources.resource import Resource

__all__ = ["CniPlugins", "HostsEntry", "Kubelet"]

_JOINED = "[ -e /etc/kubernetes/kubelet.conf ] && [ -e /var/lib/kubelet/config.yaml ]"


@frozen
class Kubelet(Resource):
    """The kubelet's service: enabled always; on a host that is a node, running, and started since its program and unit
    last changed. kubeadm starts it for the first time.

    No stamp is needed: systemd knows when it was started, and a file's change time can't be set back.
    """

    program: str = "/usr/local/bin/kubelet"

    @property
    def key(self) -> str:
        return "service kubelet"

    @property
    def _changed(self) -> str:
        """Shell that prints the change time of every file that the service consists of, in seconds."""
        files = sorted({self.program, *(path for item in self.watches for path in item.paths if "kubelet" in path)})
        listed = " ".join(shlex.quote(file) for file in files)
        return f'for file in {listed}; do if [ -e "$file" ]; then stat -L -c "changed %Z" "$file"; fi; done'

    def probe(self) -> str:
        return f"""\
systemctl show --timestamp=unix -p LoadState -p ActiveState -p UnitFileState -p NeedDaemonReload \\
  -p ExecMainStartTimestamp kubelet.service
if {_JOINED}; then
  echo joined
  {self._changed}
fi"""

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        found = dict(line.split("=", 1) for line in lines if "=" in line)
        if found.get("LoadState") != "loaded":
            return Diff.of("is not installed -> enabled")
        differs = Diff.between("start at boot", found.get("UnitFileState"), "enabled")
        if found.get("NeedDaemonReload") == "yes":
            differs += Diff.of("its unit was changed and not loaded again")
        if "joined" in lines:
            differs += Diff.between("state", found.get("ActiveState"), "active")
            started = int(found.get("ExecMainStartTimestamp", "").lstrip("@") or 0)
            if any(int(line.split()[1]) > started for line in lines if line.startswith("changed ")):
                differs += Diff.of("runs with older files than are there: restart")
        return differs

    def apply(self) -> str:
        return f"""\
systemctl daemon-reload
systemctl enable --quiet kubelet.service
if {_JOINED}; then
  started=$(systemctl show --timestamp=unix -p ExecMainStartTimestamp kubelet.service)
  started=${{started#*=}}; started=${{started#@}}; stale=
  for changed in $({self._changed}); do
    case $changed in changed) ;; *) if [ "$changed" -gt "${{started:-0}}" ]; then stale=1; fi;; esac
  done
  if [ -n "$stale" ]; then systemctl restart kubelet.service; else systemctl start kubelet.service; fi
fi"""


@frozen
class CniPlugins(Resource):
    """The CNI plugins in the folder where the runtime looks for them, as links to where a package puts them.

    The folder is a real one and not a link itself, because network add-ons write their own plugins into it; one that
    they brought under the same name is left alone.
    """

    source: str
    folder: str = field(default="/opt/cni/bin", kw_only=True)
    names: tuple[str, ...] = field(
        default=("bandwidth", "bridge", "firewall", "host-local", "loopback", "portmap", "tuning"), kw_only=True
    )

    @property
    def key(self) -> str:
        return f"CNI plugins {self.folder}"

    @property
    def _each(self) -> str:
        return f"for name in {' '.join(self.names)}; do"

    def probe(self) -> str:
        return f'{self._each} if [ -x {self.folder}/"$name" ]; then echo "$name"; fi; done'

    def diff(self, seen: bytes) -> Diff:
        there = seen.decode(errors="replace").split()
        return Diff(tuple(f"+ {name} -> {self.source}/{name}" for name in self.names if name not in there))

    def apply(self) -> str:
        return f"""\
(umask 022; mkdir -p {self.folder})
{self._each}
  if [ -x {self.folder}/"$name" ]; then continue; fi
  if [ ! -x {self.source}/"$name" ]; then echo "there is no {self.source}/$name" >&2; exit 1; fi
  ln -sfn {self.source}/"$name" {self.folder}/"$name"
done"""


@frozen
class HostsEntry(Resource):
    """A name and its address in /etc/hosts, in a block of our own at its top, so that it is found first. The rest of
    the file is left as it is.
    """

    name: str
    address: str
    path: str = field(default="/etc/hosts", kw_only=True)

    @property
    def key(self) -> str:
        return f"{self.path}: {self.name}"

    @property
    def _marks(self) -> tuple[str, str]:
        return f"# k8sha: {self.name}", f"# k8sha: end of {self.name}"

    @property
    def _line(self) -> str:
        return f"{self.address} {self.name}"

    def _pick(self, ours: str, rest: str) -> str:
        """awk that does one thing with the lines of our block, and another with all others."""
        begin, end = self._marks
        text = f'$0 == "{begin}" {{ ours = 1; next }} $0 == "{end}" {{ ours = 0; next }} ours {{ {ours} }} {rest}'
        return f"awk {shlex.quote(text)} {shlex.quote(self.path)}"

    def probe(self) -> str:
        return f"if [ -f {shlex.quote(self.path)} ]; then {self._pick('print', '')}; fi"

    def diff(self, seen: bytes) -> Diff:
        lines = seen.decode(errors="replace").splitlines()
        return Diff() if lines == [self._line] else Diff.of(*(f"- {line}" for line in lines), f"+ {self._line}")

    def apply(self) -> str:
        path, new = shlex.quote(self.path), shlex.quote(beside(self.path))
        lines = " ".join(shlex.quote(line) for line in (self._marks[0], self._line, self._marks[1]))
        return f"""\
new={new} owner=0:0 mode=0644
if [ -f {path} ]; then owner=$(stat -L -c %u:%g {path}); mode=$(stat -L -c %a {path}); fi
rm -f "$new"
trap 'rm -f "$new"' EXIT
umask 077
set -C
: >"$new"
set +C
printf '%s\\n' {lines} >>"$new"
if [ -f {path} ]; then {self._pick("next", "{ print }")} >>"$new"; fi
chown "$owner" "$new"
chmod "$mode" "$new"
sync -d "$new"
mv -fT "$new" {path}"""
