"""The certificate: its verdict, its figures, its page. Rendered with histories made up here."""

from __future__ import annotations

import json
import re
from pathlib import Path
from random import Random
from xml.etree import ElementTree

import pytest
from attrs import evolve

from acceptance.history import Gap, History, Request, WatchMark, outage, stall, watch_gaps
from acceptance.picture import Scale, picture
from acceptance.record import Certificate, Comparison, FaultEntry, HostFacts, Run, Step, Timeline, Untested
from acceptance.report import gauge, html, save, seconds, span


def history(
    *, end: float, failing: tuple[float, float] = (0, 0), silent: tuple[float, float] = (0, 0), writes: bool = True
) -> History:
    """A client's view from 98 to ``end``, with a fault at 100: failures and a watch's silence at these offsets."""
    random = Random(7)

    def request(start: float, usual: float) -> Request:
        fails = failing[0] <= start - 100 < failing[1]
        took = 2.0 if fails else usual * (1 + random.random()) + (0.9 if 0 < start - 100 - failing[1] < 0.2 else 0)
        return Request(start, start, start + took, "timed out" if fails else "", "AB")

    probes = tuple(request(98 + number * 0.05, 0.006) for number in range(int((end - 98) / 0.05)))
    written = tuple(request(98 + number * 0.1, 0.02) for number in range(int((end - 98) / 0.1))) if writes else ()
    ticks = (98 + number * 0.1 for number in range(int((end - 98) / 0.1)))
    marks = tuple(WatchMark(at, "event") for at in ticks if not silent[0] <= at - 100 < silent[1])
    return History(probes, written, marks)


def run(
    *,
    healing: float = 40.0,
    failing: tuple[float, float] = (0, 0),
    silent: tuple[float, float] = (0, 0),
    writes: bool = True,
) -> Run:
    """A run whose figures follow from a made-up history."""
    end = 100 + healing + 12
    seen = history(end=end, failing=failing, silent=silent, writes=writes)
    return Run(
        sentence="lb-1, the balancer that held the VIP, was frozen",
        at="2026-11-22T18:37:50+00:00",
        during=outage(seen.probes, 100, 100 + healing),
        after=outage(seen.probes, 100 + healing, end),
        write_stall=stall(seen.writes, 100, end) if writes else None,
        watch_gap=max((gap.seconds for gap in watch_gaps(seen.watch, 100, end)), default=0.0),
        whole_again=11.4,
        load=(("here", 2.31),),
        timeline=Timeline.of(seen, 100, 98, 100 + healing, 100 + healing + 0.3, end),
        backends=(("master-1", 210), ("master-2", 199)),
        written=len([write for write in seen.writes if write.ok]) if writes else None,
    )


def entry(name: str, title: str, *runs: Run, limit: float | None = 0.8, failed: int | None = None) -> FaultEntry:
    promise = f"requests fail for at most {limit:g} s" if failed is None else f"at most {failed} requests fail"
    limits: dict[str, float | int | None] = {"outage": limit if failed is None else None, "failed": failed}
    return FaultEntry(
        name, title, "The machine stops in mid-air: a stalled hypervisor, a hung kernel.", promise, limits, list(runs),
        verdict="kept",
    )  # fmt: skip


def example() -> Certificate:
    """A certificate with everything on it that one can have."""
    made = Certificate("lab 192.168.56.0/24", endpoint="192.168.56.100:6443", version="Kubernetes v1.33.6")
    made.began, made.ended = "2026-11-22T18:02:11+00:00", "2026-11-22T18:41:40+00:00"
    made.seed, made.repeat, made.command = 4711, 3, "python -m acceptance --repeat 3"
    made.hosts = [
        HostFacts(
            name,
            role,
            f"192.168.56.{last}",
            "Debian GNU/Linux 13 (trixie)",
            "6.18.2",
            2,
            3072,
            (("HAProxy", "3.0.11"), ("keepalived", "2.3.3"))
            if role == "balancer"
            else (("kubelet", "v1.33.6"), ("containerd", "1.7.24")),
        )
        for name, role, last in (
            ("lb-1", "balancer", 101),
            ("lb-2", "balancer", 102),
            ("master-1", "master", 10),
            ("master-2", "master", 11),
            ("master-3", "master", 12),
            ("worker-1", "worker", 20),
            ("worker-2", "worker", 21),
            ("worker-3", "worker", 22),
        )
    ]
    made.facts = [("etcd", "3.5.24, leader master-2, 4.1 MB"), ("Pod network", "HostRoutes, 10.244.0.0/16")]
    made.checks = [("every etcd member sees the same 3 voters and one leader", "etcd 3.5.24, leader master-2, 4.1 MB")]
    made.steps = [
        Step("install", "Installed", "8 bare hosts become a cluster that passes verify()",
             [("wall time", "3 min 12 s"), ("changes", "214"), ("trips", "131")], verdict="kept"),
        Step("again", "Installed again", "nothing changes, in one SSH trip per host and stage",
             [("wall time", "4.1 s"), ("changes", "0"), ("trips", "77")], verdict="kept"),
        Step("drift", "Drift", "the plan names exactly what was changed by hand, install repairs exactly that",
             [("changed by hand", "5"), ("named", "5"), ("repaired", "5"), ("of 97 acknowledged writes lost", "0")],
             verdict="kept"),
        Step("drain", "Worker drained", "a disruption budget is respected at every moment",
             [("wall time", "11.2 s"), ("fewest ready pods", "3 of 4")], verdict="kept"),
    ]  # fmt: skip
    frozen = [
        run(failing=(0.0, 0.5), silent=(0.0, 30.3)),
        run(failing=(0.0, 0.6), silent=(0.0, 30.2)),
        run(failing=(0.0, 0.45), silent=(0.0, 30.4)),
    ]
    made.faults = [
        entry("holder-frozen", "Balancer frozen", *frozen),
        entry("proxy-stopped", "Proxy stopped", run(healing=8, silent=(0.0, 0.6)), limit=0.5),
        entry("proxy-hung", "Proxy hung", evolve(run(healing=34, failing=(0.0, 3.1), silent=(0.0, 31.0)),
              broken=("requests failed for 3.10 s; promised are at most 2.5 s",)), limit=2.5),
        entry("master-frozen", "Master frozen", run(healing=15, silent=(0.3, 3.5)), failed=0),
    ]  # fmt: skip
    made.faults[2].verdict = "broken"
    made.faults[2].problems = ["requests failed for 3.10 s; promised are at most 2.5 s"]
    slow, never = (run(healing=12, failing=(0, lasting), writes=False) for lasting in (3.2, 12))
    made.comparisons = [
        Comparison("Balancer frozen", 12.0, entry("x", "Balancer frozen", slow), made.faults[0]),
        Comparison("Proxy stopped", 12.0, entry("x", "Proxy stopped", never), made.faults[1]),
    ]
    made.untested = [
        Untested(
            "etcd leader's machine killed", "needs power over machines: give an object `power` in the cluster's module"
        ),
        Untested("A partition of the network, a full disk, a clock that jumps", "not part of this suite yet"),
        Untested("Loss of two masters at once, of a site", "no promise is made: etcd has no majority then"),
    ]
    return made


def test_a_certificate_is_certified_only_if_every_promise_was_kept() -> None:
    made = example()
    assert made.verdict == "not certified"
    made.faults[2].verdict = "kept"
    assert str(made.verdict) == "certified"
    made.steps[0].verdict = "error"
    assert str(made.verdict) == "incomplete"
    made.steps[0].verdict = "kept"
    made.interrupted = "Interrupted by Ctrl-C."
    assert str(made.verdict) == "incomplete"
    assert Certificate("nothing").verdict == "incomplete"


def test_files_are_saved_whole_and_the_json_says_its_schema(tmp_path: Path) -> None:
    page = save(example(), tmp_path / "report")
    found = json.loads((tmp_path / "report" / "certificate.json").read_text())
    assert found["schema"] == "k8sha-certificate/1"
    assert found["verdict"] == "not certified"
    assert found["faults"][0]["runs"][0]["during"]["failed"] == 10
    assert found["faults"][0]["runs"][0]["during"]["seconds"] == pytest.approx(0.5)
    assert page.read_text().startswith("<!doctype html>")
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["certificate.html", "certificate.json"]


def test_the_page_needs_nothing_from_elsewhere() -> None:
    page = html(example())
    assert not re.search(r"(src|href)=\"(?!#)", page)
    assert "url(" not in page
    assert "<script" not in page
    assert "@import" not in page


def test_the_page_shows_figures_promises_and_what_was_not_tested() -> None:
    page = html(example())
    for words in (
        "Balancer frozen",
        "0.65 s",
        "0.8 s",
        "3.15 s",
        "not certified",
        "Loss of two masters at once",
        "4711",
    ):
        assert words in page


def test_what_comes_from_hosts_cannot_write_html() -> None:
    made = example()
    made.hosts[0] = evolve(made.hosts[0], system="<b>Debian</b>")
    made.faults[0].problems = ["<img src=x>"]
    page = html(made)
    assert "<b>Debian</b>" not in page
    assert "<img" not in page


def test_an_empty_certificate_renders_as_incomplete() -> None:
    made = Certificate("a cluster")
    made.interrupted = "The lab did not come up."
    page = html(made)
    assert "The lab did not come up." in page
    assert "incomplete" in page


def measured(made: Certificate) -> str:
    """What the page says about how it was measured."""
    return html(made).partition("How it was measured")[2]


def test_the_page_of_a_cluster_tells_how_it_was_written_to_and_watched() -> None:
    said = measured(example())
    for words in (
        "A ConfigMap is created",
        "it must have told of it",
        "One watch is held and",
        "the plan must be empty",
    ):
        assert words in said


def test_the_page_of_stand_ins_speaks_of_keys_and_of_no_watch_on_them() -> None:
    made = example()
    made.kind, made.comparisons = "stand-ins", []
    said = measured(made)
    assert "A key is put into etcd" in said
    assert "of a stream of ticks" in said
    assert "ConfigMap" not in said
    assert "told of it" not in said


def test_the_page_of_a_comparison_claims_no_write_no_watch_and_no_verify() -> None:
    made = example()
    made.kind, made.faults, made.steps = "stand-ins", [], []
    page, said = html(made), measured(made)
    assert "healed in the end, whatever happens." in said
    for words in ("<dt>Writes", "<dt>Watch", "verify()", "ConfigMap"):
        assert words not in said
    assert "ConfigMap" not in page


def test_the_page_without_faults_claims_none_and_no_watch() -> None:
    made = example()
    made.faults, made.comparisons = [], []
    said = measured(made)
    assert "A ConfigMap is created" in said  # while what was changed by hand is repaired
    for words in ("told of it", "<dt>Watch", "Around each fault"):
        assert words not in said
    made.steps = []
    assert "ConfigMap" not in measured(made)


@pytest.mark.parametrize("healing", [8.0, 40.0])
def test_a_picture_is_well_formed_and_stays_within_its_frame(healing: float) -> None:
    tree = ElementTree.fromstring(picture(run(healing=healing, failing=(0, 0.5), silent=(0, 4)), "a & b"))
    texts = [node.text or "" for node in tree.iter() if node.tag.endswith("text")]
    assert "0.50 s" in texts
    assert "broken" in texts
    assert "healed" in texts
    scale = Scale.of(run(healing=healing).timeline)
    assert [round(scale.x(at)) for at in (scale.begin, scale.end)] == [104, 950]
    assert sorted(scale.ticks()) == scale.ticks()


def brackets(made: Run) -> list[tuple[float, float, str]]:
    """From where to where an outage is drawn, in seconds after the fault, and what it says."""
    drawn, scale = picture(made, "x"), Scale.of(made.timeline)
    found = re.findall(r'class="bracket" d="M([\d.]+) \S+?v-5H([\d.]+)v5"/><text[^>]*>([^<]*)<', drawn)
    grid = [number / 20 for number in range(int(scale.end * 20))]

    def moment(place: str) -> float:
        return min(grid, key=lambda at: abs(scale.x(at) - float(place)))

    return [(moment(left), moment(right), words) for left, right, words in found]


def test_of_two_outages_the_longer_is_drawn_where_it_was() -> None:
    made = run(healing=40, failing=(20.0, 21.5))
    early = tuple(
        (at, 2.0, "closed") if 1.0 <= at < 1.1 else (at, took, error) for at, took, error in made.timeline.probes
    )
    requests = [Request(at, at, at + took, error) for at, took, error in early]
    made = evolve(made, during=outage(requests, 0, 40), timeline=evolve(made.timeline, probes=early))
    assert made.during.outages == 2
    assert brackets(made) == [(pytest.approx(20.0, abs=0.06), pytest.approx(21.5, abs=0.06), "1.50 s")]


def test_one_that_does_not_end_is_drawn_to_the_healing() -> None:
    assert brackets(run(healing=12, failing=(3, 12))) == [
        (pytest.approx(3, abs=0.06), pytest.approx(12, abs=0.06), "no recovery")
    ]


def test_what_was_lost_in_flight_is_no_outage() -> None:
    made = run(failing=(0.0, 0.1))
    assert brackets(evolve(made, during=outage([], 100, 140), in_flight=2)) == []


def test_a_long_window_shows_its_beginning_wider() -> None:
    scale = Scale.of(run(healing=40).timeline)
    assert scale.split is not None
    assert scale.x(1) - scale.x(0) > 5 * (scale.x(41) - scale.x(40))


def test_a_service_that_never_recovers_is_drawn_and_named_so() -> None:
    never = run(healing=12, failing=(0, 12))
    assert never.during.seconds is None
    assert "no recovery" in picture(never, "stopped")
    made = entry("stopped", "Stopped", never)
    assert gauge(made)["figure"] == "never recovered"
    assert gauge(made)["over"]


def test_a_gauge_compares_the_worst_run_with_the_limit() -> None:
    made = entry("x", "X", run(failing=(0, 0.4)), run(failing=(0, 0.2)))
    assert gauge(made) == {"figure": "0.40 s", "limit": "0.8 s", "used": pytest.approx(50), "over": False,
                           "median": "0.30 s", "total": "2\u202f080", "load": 2.31}  # fmt: skip
    assert gauge(entry("y", "Y", run(failing=(0, 0.04)), failed=0))["over"]
    assert not gauge(entry("y", "Y", run(), failed=0))["over"]


def test_times_in_words() -> None:
    assert [seconds(value) for value in (None, 0.0, 0.0123, 0.5, 12.34)] == ["—", "none", "12 ms", "0.50 s", "12 s"]
    assert [span(value) for value in (4.06, 192.3)] == ["4.1 s", "3 min 12 s"]


def test_the_client_s_own_blindness_is_on_record() -> None:
    seen = evolve(history(end=110), blind=(Gap(100.5, 100.9),))
    assert Timeline.of(seen, 100, 98, 105, 105, 110).blind == ((0.5, 0.9),)
