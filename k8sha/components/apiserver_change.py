"""The change of an API server's arguments on a running master: one at a time, and back where it does not get ready."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from attrs import field, frozen

from k8sha.components.apiserver_given import READ, by_hand
from k8sha.components.apiserver_host import (
    MANIFEST,
    init_configuration,
    manifest_lines,
    spec_of,
)
from k8sha.components.kubeadm import dump
from k8sha.components.masters import ADMIN_CONF
from k8sha.report import Diff
from k8sha.resources.files import beside
from k8sha.resources.resource import STATE, Resource
from k8sha.versions import Version

__all__ = ["ApiServerManifest", "UnfinishedChange"]

_BEFORE = f"{STATE}/kube-apiserver.yaml.before"
"""The manifest before a change: it is there until the API server is ready with the new one."""

_PATIENCE = 240
"""Seconds for an API server to end (30 at most) and to start: as long as kubeadm gives it, 4 minutes."""

_ASK = """\
said=
ready() {{
  said=$(kubectl --kubeconfig={admin} --server="https://$1:6443" --request-timeout=5s get --raw /readyz 2>&1)
}}
"""

_PUT_BACK = f"""\
put_back() {{
  cp -p {_BEFORE} {beside(MANIFEST)}
  mv -fT {beside(MANIFEST)} {MANIFEST}
  rm -f {_BEFORE}
}}
"""

_CHANGE = """\
{ask}{put_back}\
processes() {{
  for process in /proc/[0-9]*; do
    name=
    read -r name 2>/dev/null <"$process/comm" || continue
    if [ "$name" = kube-apiserver ]; then printf '%s ' "${{process#/proc/}}"; fi
  done
}}
settled() {{
  now=$(processes)
  [ -n "$now" ] && [ "$now" != "$1" ] && ready {address}
}}
within() {{
  end=$(($(date +%s) + $1))
  while ! settled "$2"; do
    if [ "$(date +%s)" -ge "$end" ]; then return 1; fi
    sleep 1
  done
}}
for address in {others}; do
  if ! ready "$address"; then
    echo "nothing is changed here: the API server on $address is not ready: $said" >&2; exit 1
  fi
done
umask 077
config=$(mktemp "/run/k8sha/trip.$$.apiserver.XXXXXX")
trap 'rm -f "$config"; if [ -f {before} ]; then put_back; fi' EXIT
trap 'exit 1' TERM HUP INT
cat >"$config" <<'END'
{config}END
if [ -f {manifest} ]; then
  mkdir -p {state}
  cp -p {manifest} {before}.new
  sync {before}.new
  mv -fT {before}.new {before}
fi
processes=$(processes)
kubeadm init phase control-plane apiserver --config "$config" >/dev/null
if within {patience} "$processes"; then rm -f {before}; exit 0; fi
echo "the API server is not ready with its new arguments: $said" >&2
log=$(find /var/log/pods -path '*kube-apiserver*' -name '*.log' -printf '%T@ %p\\n' | sort -n | tail -n 1)
if [ -n "$log" ]; then tail -n 3 "${{log#* }}" | cut -c 1-600 >&2; fi
if [ -f {before} ]; then
  processes=$(processes)
  put_back
  if within 120 "$processes"; then echo 'it runs with its old ones again' >&2
  else echo "its old ones are back, and it is not ready: $said" >&2; fi
fi
exit 1"""


@frozen
class ApiServerManifest(Resource):
    """The API server's static pod on a master is what kubeadm makes of this configuration.

    It is made anew only while every API server of ``others`` (addresses) is ready: never are two of them down at once.
    One that does not get ready with its new arguments gets its old manifest back, and that is an error.
    """

    config: Mapping[str, object] = field(hash=False)
    version: Version
    address: str
    others: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"file {MANIFEST}"

    def _server(self) -> Mapping[str, object]:
        server = self.config["apiServer"]
        return server if isinstance(server, Mapping) else {}

    def probe(self) -> str:
        return READ

    def diff(self, seen: bytes) -> Diff:
        spec = spec_of(seen)
        if spec is None:
            return Diff.of("is absent" if not seen.strip() else "is no static pod")
        lines = manifest_lines(spec, self._server())
        if lines:  # install() refuses it before the first change
            lines += [f"- {each} (written there by hand)" for each in by_hand(seen, spec, self._server())]
        return Diff(tuple(lines))

    @property
    def timeout(self) -> int:
        return _PATIENCE + 180

    def apply(self) -> str:
        return _CHANGE.format(
            ask=_ASK.format(admin=ADMIN_CONF),
            put_back=_PUT_BACK,
            address=shlex.quote(self.address),
            others=" ".join(shlex.quote(address) for address in self.others),
            config=dump(init_configuration(self.version, self.address), self.config),
            manifest=MANIFEST,
            before=_BEFORE,
            state=STATE,
            patience=_PATIENCE,
        )


@frozen
class UnfinishedChange(Resource):
    """No change of this master's API server was cut off by the end of the machine: one that was is taken back, unless
    the API server is ready with it."""

    address: str

    @property
    def key(self) -> str:
        return "change of the API server"

    def probe(self) -> str:
        return f"if [ -f {_BEFORE} ]; then echo 'one was cut off'; fi"

    def diff(self, seen: bytes) -> Diff:
        return Diff(tuple(seen.decode(errors="replace").splitlines()))

    def apply(self) -> str:
        ask = _ASK.format(admin=ADMIN_CONF)
        return f"""\
{ask}{_PUT_BACK}\
if ready {shlex.quote(self.address)}; then rm -f {_BEFORE}
elif [ -f {_BEFORE} ]; then put_back; fi"""
