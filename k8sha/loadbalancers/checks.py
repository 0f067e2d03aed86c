"""What ``verify`` looks at: who holds the VIP, what answers there, how the backends are, whether the peer listens.

Each look is one trip to each balancer; both may hold what the other one lacks, so both are always asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from attrs import frozen

from k8sha.errors import K8shaError, ProbeError
from k8sha.hosts.host import Host
from k8sha.loadbalancers.conditions import BalancerReady, VIPHolder, held
from k8sha.loadbalancers.keepalived import RUN
from k8sha.loadbalancers.proxy import Proxy
from k8sha.loadbalancers.statistics import BalancerStatistics
from k8sha.waiting import Check, NotYet

__all__ = ["checks", "statistics"]

EXPIRY_DAYS = 30

# keepalived writes its counters into its own /tmp when told to. Two looks, the second as soon as more has come.
_ADVERTS = """\
pid=$(systemctl show -p MainPID --value keepalived)
if [ "$pid" = 0 ]; then echo stopped; exit 0; fi
file=/proc/$pid/root/tmp/keepalived.stats
received() {
  rm -f "$file"
  kill -USR2 "$pid"
  left=40
  until [ -e "$file" ] && grep -q 'Priority Zero' "$file"; do
    left=$((left - 1)); if [ "$left" -le 0 ]; then return 1; fi; sleep 0.05
  done
  while read -r word number rest; do
    if [ "$word" = Received: ]; then echo "$number"; return 0; fi
  done <"$file"
}
first=$(received)
again=20
last=$first
while [ "$last" = "$first" ] && [ "$again" -gt 0 ]; do sleep 0.15; last=$(received); again=$((again - 1)); done
echo "adverts $first $last\""""


@frozen
class _Balancers:
    hosts: tuple[Host, ...]
    vip: str
    port: int
    proxy: Proxy

    def one_holder(self) -> str:
        """One, and no more."""
        holders, lost = [], []
        for host in self.hosts:
            try:
                if VIPHolder.holds(_read(host, "the VIP", held(self.vip))[0]):
                    holders.append(host.name)
            except K8shaError as error:
                lost.append(str(error))
        if len(holders) != 1:
            who = f"{' and '.join(holders)} hold" if holders else "no balancer holds"
            raise NotYet("; ".join([f"{who} {self.vip}", *lost]))
        if lost:
            raise NotYet("; ".join(lost))
        return f"{holders[0]} does"

    def vip_answers(self) -> str:
        """TLS with a certificate of the cluster's CA, from both sides."""
        connect = f"""\
timeout 10 openssl s_client -connect {self.vip}:{self.port} -CAfile {shlex.quote(self.proxy.ca_path)} \\
  -verify_return_error -servername kubernetes -verify_hostname kubernetes </dev/null 2>&1 || echo "exit $?\""""
        wrong = []
        for host in self.hosts:
            said = _read(host, "the VIP's certificate", connect)[0].decode(errors="replace")
            if "Verify return code: 0 (ok)" not in said or "\nexit " in said:
                wrong.append(f"{host.name}: {_reason(said)}")
        if wrong:
            raise NotYet("; ".join(wrong))
        return f"asked from {', '.join(map(str, self.hosts))}"

    def authority_lasts(self) -> str:
        """Beyond it the proxies trust no API server any more."""
        path = shlex.quote(self.proxy.ca_path)
        look = f"""\
if openssl x509 -noout -checkend {EXPIRY_DAYS * 86400} -in {path} >/dev/null; then echo lasts
elif end=$(openssl x509 -noout -enddate -in {path}); then echo "ends on ${{end#notAfter=}}"
else exit 1; fi"""
        said = {host: _read(host, "its copy of the authority", look)[0].decode().strip() for host in self.hosts}
        if wrong := [f"{host.name}: {text}" for host, text in said.items() if text != "lasts"]:
            raise NotYet("; ".join(wrong))
        return f"on {len(self.hosts)} balancers"

    def backends_up(self) -> str:
        """As each balancer's proxy sees them."""
        wrong = []
        for host in self.hosts:
            servers = statistics(host, self.vip, self.proxy).servers
            wrong += [
                f"{host.name}: {server.server} is {server.status} ({server.last_check})"
                for server in servers
                if not server.up
            ]
            if not servers:
                wrong.append(f"{host.name}: {self.proxy.name} knows no backend")
        if wrong:
            raise NotYet("; ".join(wrong))
        return "all of them, on every balancer"

    def peer_listens(self) -> str:
        """The one without the VIP is ready to take it, and hears the other one."""
        ready = BalancerReady(self.vip, self.port, self.proxy.name, drained=False)
        # The holder hears nobody, and one in FAULT doesn't listen.
        backup = f'[ -r {RUN}/vrrp ] && [ "$(cat {RUN}/vrrp)" = BACKUP ]'
        adverts = f"if {backup}; then :; else echo no backup; exit 0; fi\n{_ADVERTS}"
        wrong, heard = [], []
        for host in self.hosts:
            said, state = _read(host, "keepalived", adverts, ready.probe())
            wrong += [f"{host.name}: {line}" for line in ready.diff(state).lines]
            words = said.decode(errors="replace").split()
            if words == ["no", "backup"]:
                continue
            if words[:1] != ["adverts"] or words[1] == words[2]:
                wrong.append(f"{host.name}: keepalived hears no adverts ({' '.join(words)})")
            else:
                heard.append(f"{host.name} has heard {words[2]} adverts")
        if wrong or not heard:
            raise NotYet("; ".join(wrong) or "no balancer is backup")
        return ", ".join(heard)


def checks(hosts: tuple[Host, ...], vip: str, port: int, proxy: Proxy) -> Iterator[Check]:
    """Everything that makes a working pair."""
    balancers = _Balancers(hosts, vip, port, proxy)
    yield Check(f"exactly one balancer holds {vip}", balancers.one_holder)
    yield Check(f"{vip}:{port} shows a certificate of the cluster's CA", balancers.vip_answers)
    yield Check(f"the authority that balancers trust lasts {EXPIRY_DAYS} days and more", balancers.authority_lasts)
    yield Check("every backend is up", balancers.backends_up)
    yield Check("the balancer without the VIP hears the other and is ready", balancers.peer_listens)


def statistics(host: Host, vip: str, proxy: Proxy) -> BalancerStatistics:
    """What one balancer's proxy counted, in one trip. Raises ProbeError where it does not answer."""
    printed, holder = _read(host, f"{proxy.name}'s counters", proxy.statistics(), held(vip))
    servers = proxy.parse(printed.decode(errors="replace"))
    return BalancerStatistics(host.name, VIPHolder.holds(holder), servers)


def _read(host: Host, what: str, *texts: str) -> tuple[bytes, ...]:
    replies = host.read(*texts)
    for exit, _, err in replies:
        if exit != 0:
            raise ProbeError(host.name, what, err.decode(errors="replace") or f"exit {exit}")
    return tuple(out for _, out, _ in replies)


def _reason(said: str) -> str:
    """The line of openssl's output that says why."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "Verify return code" in line or "errno" in line]
    return (telling or lines or ["no answer"])[0]
