"""What follows etcd in a restore of a control plane: in which order, and which nodes are told to have taken no part."""

from __future__ import annotations

from k8sha import Endpoint, Host
from k8sha.components.agents import AgentsReplaced, AgentsRun, AgentsSeen
from k8sha.components.restore import EndpointServes, external_members, stacked_members
from k8sha.etcd.members import Whole
from k8sha.report import Outcome
from k8sha.stage import Stage

MASTERS = (Host("master-1", "192.168.56.10"), Host("master-2", "192.168.56.11"))
MEMBERS = (Host("etcd-1", "192.168.56.30"),)
WORKER = Host("worker-1", "192.168.56.20")
ENDPOINT = Endpoint("192.168.56.100")
NODES = b"node|master-1|True\nnode|master-2|True\nnode|master-3|Unknown\nnode|worker-1|True\nnode|worker-7|True\n"


def followed(*, stacked: bool) -> tuple[list[Stage], list[str]]:
    """The stages, each of which finds these nodes, and the nodes that are told."""
    told: list[str] = []
    hosts = MASTERS if stacked else MEMBERS
    whole = Whole(
        id="0a1b2c3d",
        hosts=hosts,
        alive=(*hosts, WORKER) if stacked else (*hosts, *MASTERS, WORKER),
        revision=1_000_000_050,
        answered=lambda: None,
        absent=told.extend,
        marker="{}",
        since=7,
    )
    members = (
        stacked_members(MASTERS, [WORKER], ENDPOINT)
        if stacked
        else external_members(hosts, MASTERS, [WORKER], ENDPOINT)
    )
    assert members.after is not None
    assert members.servers_in(whole.alive) == MASTERS
    stages, step = [], members.after(whole)
    stage = next(step)
    while True:
        assert isinstance(stage, Stage)
        stages.append(stage)
        seen = tuple((host.name, each.key, NODES) for host, work in stage.work.items() for each in work)
        try:
            stage = step.send(Outcome(seen))
        except StopIteration:
            return stages, told


def test_agents_are_seen_before_old_ones_are_deleted_and_strange_nodes_are_told() -> None:
    for stacked in (True, False):
        stages, told = followed(stacked=stacked)
        assert told == ["master-3", "worker-7"]
        kinds = [type(each) for stage in stages for each in stage.work.get(MASTERS[0], ())]
        assert kinds.index(AgentsSeen) < kinds.index(AgentsReplaced) < kinds.index(AgentsRun)
        seen, replaced = (next(stage for stage in stages if kind in map(type, stage.work.get(MASTERS[0], ())))
                          for kind in (AgentsSeen, AgentsReplaced))  # fmt: skip
        assert stages.index(seen) < stages.index(replaced)
        serves = next(each for stage in stages for each in stage.work[MASTERS[0]] if isinstance(each, EndpointServes))
        assert serves == EndpointServes(ENDPOINT, 1_000_000_050, "{}", 7)
        assert set(stages[-1].work) == {*MASTERS, WORKER}
