"""Tickets: what lets a host join, made on a live master at the last moment and worthless a moment later."""

from __future__ import annotations

import secrets
import shlex
import threading
from collections.abc import Callable

from attrs import define, field

from k8sha.components.kubeadm import CRI_SOCKET, TOKEN_TTL, dump, new_token
from k8sha.errors import HostErrors, K8shaError, KubeError
from k8sha.hosts.host import Host
from k8sha.versions import Version, kubeadm_api

__all__ = ["Ticket"]

_NOT_A_MASTER = 71
_MINT = (
    f"""\
if [ ! -s /etc/kubernetes/admin.conf ]; then exit {_NOT_A_MASTER}; fi
"""
    + """\
umask 077
config=$(mktemp "/run/k8sha/trip.$$.ticket.XXXXXX")
trap 'rm -f "$config"' EXIT
cat >"$config" <<'END'
{config}END
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl --request-timeout=10s --server=https://{address}:6443 get --raw /readyz >/dev/null
{forget}kubeadm token create --config "$config" >/dev/null
{upload}openssl x509 -pubkey -noout -in /etc/kubernetes/pki/ca.crt | openssl pkey -pubin -outform der | sha256sum
"""
)

_REVOKE = """\
export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl --request-timeout=20s -n kube-system delete secret --ignore-not-found {names}
"""

_UPLOAD_OWNER = """\
kubectl --request-timeout=20s -n kube-system get secret kubeadm-certs --ignore-not-found \\
  -o 'jsonpath={.metadata.ownerReferences[*].name}'"""


@define(eq=False)
class Ticket:
    """A join token (and, for masters, a certificate key): made on a live master when the first host asks, deleted there
    once the last that asked has given it back. Safe to use from several threads."""

    masters: tuple[Host, ...]
    version: Version
    control_plane: bool
    cluster: dict[str, object]
    forget: Callable[[Host], str] = lambda host: ""
    """Shell for the issuing master that clears what a joining host's dead attempt left behind."""
    _users: int = field(default=0, init=False)
    _token: str = field(default="", init=False, repr=False)
    _key: str = field(default="", init=False, repr=False)
    _hash: str = field(default="", init=False)
    _issuer: Host | None = field(default=None, init=False)
    _guard: threading.Lock = field(factory=threading.Lock, init=False)

    def take(self, host: Host) -> tuple[str, str, str | None]:
        """Token, CA hash, and certificate key. Raises KubeError or a host's error if no master can make them."""
        with self._guard:
            forget = self.forget(host)
            if self._users == 0 or forget:
                self._mint(host, forget)
            self._users += 1
            return self._token, self._hash, self._key if self.control_plane else None

    def give_back(self) -> None:
        """The join was tried; the last one to say so makes the ticket worthless. Raises if that failed."""
        with self._guard:
            self._users -= 1
            if self._users == 0:
                self._revoke()

    def _mint(self, host: Host, forget: str) -> None:
        token, key = new_token(), secrets.token_hex(32)
        upload = ""
        if self.control_plane:
            upload = 'kubeadm init phase upload-certs --upload-certs --config "$config" >/dev/null\n'
        errors: list[K8shaError] = []
        for master in self.masters:
            if master == host:
                continue
            config = self._config(master, token, key)
            script = _MINT.format(config=config, address=master.address, forget=forget, upload=upload)
            try:
                exit, out, err = master.execute(script, timeout=240)
            except K8shaError as error:
                errors.append(error)
                continue
            if exit == 0:
                self._token, self._key, self._hash, self._issuer = token, key, out.decode().split()[0], master
                return
            said = err.decode(errors="replace").replace(token, "(secret)").replace(key, "(secret)").strip()
            if exit != _NOT_A_MASTER:
                errors.append(KubeError("create", f"a join token on {master.name}", 0, said[-1500:]))
        if not errors:
            raise KubeError("create", f"a join token for {host.name}", 0, "no other master is in a cluster yet")
        raise errors[0] if len(errors) == 1 else HostErrors(errors)

    def _config(self, master: Host, token: str, key: str) -> str:
        """What kubeadm on the issuing master reads. With its own address: kubeadm would guess one otherwise, and talk
        to an API server whose certificate does not have it."""
        init: dict[str, object] = {
            "apiVersion": f"kubeadm.k8s.io/{kubeadm_api(self.version)}",
            "kind": "InitConfiguration",
            "bootstrapTokens": [{"token": token, "ttl": TOKEN_TTL, "description": "k8sha: for joins, deleted after"}],
            "localAPIEndpoint": {"advertiseAddress": master.address, "bindPort": 6443},
            "nodeRegistration": {"criSocket": CRI_SOCKET},
        }
        if self.control_plane:
            init["certificateKey"] = key
        return dump(init, *([self.cluster] if self.cluster else []))

    def _revoke(self) -> None:
        issuer, token = self._issuer, self._token
        self._token = self._key = ""
        if issuer is None:
            return
        names = f"bootstrap-token-{shlex.quote(token.partition('.')[0])}"
        if self.control_plane:
            names += f" kubeadm-certs $({_UPLOAD_OWNER})"
        exit, _, err = issuer.execute(_REVOKE.format(names=names), timeout=60)
        if exit != 0:
            raise KubeError(
                "delete",
                f"the join token on {issuer.name} (it expires by itself within {TOKEN_TTL})",
                0,
                err.decode(errors="replace").strip()[-500:],
            )
