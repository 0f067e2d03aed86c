"""How masters become a control plane: the first by ``kubeadm init``, the others one at a time by ``kubeadm join``."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING

from attrs import frozen

from k8sha.components.apiserver import ApiServers, with_policies
from k8sha.components.apiserver_change import UnfinishedChange
from k8sha.components.apiserver_host import ApiServerArguments
from k8sha.components.etcd import StackedEtcdHealthy, forget_member
from k8sha.components.joins import join_command, reset
from k8sha.components.kubeadm import cluster_config, init_config, new_token
from k8sha.components.masters import (
    ADMIN_CONF,
    DONE,
    Administrator,
    ApiReady,
    MasterStanding,
    first_master,
    master_files,
)
from k8sha.components.names import CertificateNames
from k8sha.components.tickets import Ticket
from k8sha.etcd.clients import CLIENT_FILES, client_certificates, with_etcd
from k8sha.hosts.host import Host
from k8sha.report import Outcome
from k8sha.resources.command import Command
from k8sha.resources.resource import Resource
from k8sha.stage import Stage, Step

if TYPE_CHECKING:
    from k8sha.components.control_plane import ControlPlane

__all__ = ["Formed", "cluster_configuration", "forget", "formation", "gate", "init", "join", "names"]

_INIT = """\
umask 077
trap 'rm -f /run/k8sha/init.yaml' EXIT
printf '%s' "$init_config" >/run/k8sha/init.yaml
kubeadm init --config /run/k8sha/init.yaml --skip-phases=show-join-command </dev/null
kubectl --kubeconfig={admin} --request-timeout=20s -n kube-system delete secret --ignore-not-found \\
  "bootstrap-token-$init_token_id" >/dev/null"""

_INIT_RECOVER = """\
if [ -s {admin} ]; then
  if nodes=$(kubectl --kubeconfig={admin} --server=https://{address}:6443 --request-timeout=5s get nodes -o name); then
    if [ "$(printf '%s\\n' "$nodes" | grep -c .)" -gt 1 ]; then
      echo "an earlier kubeadm init seems unfinished, yet the cluster has other nodes: $nodes" >&2; exit 1
    fi
  fi
fi
{reset}"""


@frozen
class Formed:
    """What is known once all masters are in one: the administrator's kubeconfig, and what policies are rolled out to.
    With ``leftovers``, an API server is told what no policy says any more."""

    kubeconfig: str
    servers: ApiServers
    leftovers: bool


def formation(plane: ControlPlane) -> Generator[Step, Outcome, Formed]:
    """The stages after which every host of ``plane``, a node by now, is a master of one cluster."""
    for policy in plane.policies:
        yield from policy.preparation(plane.hosts)
    if files := tuple(resource for policy in plane.policies for resource in policy.files()):
        yield Stage("files of the API servers", dict.fromkeys(plane.hosts, files))
    state, told = MasterStanding(stacked=plane.etcd.stacked), ApiServerArguments()
    work: dict[Host, tuple[Resource, ...]] = {}
    work |= {host: (UnfinishedChange(host.address), state, told) for host in plane.hosts}
    if not plane.etcd.stacked:
        work = with_etcd(work, plane.etcd.hosts)
    outcome = yield Stage("which masters there are", work)
    config = cluster_configuration(plane)
    leftovers = any(told.unwanted(outcome.of(host.name, told.key), config) for host in plane.hosts)
    running = {host: told.read(outcome.of(host.name, told.key)) for host in plane.hosts}
    found = {host: state.parse(outcome.of(host.name, state.key)) for host in plane.hosts}
    states = {host: which for host, (which, _) in found.items()}
    first = first_master(states, {host: files for host, (_, files) in found.items()})
    servers = ApiServers(
        plane.hosts, first, plane.version, lambda arguments: cluster_configuration(plane, arguments=arguments)
    )
    if not plane.etcd.stacked:
        begun = [host for host, found in states.items() if found not in ("none", "join begun")]
        days = plane.etcd.settings.certificate_days
        yield from client_certificates(plane.hosts, plane.etcd.hosts, outcome, serving=begun, days=days)
    api = ApiReady(first.address, patience=240)
    yield Stage("first control plane", {first: (plane.ca, init(plane, first), api, *gate(plane, [first]))})
    if (plane.policies or leftovers) and states[first] == "done" and set(states.values()) != {"done"}:
        yield from servers.admit(plane.policies, running[first])
    work = {}
    so_far = [first]
    for host in plane.hosts:
        if host == first:
            continue
        so_far.append(host)
        work[host] = (join(plane, host), ApiReady(host.address, patience=240), *gate(plane, so_far))
    if work:
        yield Stage("other control planes", work, batch=1)
    admin = Administrator()
    outcome = yield Stage("administrator's kubeconfig", {first: (admin, names(plane, first))})
    return Formed(outcome.of(first.name, admin.key).decode(), servers, leftovers)


def cluster_configuration(
    plane: ControlPlane, masters: tuple[Host, ...] = (), arguments: Mapping[str, str | None] | None = None
) -> dict[str, object]:
    """kubeadm's ClusterConfiguration, for these masters where they are not the ``plane``'s own; with its policies'
    arguments for the API server, or ``arguments`` in place of those of the same names."""
    config = cluster_config(
        plane.version,
        plane.endpoint,
        masters or plane.hosts,
        plane.cluster,
        image_repository=plane.source.image_repository,
        etcd_tag=plane.source.etcd_tag(plane.version),
        dns_tag=plane.source.coredns_tag(plane.version),
        external_etcd=() if plane.etcd.stacked else plane.etcd.endpoints,
    )
    values = {name: value for policy in plane.policies for name, value in policy.arguments().items()}
    volumes = [volume for policy in plane.policies for volume in policy.volumes()]
    return with_policies(config, plane.version, {**values, **(arguments or {})}, volumes)


def names(plane: ControlPlane, host: Host, masters: tuple[Host, ...] = ()) -> CertificateNames:
    """kubeadm's record of these masters, and the names that the API server on ``host`` must have."""
    return CertificateNames(cluster_configuration(plane, masters), plane.version, host.address)


def join(plane: ControlPlane, host: Host) -> Command:
    """``kubeadm join`` of one more master, and what clears a join that died."""
    own = () if plane.etcd.stacked else CLIENT_FILES
    return join_command(
        host,
        Ticket(plane.hosts, plane.version, True, cluster_configuration(plane), lambda joining: forget(plane, joining)),
        version=plane.version,
        endpoint=plane.endpoint,
        settings=plane.settings,
        files=master_files(stacked=plane.etcd.stacked),
        recover=reset("kubeadm join", keep=own, skip_phases="preflight,remove-etcd-member"),
        own=own,
    )


def forget(plane: ControlPlane, joining: Host) -> str:
    """Shell for a live master that clears the member of a join that died; empty where etcd is elsewhere."""
    return forget_member(joining.address) if plane.etcd.stacked else ""


def init(plane: ControlPlane, host: Host) -> Command:
    """``kubeadm init``, and what clears one that died."""

    def values() -> Mapping[str, str]:
        token, cluster = new_token(), cluster_configuration(plane)
        config = init_config(host, plane.settings, cluster, token=token, version=plane.version)
        return {"init_token": token, "init_token_id": token.partition(".")[0], "init_config": config}

    # Where etcd is elsewhere, so are the objects that a first attempt has made, and they are good with the same keys.
    keys = (*CLIENT_FILES, "sa.key", "sa.pub", "front-proxy-ca.crt", "front-proxy-ca.key")
    kept = ("ca.crt", "ca.key", *(() if plane.etcd.stacked else keys))
    recover = _INIT_RECOVER.format(
        admin=ADMIN_CONF,
        address=host.address,
        reset=reset("kubeadm init", keep=kept, skip_phases="preflight,remove-etcd-member"),
    )
    return Command(
        "kubeadm init",
        done=DONE.format(files=master_files(stacked=plane.etcd.stacked)),
        run=_INIT.format(admin=ADMIN_CONF),
        recover=recover,
        limit=900,
        secret_values=values,
    )


def gate(plane: ControlPlane, masters: Sequence[Host]) -> tuple[Resource, ...]:
    """What must hold of a stacked etcd once these masters are in; one on its own hosts is looked at before."""
    if not plane.etcd.stacked:
        return ()
    return (StackedEtcdHealthy(expected=tuple((host.name, host.address) for host in masters)),)
