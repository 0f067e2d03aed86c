"""The arithmetic of quorum: how many voters may be taken away, and in words why not.

n voters need ``n // 2 + 1`` of them. Removing a member must be agreed upon by a quorum before it, and leave a quorum
behind; stopping one for a while must leave a quorum of all. Planned work asks for more: every member healthy, no
learner, no alarm, because whatever else goes wrong meanwhile finds the cluster with one member less.
"""

from __future__ import annotations

from collections.abc import Collection

__all__ = ["RESTORE", "no_planned_work", "no_removal", "no_stop", "quorum", "tolerates"]

RESTORE = "quorum can't be kept this way: bring members back, or restore from a snapshot"


def quorum(voters: int) -> int:
    """How many of so many voters must agree."""
    return voters // 2 + 1


def tolerates(voters: int) -> int:
    """How many of so many voters may be lost."""
    return max(voters - quorum(voters), 0)


def _names(names: Collection[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def no_removal(leaving: str, voters: Collection[str], healthy: Collection[str]) -> str:
    """Why a voter may not be removed for good, with the arithmetic; empty where it may.

    Names throughout: ``voters`` are all before the removal, ``healthy`` those of them that answer.
    """
    voters, alive = set(voters), set(healthy) & set(voters)
    rest = voters - {leaving}
    if leaving not in voters:
        return ""
    if not rest:
        return f"{leaving} is the only voter that etcd has"
    if len(alive) < quorum(len(voters)):
        return (
            f"{leaving} can't be removed: {quorum(len(voters))} of {len(voters)} voters must agree to it, and "
            f"{len(alive)} can ({_names(alive)}); {RESTORE}"
        )
    left = alive - {leaving}
    if len(left) < quorum(len(rest)):
        return (
            f"{leaving} can't be removed: of the {len(rest)} voters that would remain {quorum(len(rest))} must be "
            f"healthy, and {len(left)} would be ({_names(left)}); bring another member back first"
        )
    return ""


def no_stop(stopping: str, voters: Collection[str], healthy: Collection[str]) -> str:
    """Why a voter may not be stopped for a while, with the arithmetic; empty where it may. The only member of a
    cluster may: stopping it is what its operator asks for."""
    left = (set(healthy) & set(voters)) - {stopping}
    if stopping not in voters or len(set(voters)) == 1 or len(left) >= quorum(len(set(voters))):
        return ""
    return (
        f"{stopping} can't be stopped: {quorum(len(set(voters)))} of {len(set(voters))} voters must stay healthy, and "
        f"{len(left)} would ({_names(left)})"
    )


def no_planned_work(
    voters: Collection[str], healthy: Collection[str], *, learners: Collection[str] = (), alarms: Collection[str] = ()
) -> list[str]:
    """Everything that forbids planned work on a cluster, each as a sentence; empty where nothing does."""
    wrong = []
    dead = set(voters) - set(healthy)
    if dead:
        wrong.append(
            f"{len(set(voters)) - len(dead)} of {len(set(voters))} voters are healthy, all must be for planned work: "
            f"{_names(dead)} is not"
        )
    if learners:
        wrong.append(f"{_names(learners)} is a learner still")
    if alarms:
        wrong.append(f"the alarm {_names(set(alarms))} is raised")
    return wrong
