"""What is told of a workload that does not come up."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from attrs import define, field

from k8sha import Endpoint, KubeError
from k8sha.kube import Api, Json
from k8sha.objects.reasons import why

SPACE = "/api/v1/namespaces/n"
DEPLOYMENT: Json = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "shop", "namespace": "n"},
    "spec": {"selector": {"matchLabels": {"app": "shop"}}},
}


@define(eq=False)
class Server(Api):
    """An API server with some pods, what was warned of, and logs."""

    pods: list[Json] = field(factory=list)
    events: list[Json] = field(factory=list)
    log: Json = None
    asked: list[str] = field(factory=list)

    def request(
        self,
        verb: str,
        path: str,
        body: Json = None,
        *,
        query: Mapping[str, str] | None = None,
        kind: str = "json",
        accept: str = "application/json",
    ) -> Json:
        query = query or {}
        self.asked.append(f"{path.removeprefix(SPACE)} {' '.join(f'{key}={value}' for key, value in query.items())}")
        if path.endswith("/log"):
            if self.log is None:
                raise KubeError("get", path, 400, "previous terminated container not found")
            return self.log
        about = (
            query.get("fieldSelector", "").rpartition("name=")[2] if "name=" in query.get("fieldSelector", "") else ""
        )
        named = [event for event in self.events if not about or event["involvedObject"]["name"] == about]
        return {"items": named if path.endswith("/events") else self.pods}


def server(*pods: Json, events: tuple[Json, ...] = (), log: Json = None) -> Server:
    return Server(lambda: "", Endpoint("192.168.56.100"), pods=list(pods), events=list(events), log=log)


def pod(state: Json, *, made: str = "1", last: Json = None, name: str = "shop-1") -> Json:
    container = {"name": "main", "state": state, "lastState": last or {}}
    unready = {"type": "Ready", "status": "False", "message": "containers with unready status: [main]"}
    return {
        "metadata": {"name": name, "namespace": "n", "creationTimestamp": made},
        "spec": {"nodeName": "worker-1"},
        "status": {"phase": "Pending", "conditions": [unready], "containerStatuses": [container]},
    }


def warning(name: str, reason: str, message: str, when: str, kind: str = "Pod") -> Json:
    return {
        "involvedObject": {"kind": kind, "name": name},
        "reason": reason,
        "message": message,
        "lastTimestamp": None,
        "eventTime": when,
        "metadata": {"creationTimestamp": when},
    }


def test_a_pod_that_is_being_created_is_told_with_the_last_warning_about_it() -> None:
    """A Secret that is missing, a volume that can't be mounted, a network that is not there: nowhere else told."""
    missing = 'MountVolume.SetUp failed for volume "authority" : secret "ca" not found'
    found = server(
        pod({"waiting": {"reason": "ContainerCreating"}}),
        events=(
            warning("shop-1", "FailedMount", missing, "3"),
            warning("shop-1", "FailedCreatePodSandBox", "no network yet", "2"),
            warning("other", "BackOff", "of another pod", "9"),
        ),
    )
    assert why(found, DEPLOYMENT) == (
        f"pod shop-1: Ready=False: containers with unready status: [main]; FailedMount: {missing}"
    )
    assert len(found.asked) == 2


def test_a_pod_that_fits_nowhere_says_so_by_itself() -> None:
    waiting = pod({})
    del waiting["spec"]["nodeName"]
    said = "0/3 nodes are available: 3 Insufficient memory."
    waiting["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", "message": said}]}
    found = server(waiting, events=(warning("shop-1", "FailedScheduling", said, "1"),))
    assert why(found, DEPLOYMENT) == f"pod shop-1: PodScheduled=False: {said}"


CRASHED: Json = {"terminated": {"exitCode": 2, "reason": "Error"}}


@pytest.mark.parametrize(
    ("state", "last", "previous"),
    [
        ({"waiting": {"reason": "CrashLoopBackOff"}}, CRASHED, True),
        (CRASHED, {}, False),
        ({"running": {}}, CRASHED, True),
    ],
)
def test_a_crash_is_told_with_the_last_lines_of_its_log(state: Json, last: Json, previous: bool) -> None:
    found = server(pod(state, last=last), log="starting\n\nfatal:  no such table\n")
    said = why(found, DEPLOYMENT)
    assert said.startswith("pod shop-1: container main: ")
    assert said.endswith(", exit 2; the pod's last message: starting | fatal: no such table")
    assert ("previous=true" in found.asked[-1]) is previous
    assert "tailLines=5" in found.asked[-1]


@pytest.mark.parametrize(
    ("log", "end"), [({"level": "fatal"}, '; the pod\'s last message: {"level": "fatal"}'), (None, "")]
)
def test_a_log_that_is_json_or_is_gone_stands_in_no_ones_way(log: Json, end: str) -> None:
    found = server(pod({"waiting": {"reason": "CrashLoopBackOff"}}, last=CRASHED), log=log)
    assert why(found, DEPLOYMENT) == f"pod shop-1: container main: CrashLoopBackOff, exit 2{end}"


def test_pods_that_run_are_not_what_is_told() -> None:
    """Such as one that was started again long ago, while the new one gets no image."""
    old = pod({"running": {}}, last=CRASHED, made="9", name="shop-0")
    old["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    new = pod({"waiting": {"reason": "ImagePullBackOff", "message": "back-off"}})
    assert why(server(old, new), DEPLOYMENT) == "pod shop-1: container main: ImagePullBackOff: back-off"
    quota = warning("shop-6d9c", "FailedCreate", "exceeded quota", "1", "ReplicaSet")
    assert why(server(old, events=(quota,)), DEPLOYMENT) == (
        "no other pod is made: ReplicaSet says FailedCreate: exceeded quota"
    )
    assert why(server(events=(quota,)), DEPLOYMENT) == "it has no pod: ReplicaSet says FailedCreate: exceeded quota"
