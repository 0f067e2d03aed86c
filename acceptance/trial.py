"""One run of one fault: at rest, broken, observed, healed, whole again; and what a client saw all that time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from random import Random

from attrs import evolve, frozen

from k8sha import Check, K8shaError, NotReady, NotYet, wait_for

from . import invariants
from .faults import Fault, Injected
from .history import Request, in_flight, outage, stall, watch_gaps
from .record import Run, Timeline, moment
from .subject import Subject
from .workload import Workload

__all__ = ["Trial", "TrialError"]

LEAD = 2.0
"""Seconds of rest that a timeline shows before its fault."""

BLIND, BLIND_SHARE = 0.5, 0.1
"""Seconds at once, and the share of all time, that the client itself may have been kept from running in a run that
counts."""

Tell = Callable[[str, str, float], None]


class TrialError(Exception):
    """The fault could not be put to the test: the cluster was not at rest before it, or the client was blind."""


@frozen
class Trial:
    """Carries out faults on a cluster under a workload. ``tell`` hears of every wait."""

    subject: Subject
    workload: Workload
    random: Random
    serials: Mapping[str, str]
    tell: Tell

    def run(self, fault: Fault, *, verify: bool = True, most: float | None = None) -> Run:
        """Break it once, and measure. Raises TrialError where there is nothing to measure."""
        client = self.workload
        try:
            client.settle(client.now(), least=LEAD, limit=60, tell=self.tell)
        except NotReady as error:
            raise TrialError(f"the cluster was not at rest before the fault: {error}") from error
        load = self.subject.loads()
        at, zero = moment(), client.now()
        with fault.inject(self.subject, self.random) as injected:
            self._observe(fault, zero, most or fault.most)
            healing = client.now()
        healed = client.now()
        late = self._rest(healed, fault.return_patience)
        end = client.now()
        wrong = late or (self._whole(healed, fault.return_patience) if verify else "")
        again = None if wrong else client.now() - healed
        client.answers_until(end)
        run = self._measure(injected, (zero, healing, healed, end), again, load=load, at=at)
        broken = list(fault.promise.broken(run.during, run.write_stall, run.watch_gap))
        broken += [f"on its return {words}" for words in fault.promise.broken(run.after, None, None)]
        broken += [f"it was not whole again within {fault.return_patience:g} s: {wrong}"] if wrong else []
        run = evolve(run, broken=tuple(broken))
        return self._with_invariants(run, end) if verify and not wrong else run

    def _observe(self, fault: Fault, zero: float, most: float) -> None:
        """Until the service is at rest again though the fault lasts, at most ``most`` seconds."""
        try:
            self.workload.settle(zero, least=fault.least, limit=most, tell=self.tell)
        except NotReady as error:
            # No error of ours: that it did not come to rest is the finding, and the figures say so.
            self.tell(f"{fault.title}: it is healed now, for the service does not recover", error.last, error.waited)

    def _rest(self, healed: float, patience: float) -> str:
        try:
            self.workload.settle(healed, least=3.0, limit=patience, tell=self.tell)
        except NotReady as error:
            return error.last
        return ""

    def _whole(self, healed: float, patience: float) -> str:
        """What is wrong with the cluster when the time is over, empty as soon as nothing is."""

        def look() -> str:
            try:
                wrong = invariants.whole(self.subject)
            except K8shaError as error:
                wrong = str(error)
            if wrong:
                raise NotYet(wrong)
            return ""

        left = patience - (self.workload.now() - healed)
        check = Check("the cluster is whole again", look)
        try:
            return wait_for(check, timeout=max(5.0, left), interval=1, tell=self.tell)
        except NotReady as error:
            return error.last

    def _with_invariants(self, run: Run, end: float) -> Run:
        """The run, with what must be true after every fault and is not."""
        found = invariants.afterwards(self.subject, self.workload, end)
        return evolve(run, written=found.written, lost=found.lost, broken=(*run.broken, *found.broken))

    def _measure(
        self,
        injected: Injected,
        marks: tuple[float, float, float, float],
        again: float | None,
        *,
        load: tuple[tuple[str, float], ...],
        at: str,
    ) -> Run:
        zero, healing, healed, end = marks
        history = self.workload.history()
        gaps = [gap.seconds for gap in history.between(zero, end).blind]
        if gaps and (max(gaps) > BLIND or sum(gaps) > BLIND_SHARE * (end - zero)):
            raise TrialError(
                f"the client itself could not run {len(gaps)} times, for {max(gaps):.2f} s at most and "
                f"{sum(gaps):.1f} s in all: this machine is too busy to measure"
            )
        silent = max((gap.seconds for gap in watch_gaps(history.watch, zero, end)), default=0.0)
        taken = in_flight(history.probes, injected.since)
        return Run(
            sentence=injected.sentence,
            at=at,
            during=outage((probe for probe in history.probes if probe not in taken), zero, healing),
            in_flight=len(taken),
            after=outage(history.probes, healing, end),
            write_stall=stall(history.writes, zero, end) if history.writes else None,
            watch_gap=silent if history.watch else None,
            whole_again=again,
            load=load,
            timeline=Timeline.of(history, zero, zero - LEAD, healing, healed, end),
            backends=self._shares(history.between(zero, healing).probes),
        )

    def _shares(self, probes: Iterable[Request]) -> tuple[tuple[str, int], ...]:
        """How many requests each API server answered."""
        names = (self.serials.get(probe.backend, probe.backend) for probe in probes if probe.ok)
        return tuple(sorted(Counter(names).items()))
