"""What goes wrong with the address that the API is reached at."""

from __future__ import annotations

from collections.abc import Iterator

from k8sha.components.diagnosis.findings import Finding, Rule, Symptoms
from k8sha.components.diagnosis.symptoms import HostSymptoms

__all__ = ["BALANCER_RULES"]


def _vip(seen: Symptoms) -> Iterator[Finding]:
    pair = seen.of("balancer")
    if not seen.vip or not pair:
        return
    holders = [host.name for host in pair if host.holds_vip]
    silent = [host for host in pair if not host.active("keepalived")]
    if len(holders) > 1:
        yield Finding(
            46,
            seen.vip,
            f"is on two balancers at once: {' and '.join(holders)}",
            tuple(f"{host.name}: {line}" for host in pair for line in host.last("keepalived")[-2:]),
            "they don't hear each other: let VRRP (IP protocol 112) through between the two",
        )
    elif not holders:
        states = [f"{host.name}: keepalived {_keepalived(host)}" for host in pair]
        proxies = [f"{host.name}: HAProxy {_unit(host, 'haproxy')}" for host in pair if not host.active("haproxy")]
        guilty = silent or [host for host in pair if not host.active("haproxy")]
        what = "keepalived" if silent else "HAProxy"
        cause = f"{what} does not run on {', '.join(host.name for host in guilty)}" if guilty else "keepalived runs"
        yield Finding(
            45,
            seen.vip,
            f"is on no balancer: {cause}",
            (*states, *proxies),
            f"install() starts it, or on either balancer: systemctl enable --now {what.lower()}"
            if guilty
            else "look at its last lines, and whether the balancers were drained",
        )
    for host in silent:
        if holders:
            yield Finding(
                125,
                host.name,
                f"keepalived does not run ({_unit(host, 'keepalived')}): the other balancer has no partner",
                host.last("keepalived")[-2:],
                "install() starts it, or there: systemctl enable --now keepalived",
            )


def _unit(host: HostSymptoms, name: str) -> str:
    unit = host.units.get(name)
    return "is not installed" if unit is None or not unit.there else f"is {unit.active}"


def _keepalived(host: HostSymptoms) -> str:
    if not host.active("keepalived"):
        return _unit(host, "keepalived")
    return "is drained" if host.drained else f"is {host.vrrp or 'in no state'}"


def _proxies(seen: Symptoms) -> Iterator[Finding]:
    for host in seen.of("balancer"):
        if not host.active("haproxy"):
            yield Finding(
                120,
                host.name,
                f"HAProxy does not run ({_unit(host, 'haproxy')})",
                host.last("haproxy")[-3:],
                "install() starts it, or there: haproxy -c -f /etc/haproxy/haproxy.cfg; systemctl enable --now haproxy",
            )
        down = {name: status for name, status in host.backends.items() if not status.startswith("UP")}
        if down:
            yield Finding(
                130,
                host.name,
                f"HAProxy sends nothing to {', '.join(f'{name} ({status})' for name, status in down.items())}",
                (),
                "it follows their /readyz; MAINT was said on purpose, as by a replace() that is to be run again",
            )
    if not seen.of("balancer"):
        closed = [h for h in seen.of("master") if h.endpoint not in ("ok", "unknown", "") and h.api == "ok"]
        if closed:
            yield Finding(
                128,
                seen.endpoint,
                f"does not lead to an API server from {', '.join(host.name for host in closed)}, and theirs are ready",
                tuple(f"{host.name}: {host.endpoint}" for host in closed),
                "look at the load balancer in front of them",
            )


BALANCER_RULES: tuple[Rule, ...] = (_vip, _proxies)
