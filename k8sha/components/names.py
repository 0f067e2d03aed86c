"""The masters' names in kubeadm's own record of the cluster."""

from __future__ import annotations

from collections.abc import Mapping

import yaml
from attrs import field, frozen

from k8sha.components.kubeadm import CRI_SOCKET, dump
from k8sha.components.masters import ADMIN_CONF
from k8sha.report import Diff
from k8sha.resources.resource import Resource
from k8sha.versions import Version, kubeadm_api

__all__ = ["CertificateNames"]

_UPLOAD = """\
umask 077
config=$(mktemp "/run/k8sha/trip.$$.names.XXXXXX")
trap 'rm -f "$config"' EXIT
cat >"$config" <<'END'
{config}END
kubeadm init phase upload-config kubeadm --kubeconfig {admin} --config "$config" >/dev/null"""


@frozen
class CertificateNames(Resource):
    """kubeadm's own record of the cluster has the names of exactly these masters, for the certificates that it makes
    from now on. Where there is no cluster yet, there is nothing to say."""

    cluster: Mapping[str, object] = field(hash=False)
    version: Version
    address: str

    @property
    def key(self) -> str:
        return "names in kubeadm's configuration"

    def _wanted(self) -> tuple[str, ...]:
        return _names(self.cluster)

    def probe(self) -> str:
        return f"""\
if [ -s {ADMIN_CONF} ]; then
  kubectl --kubeconfig={ADMIN_CONF} --server=https://{self.address}:6443 --request-timeout=10s -n kube-system \\
    get configmap kubeadm-config -o 'jsonpath={{.data.ClusterConfiguration}}' 2>/dev/null || echo '(no answer)'
fi"""

    def diff(self, seen: bytes) -> Diff:
        text = seen.decode(errors="replace").strip()
        if not text:
            return Diff()
        try:
            found = _names(yaml.safe_load(text))
        except (yaml.YAMLError, TypeError):
            return Diff.of("kubeadm's configuration can't be read from the API server")
        wanted = self._wanted()
        lines = [f"- {name}" for name in found if name not in wanted]
        return Diff((*lines, *(f"+ {name}" for name in wanted if name not in found)))

    def apply(self) -> str:
        init: dict[str, object] = {
            "apiVersion": f"kubeadm.k8s.io/{kubeadm_api(self.version)}",
            "kind": "InitConfiguration",
            "localAPIEndpoint": {"advertiseAddress": self.address, "bindPort": 6443},
            "nodeRegistration": {"criSocket": CRI_SOCKET},
        }
        return _UPLOAD.format(config=dump(init, self.cluster), admin=ADMIN_CONF)


def _names(config: object) -> tuple[str, ...]:
    """The certificate names in a ClusterConfiguration. Raises TypeError where it is none."""
    if not isinstance(config, Mapping):
        raise TypeError("not a configuration")
    server = config.get("apiServer")
    names = server.get("certSANs") if isinstance(server, Mapping) else None
    return tuple(map(str, names)) if isinstance(names, list) else ()
