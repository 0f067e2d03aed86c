"""What a ResourceQuota counts, counted before there is one: by its own names, as the API server does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation

from k8sha.errors import ConfigError, KubeError
from k8sha.kube import Api, Json

__all__ = ["amount", "used"]

_UNITS = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("0.001"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)},
}
_QUANTITY = re.compile(r"([0-9.]+(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")
_OF_PODS = ("cpu", "memory", "ephemeral-storage", "hugepages-")
_COUNTED = ("configmaps", "replicationcontrollers", "resourcequotas", "secrets")
_OF_CLASS = ".storageclass.storage.k8s.io/"


def amount(text: str) -> Decimal:
    """A quantity such as ``500m`` or ``2Gi`` as a number. Raises ConfigError for what is none."""
    found = _QUANTITY.fullmatch(str(text))
    try:
        if found is None:
            raise InvalidOperation
        return Decimal(found[1]) * _UNITS[found[2]]
    except (InvalidOperation, KeyError):
        raise ConfigError.of(f"quantity {text!r}", "is none", "write it as 500m, 4, 512Mi or 2Gi") from None


def used(api: Api, namespace: str, names: Iterable[str]) -> dict[str, Decimal]:
    """How much of each of these names of a quota a namespace uses now; a name that nobody here can count is left out.

    Only what they need is asked of the API server. Raises KubeError.
    """
    lists: dict[str, list[Json]] = {}

    def listed(resource: str) -> list[Json]:
        if resource not in lists:
            folder, name = _folder(api, resource), resource.partition(".")[0]
            lists[resource] = api.get(f"{folder}/namespaces/{namespace}/{name}")["items"]
        return lists[resource]

    found: dict[str, Decimal] = {}
    for name in names:
        try:
            if (counted := _counted(name, listed)) is not None:
                found[name] = counted
        except KubeError as error:
            if error.status != 404:  # there is no such resource in this cluster, or not yet
                raise
    return found


def _counted(name: str, listed: Callable[[str], list[Json]]) -> Decimal | None:
    if name.startswith("count/") or name in _COUNTED:
        return Decimal(len(listed(name.removeprefix("count/"))))
    if name in ("persistentvolumeclaims", "requests.storage") or _OF_CLASS in name:
        return _claims(listed("persistentvolumeclaims"), name)
    if name == "services" or name.startswith("services."):
        return _services(listed("services"), name)
    if name == "pods" or name.startswith((*_OF_PODS, "requests.", "limits.")):
        return _pods(listed("pods"), name)
    return None


def _folder(api: Api, resource: str) -> str:
    """Where the objects of a resource are, named as in ``deployments.apps``."""
    group = resource.partition(".")[2]
    return f"/apis/{api.get(f'/apis/{group}')['preferredVersion']['groupVersion']}" if group else "/api/v1"


def _claims(claims: list[Json], name: str) -> Decimal:
    of, _, what = name.rpartition(_OF_CLASS)
    own = [claim["spec"] for claim in claims if not of or claim["spec"].get("storageClassName") == of]
    if what == "persistentvolumeclaims":
        return Decimal(len(own))
    return _sum(amount(spec.get("resources", {}).get("requests", {}).get("storage", "0")) for spec in own)


def _services(services: list[Json], name: str) -> Decimal:
    if name == "services.nodeports":
        return Decimal(sum("nodePort" in port for each in services for port in each["spec"].get("ports", ())))
    if name == "services.loadbalancers":
        return Decimal(sum(each["spec"].get("type") == "LoadBalancer" for each in services))
    return Decimal(len(services))


def _pods(pods: list[Json], name: str) -> Decimal:
    """Of those that are neither done nor about to go."""
    present = [
        pod["spec"]
        for pod in pods
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and "deletionTimestamp" not in pod.get("metadata", {})
    ]
    if name == "pods":
        return Decimal(len(present))
    part, _, resource = name.partition(".") if name.startswith(("requests.", "limits.")) else ("requests", "", name)
    return _sum(_pod(spec, part, resource) for spec in present)


def _pod(spec: Json, part: str, resource: str) -> Decimal:
    """What a pod asks for at most at any time: those that initialize it go one after the other, before the others, but
    for the ones that stay beside them."""

    def of(owner: Mapping[str, Json]) -> Decimal:
        return amount((owner.get("resources", {}).get(part) or {}).get(resource, "0"))

    beside, peak = Decimal(0), Decimal(0)
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy") == "Always":
            beside += of(container)
            peak = max(peak, beside)
        else:
            peak = max(peak, beside + of(container))
    most = max(peak, beside + _sum(of(container) for container in spec["containers"]))
    if resource in ((spec.get("resources") or {}).get(part) or {}):
        most = of(spec)  # said for the pod as a whole
    over = amount((spec.get("overhead") or {}).get(resource, "0"))
    return most + over if most or part == "requests" else most


def _sum(values: Iterable[Decimal]) -> Decimal:
    return sum(values, Decimal(0))
