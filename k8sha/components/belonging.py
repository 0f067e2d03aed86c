"""Whose node is a host? One that is of another cluster is never taken for one of ours, nor reset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from k8sha.errors import Problem
from k8sha.hosts.host import Host

__all__ = ["strangers"]

_REMEDY = "take it out of the list, or, if its cluster is not needed, run there: kubeadm reset --force"


def strangers(masters: Sequence[Host], workers: Sequence[Host] = ()) -> Iterator[Problem]:
    """Hosts that are nodes of another cluster than the masters', by their certificate authority. The hosts are
    connected. Of ``workers`` it is told only where they were given: the masters' own quarrels are the control plane's.
    """
    own = {host: host.facts.authority for host in masters if host.facts.authority}
    clusters = sorted(set(own.values()))
    if not workers:
        if len(clusters) > 1:
            said = ", ".join(f"{host.name} (authority {authority[:12]})" for host, authority in own.items())
            yield Problem("ControlPlane", f"its masters are nodes of {len(clusters)} clusters: {said}", _REMEDY)
        return
    for host in workers:
        if not host.facts.authority or host.facts.authority in clusters:
            continue
        theirs = f"that of the masters has {clusters[0][:12]}" if clusters else "none of the masters is in one"
        cause = f"is a node of another cluster: its certificate authority is {host.facts.authority[:12]}, and {theirs}"
        yield Problem(host.name, cause, _REMEDY)
