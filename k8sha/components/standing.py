"""May these members leave etcd? The arithmetic, and whether a host is fit to come in their place: pure judgements."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from k8sha.errors import Problem
from k8sha.etcd.access import DATA
from k8sha.etcd.quorum import RESTORE, no_removal, quorum
from k8sha.etcd.views import Member
from k8sha.resources.resource import STATE

__all__ = ["WIPE", "alarmed", "newcomer", "refusals"]

_MARKS = ("begun", "keep", "restore", "kube-apiserver.yaml.before", "apiserver-certificate.begun")
"""What tells of work that is half-way, below STATE: on a machine that begins again it would be carried on with."""

WIPE = (
    "make the machine anew, or, if nothing on it is needed, run there: kubeadm reset --force && "
    f"rm -rf /etc/kubernetes {' '.join(f'{STATE}/{name}' for name in _MARKS)} && find {DATA} -mindepth 1 -delete"
)
"""What makes a machine that had a part in a cluster as good as new."""


def alarmed(members: Sequence[Member], alarms: Collection[tuple[str, str]]) -> Iterator[Problem]:
    """What to do about alarms, each with the id of the member that raised it: while one is there, no master comes or
    goes, for etcd takes no keys."""
    names = {each.id: str(each) for each in members}
    for alarm, id in sorted(alarms):
        name = names.get(id, f"member {id}")
        remedy = {
            "NOSPACE": "make room with plane.etcd.disarm(), then run again",
            "CORRUPT": f"rejoin {name} with plane.etcd.rejoin(), then run again; if its host is lost, take it out by "
            "hand: etcdctl member remove, then etcdctl alarm disarm",
        }.get(alarm, "see the documentation of etcd")
        yield Problem("etcd", f"{name} raised the alarm {alarm}", remedy)


def refusals(
    members: Sequence[Member], healthy: Collection[str], leaving: Collection[str], *, others_must_be_healthy: bool
) -> Iterator[Problem]:
    """Why the members at ``leaving`` (addresses) may not be removed one after the other, the dead ones first.

    ``healthy`` are addresses of members that say so themselves. Members that have never started leave as well, and so
    do learners.
    """
    names = {each: str(each) for each in members}
    goes = [each for each in members if each.address in leaving or not each.started]
    left = [each for each in members if not each.learner]
    alive = {names[each] for each in left if each.address in healthy}
    for each in sorted(goes, key=lambda each: each.address in healthy):
        if reason := no_removal(names[each], [names[one] for one in left], alive):
            yield Problem("etcd", reason)
            return
        left = [one for one in left if one != each]
    alive = {names[each] for each in left if each.address in healthy}
    if len(alive) < quorum(len(left)):
        yield Problem(
            "etcd", f"{quorum(len(left))} of {len(left)} voters must be healthy, and {len(alive)} are; {RESTORE}"
        )
    elif others_must_be_healthy:
        for each in left:
            if names[each] not in alive:
                yield Problem(
                    names[each],
                    f"is not healthy either: {len(alive)} of the {len(left)} voters that would remain are, and "
                    f"{quorum(len(left))} must be, so the next loss while a member joins would stop etcd",
                    "mend it first, or take it out with remove()",
                )


def newcomer(
    host: str,
    state: str,
    authority: str,
    files: Sequence[str],
    *,
    cluster: str,
    member: Member | None,
    stacked: bool = True,
) -> tuple[bool, Problem | None]:
    """Whether a host has joined already, and otherwise why it can't.

    ``state`` is kubeadm's (see :class:`~k8sha.components.masters.MasterState`), ``authority`` and ``cluster`` are the
    hashes of its CA and the cluster's, ``member`` what a ``stacked`` etcd lists at its address.
    """
    if authority not in ("none", cluster):
        return False, Problem(host, "has the certificate authority of another cluster", WIPE)
    if state == "join begun":  # of this cluster, for all that is there: what it left is cleared
        return False, None
    if state == "done":
        if not stacked:
            return True, None
        if member is not None and member.started and not member.learner:
            return True, None
        return False, Problem(host, "was a master, and etcd does not know it any more: it still has old data", WIPE)
    if state == "partial":
        return False, Problem(host, "is a node already, or was one", f"remove it from its cluster first; {WIPE}")
    if state != "none":
        return False, Problem(host, f"is half-way into a cluster of its own ({state})", WIPE)
    if files:
        more = f" and {len(files) - 3} more" if len(files) > 3 else ""
        return False, Problem(host, f"still has old data: {', '.join(files[:3])}{more}", WIPE)
    return False, None
