"""An etcd as a restore, and the taking back of one, see it: hosts, and what must be done on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

from attrs import frozen

from k8sha.component import Stages
from k8sha.errors import HostErrors, K8shaError, PreflightError, Problem, Unreachable
from k8sha.etcd.access import Access
from k8sha.etcd.agreed import Agreed
from k8sha.etcd.fence import Fenced, StaticPods, UnitFenced, UnitRuns
from k8sha.etcd.present import harmful
from k8sha.etcd.record import Closed
from k8sha.hosts.host import Host
from k8sha.resources.resource import Resource
from k8sha.stage import Stage

__all__ = ["Members", "Whole", "reached"]


@frozen(kw_only=True)
class Whole:
    """An etcd that is whole again on these hosts, at ``revision``, by the restore (or undoing) of this ``id``.

    ``alive`` are all hosts that are reached; ``answered`` is to be called once the cluster answers its clients,
    ``absent`` with the nodes that the cluster lists and that are none of these hosts. ``marker`` is what the backup's
    ConfigMap holds, unless that was written later than at revision ``since``, after the old cluster's end; empty where
    there is nothing to compare.
    """

    id: str
    hosts: tuple[Host, ...]
    alive: tuple[Host, ...]
    revision: int
    answered: Callable[[], None]
    absent: Callable[[tuple[str, ...]], None]
    marker: str = ""
    since: int = 0


@frozen(kw_only=True)
class Members:
    """An etcd, as a restore sees it: hosts, and what must be done on them to stop and start a member.

    ``after`` are the stages that follow once etcd is whole on some of these hosts; ``others`` are the hosts that only
    those stages need. ``clients`` are those of them whose API servers are clients of this etcd: stopped before new
    data are served, and started by ``after``. ``apart`` is what starts the rest of a host again where etcd can't be
    waited for.
    """

    access: Access
    hosts: tuple[Host, ...]
    others: tuple[Host, ...] = ()
    after: Callable[[Whole], Stages] | None = None
    apart: Callable[[bool], Resource] | None = None
    clients: tuple[Host, ...] = ()
    owner: str = "root:root"

    def clients_in(self, alive: tuple[Host, ...]) -> tuple[Host, ...]:
        """Those of the clients that are reached."""
        return tuple(host for host in self.clients if host in alive)

    def servers_in(self, alive: tuple[Host, ...]) -> tuple[Host, ...]:
        """The hosts with API servers that are reached."""
        return tuple(host for host in (self.hosts if self.access.stacked else self.clients) if host in alive)

    def over(self, name: str, alive: tuple[Host, ...]) -> Stages:
        """Nothing is open on any host any more. Members come last: what is open there is what a run goes on with. A
        client that was off while the others were started has to be started here."""
        if clients := self.clients_in(alive):
            rest = () if self.apart is None else (self.apart(True),)
            yield Stage("over on API servers' hosts", {host: (*rest, Closed(name)) for host in clients})
        yield Stage("over", {host: (Closed(name),) for host in self.hosts if host in alive})

    def fence(self, until: str, mark: str) -> Resource:
        """What stops a member for certain."""
        return Fenced(until=until, mark=mark) if self.access.stacked else UnitFenced(until=until, mark=mark)

    def start(self) -> Resource:
        """What starts it."""
        return StaticPods(("etcd",)) if self.access.stacked else UnitRuns()

    def agreed(self, hosts: Iterable[Host], *, above: int = 0, among: bool = False) -> Agreed:
        """The members on these hosts are one etcd."""
        return Agreed(self.access, tuple((host.name, host.address) for host in hosts), above=above, among=among)


def reached(hosts: Iterable[Host], off: tuple[Host, ...]) -> tuple[Host, ...]:
    """The hosts that let us in, which must be all but those that are off. One of these that is blank does no more harm
    than one without power, and counts as off. Raises PreflightError otherwise."""
    hosts = tuple(hosts)
    there: dict[Host, str] = {}

    def look(host: Host) -> K8shaError | None:
        try:
            host.connect()
            if host in off:  # asked, for a link from before its power was cut looks as if it were there
                there[host] = harmful(host)
        except K8shaError as error:
            return error
        return None

    with ThreadPoolExecutor(len(hosts)) as pool:
        found = dict(zip(hosts, pool.map(look, hosts), strict=True))
    problems: list[Problem] = []
    denied = [error for error in found.values() if error is not None and not isinstance(error, Unreachable)]
    if denied:
        raise denied[0] if len(denied) == 1 else HostErrors(denied)
    for host, error in found.items():
        if isinstance(error, Unreachable) and host not in off:
            cause = f"can't be reached ({error.cause}), and what runs there may go on serving the old data"
            remedy = "bring it back; or cut its power, and say so with powered_off=[...]"
            problems.append(Problem(host.name, cause, remedy))
        elif there.get(host):
            cause = f"is said to be powered off, and lets us in ({there[host]})"
            problems.append(Problem(host.name, cause, "do not name it; or turn it off, or make it blank"))
    if problems:
        raise PreflightError(problems)
    return tuple(host for host in hosts if found[host] is None and host not in off)
