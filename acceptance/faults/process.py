"""One process alone, its machine alive: the proxy on the balancer that holds the VIP stopped, killed or hung; the
leading member of etcd killed or hung. Only SSH is needed.

Should this program die in between, the host heals itself: a timer there undoes the fault after ``most`` seconds and a
minute.
"""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

from attrs import frozen

from k8sha import Host

from ..subject import Subject
from .fault import Fault, Injected
from .machine import choose, majority

__all__ = ["EtcdHung", "EtcdKilled", "ProxyHung", "ProxyKilled", "ProxyStopped"]

_TIMER = "k8sha-fault-heal"

_ARM = """\
systemctl reset-failed {timer}.service {timer}.timer 2>/dev/null || echo 'no earlier one' >&2
systemd-run --quiet --unit={timer} --on-active={seconds} --timer-property=AccuracySec=1s /bin/sh -c {heal}"""


def _do(host: Host, text: str) -> None:
    exit, _, err = host.execute(text)
    if exit != 0:
        raise RuntimeError(f"{host.name}: {text}: exit {exit}: {err.decode(errors='replace').strip()}")


@frozen
class _Process(Fault):
    @property
    @abstractmethod
    def sentence(self) -> str:
        """What was done, with ``{unit}`` and ``{host}``."""

    @abstractmethod
    def victim(self, subject: Subject, random: Random) -> tuple[Host, str]:
        """The host that it hits, and the name of the process there, as shell writes it."""

    @property
    @abstractmethod
    def harm(self) -> str:
        """Shell that does it, with ``{unit}``."""

    @property
    @abstractmethod
    def heal(self) -> str:
        """Shell that undoes it, with ``{unit}``; does nothing where all is well."""

    @contextmanager
    def inject(self, subject: Subject, random: Random) -> Iterator[Injected]:
        """See :meth:`Fault.inject`."""
        host, unit = self.victim(subject, random)
        heal = self.heal.format(unit=unit)
        _do(host, _ARM.format(timer=_TIMER, seconds=int(self.most + 60), heal=shlex.quote(heal)))
        try:
            _do(host, self.harm.format(unit=unit))
            yield Injected(host, self.sentence.format(unit=unit, host=host.name))
        finally:
            _do(host, f"{heal}\nsystemctl stop {_TIMER}.timer")


@frozen
class _Proxy(_Process):
    def missing(self, subject: Subject) -> str:
        """See :meth:`Fault.missing`."""
        return "" if len(subject.balancer_hosts) > 1 else "balancers that it may log in to"

    def victim(self, subject: Subject, random: Random) -> tuple[Host, str]:
        """The balancer that holds the VIP."""
        return choose("holder", subject, random), shlex.quote(subject.proxy_unit)


@frozen
class ProxyStopped(_Proxy):
    """Somebody stops the proxy: an upgrade, a slip."""

    sentence = "{unit} was stopped on {host}, which held the VIP"
    harm = "systemctl stop {unit}"
    heal = "systemctl start {unit}"


@frozen
class ProxyKilled(_Proxy):
    """The proxy's processes die at once: out of memory, a fault in its code. Its unit may bring it back."""

    sentence = "every process of {unit} was killed on {host}, which held the VIP"
    harm = "systemctl kill --signal=KILL {unit}"
    heal = "systemctl reset-failed {unit}\nsystemctl start {unit}"


@frozen
class ProxyHung(_Proxy):
    """The proxy's processes stop answering and do not end: its port stays open, its connections too."""

    sentence = "every process of {unit} hung (SIGSTOP) on {host}, which held the VIP"
    harm = "systemctl kill --signal=STOP {unit}"
    heal = "systemctl kill --signal=CONT {unit}\nsystemctl start {unit}"


# Whoever serves etcd's clients on this host: as a static pod or as a service, and no other etcd that may run there.
_MEMBER = """\
member=$(ss -Hltnp 'sport = :2379' | sed -n 's/.*pid=\\([0-9]*\\).*/\\1/p' | sort -u)"""


@frozen
class _Etcd(_Process):
    def missing(self, subject: Subject) -> str:
        """See :meth:`Fault.missing`."""
        return majority(subject)

    def victim(self, subject: Subject, random: Random) -> tuple[Host, str]:
        """The member that leads: all that losing another one costs, and an election."""
        return subject.etcd_leader(), "etcd"


@frozen
class EtcdKilled(_Etcd):
    """A member dies at once, its machine alive: out of memory, a bug. Kubelet or systemd brings it back."""

    sentence = "{unit}'s member on {host}, which led, was killed"
    harm = f"{_MEMBER}\nkill -KILL $member"
    heal = ":"


@frozen
class EtcdHung(_Etcd):
    """A member stops answering and does not end: its ports stay open, its connections too. A disk that blocks."""

    sentence = "{unit}'s member on {host}, which led, hung (SIGSTOP)"
    harm = f"{_MEMBER}\nkill -STOP $member"
    heal = f'{_MEMBER}\nif [ -n "$member" ]; then kill -CONT $member; fi'
