"""``kubeadm join`` as a command that can be run again: what it leaves half-done is cleared first."""

from __future__ import annotations

from collections.abc import Mapping

from k8sha.components.kubeadm import join_config
from k8sha.components.masters import DONE
from k8sha.components.node import NodeSettings
from k8sha.components.tickets import Ticket
from k8sha.endpoint import Endpoint
from k8sha.etcd.access import DATA
from k8sha.hosts.host import Host
from k8sha.resources.command import Command
from k8sha.versions import Version

__all__ = ["join_command", "reset"]

# What a run left half-done is younger than the mark of its beginning. Anything older is not its own.
_RESET = """\
if [ ! -e /etc/etcd/etcd.env ] && [ -e {data}/member ] && [ {data}/member -ot {mark} ]; then
  echo "{data}/member is older than the {name} that was begun: it is not what that left behind, and is not removed." \\
    "If nothing in it is needed, move it away; otherwise undo(), restore() or replace()" >&2
  exit 1
fi
mkdir -p /var/lib/k8sha/keep
for file in {keep}; do
  mkdir -p "$(dirname "/var/lib/k8sha/keep/$file")"
  if [ -s "/etc/kubernetes/pki/$file" ]; then cp -p "/etc/kubernetes/pki/$file" "/var/lib/k8sha/keep/$file"; fi
done
kubeadm reset --force --cri-socket unix:///run/containerd/containerd.sock {skip}</dev/null
rm -rf /etc/cni/net.d/*kubeadm*
mkdir -p /etc/kubernetes/pki
if [ ! -e /etc/etcd/etcd.env ]; then rm -rf /var/lib/etcd/member; fi # a member under systemd is nobody's leftover
for file in {keep}; do
  mkdir -p "$(dirname "/etc/kubernetes/pki/$file")"
  if [ -s "/var/lib/k8sha/keep/$file" ]; then mv -f "/var/lib/k8sha/keep/$file" "/etc/kubernetes/pki/$file"; fi
done"""

# kubeadm brings the files of the master that made the ticket, over those that are there.
_OWN = """\
own=$(mktemp -d "/run/k8sha/trip.$$.own.XXXXXX")
trap 'rm -rf "$own"' EXIT
for file in {files}; do cp -p "/etc/kubernetes/pki/$file" "$own/${{file##*/}}"; done
(
{join}
)
for file in {files}; do mv -f "$own/${{file##*/}}" "/etc/kubernetes/pki/$file"; done"""

_JOIN = """\
umask 077
trap 'rm -f /run/k8sha/join.yaml' EXIT
printf '%s' "$join_config" >/run/k8sha/join.yaml
kubeadm join --config /run/k8sha/join.yaml </dev/null"""


def reset(name: str, *, keep: tuple[str, ...], skip_phases: str = "") -> str:
    """Shell that clears what the command ``name`` (``kubeadm init``) left half-done, keeping these files of the PKI.
    It refuses where etcd's data were there before that command."""
    skip = f"--skip-phases {skip_phases} " if skip_phases else ""
    return _RESET.format(keep=" ".join(keep), skip=skip, name=name, mark=Command(name, "", "").mark, data=DATA)


def join_command(
    host: Host,
    ticket: Ticket,
    *,
    version: Version,
    endpoint: Endpoint,
    settings: NodeSettings,
    files: str,
    recover: str,
    own: tuple[str, ...] = (),
) -> Command:
    """``kubeadm join`` of one host, with a ticket that is taken just before and given back just after. ``own`` are
    files of the PKI that are this host's, and stay so."""
    taken: list[Ticket] = []

    def values() -> Mapping[str, str]:
        token, ca_hash, certificate_key = ticket.take(host)
        taken.append(ticket)
        config = join_config(
            host,
            settings,
            endpoint,
            version=version,
            token=token,
            ca_hash=ca_hash,
            certificate_key=certificate_key,
        )
        return {"join_config": config, "join_token": token, "join_key": certificate_key or ""}

    def after() -> None:
        while taken:
            taken.pop().give_back()

    return Command(
        "kubeadm join",
        done=DONE.format(files=files),
        run=_OWN.format(files=" ".join(own), join=_JOIN) if own else _JOIN,
        recover=recover,
        limit=900,
        secret_values=values,
        after=after,
    )
