"""The certificate as files: JSON for programs, one self-contained HTML page for people. Saved whatever happens."""

from __future__ import annotations

import json
import os
from pathlib import Path

import jinja2
from markupsafe import Markup

from .picture import picture
from .record import Certificate, FaultEntry

__all__ = ["html", "save"]

TEMPLATE = Path(__file__).with_name("certificate.html.j2")


def save(certificate: Certificate, folder: Path) -> Path:
    """Write ``certificate.json`` and ``certificate.html``, each whole or not at all; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    _replace(folder / "certificate.json", json.dumps(certificate.as_json(), indent=1, ensure_ascii=False) + "\n")
    page = folder / "certificate.html"
    _replace(page, html(certificate))
    return page


def _replace(path: Path, content: str) -> None:
    draft = path.with_suffix(".new")
    draft.write_text(content, encoding="utf-8")
    os.replace(draft, path)


def html(certificate: Certificate) -> str:
    """The page: no script, nothing fetched from anywhere."""
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["seconds"] = seconds
    environment.filters["span"] = span
    environment.globals["picture"] = lambda run, title: Markup(picture(run, title))
    environment.globals["gauge"] = gauge
    environment.globals["versus"] = versus
    return environment.from_string(TEMPLATE.read_text(encoding="utf-8")).render(
        c=certificate, head=headline(certificate), how=means(certificate)
    )


def seconds(value: float | None) -> str:
    """A measured time in words that fit a table."""
    if value is None:
        return "—"
    if value == 0:
        return "none"
    return f"{value * 1000:.0f} ms" if value < 0.1 else f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def span(value: float) -> str:
    """A length of time in minutes and seconds."""
    return f"{value:.1f} s" if value < 60 else f"{int(value // 60)} min {int(value % 60):02d} s"


def gauge(entry: FaultEntry) -> dict[str, object]:
    """What the overview shows of a fault: the figure that its promise is about, and how much of the limit it used."""
    limits = entry.limits
    median, worst = entry.outage
    recovered = all(run.during.recovered for run in entry.runs)
    if limits.get("outage") is not None:
        most = float(limits["outage"] or 0)
        figure = seconds(worst) if recovered else "never recovered"
        used = (worst or 0.0) / most if recovered else 2.0
        limit = f"{most:g} s"
    elif limits.get("failed") is not None:
        count = int(limits["failed"] or 0)
        figure = f"{entry.failed} failed"
        used = entry.failed / count if count else float(entry.failed > 0) * 2
        limit = f"{count} failed"
    else:
        figure, used, limit = seconds(worst), 0.0, "—"
    total = sum(run.during.total + run.after.total for run in entry.runs)
    return {
        "figure": figure if entry.runs else "—",
        "limit": limit,
        "used": max(0.0, min(used, 1.0)) * 100,
        "over": used > 1,
        "median": seconds(median) if len(entry.runs) > 1 and recovered else "",
        "total": thousands(total),
        "load": max((load for run in entry.runs for _, load in run.load), default=0.0),
    }


def versus(entry: FaultEntry, limit: float) -> dict[str, object]:
    """A bar of a comparison: the median outage, and what goes with it."""
    median, worst = entry.outage
    failed = f"{entry.median_failed:g} failed"
    load = max((load for run in entry.runs for _, load in run.load), default=0.0)
    if median is None:
        return {
            "width": 100.0,
            "endless": True,
            "words": "never",
            "detail": f"in {limit:g} s, {failed}, load {load:.1f}",
        }
    most = "never" if worst is None else seconds(worst)
    detail = f"worst {most}, {failed}, load {load:.1f}"
    return {"width": 100 * min(1.0, median / limit), "endless": False, "words": seconds(median), "detail": detail}


def headline(certificate: Certificate) -> dict[str, str]:
    """The verdict in words, and the few figures that matter most."""
    compared = (comparison.ours for comparison in certificate.comparisons)
    runs = [run for entry in (*certificate.faults, *compared) for run in entry.runs]
    broken = sum(entry.verdict == "broken" for entry in certificate.entries)
    outages = [run.during.seconds for run in runs]
    never = any(value is None for value in outages)
    worst = "never recovered" if never else seconds(max((value for value in outages if value is not None), default=0.0))
    subject = "cluster" if certificate.kind == "kubernetes" else "pair of balancers"
    match certificate.verdict:
        case "certified" if runs:
            words = f"This {subject} kept every promise while it was broken {len(runs)} times."
        case "certified":
            words = f"This {subject} kept every promise. No fault was injected."
        case "not certified":
            words = f"This {subject} broke {broken} of the {len(list(certificate.entries))} promises put to the test."
        case _:
            words = certificate.interrupted or "Not everything could be put to the test."
    requests = sum(run.during.total + run.after.total for run in runs)
    failed = sum(run.during.failed + run.after.failed for run in runs)
    return {
        "words": words,
        "worst": worst if runs else "—",
        "runs": str(len(runs)),
        "requests": thousands(requests),
        "failed": thousands(failed),
        "written": thousands(written) if (written := sum(run.written or 0 for run in runs)) else "",
        "lost": thousands(sum(run.lost for run in runs)),
    }


def means(certificate: Certificate) -> dict[str, bool]:
    """What the client did besides opening connections, as far as its figures tell: a comparison's does nothing else."""
    runs = [run for entry in certificate.faults for run in entry.runs]
    labels = [label for step in certificate.steps for label, _ in step.figures]
    return {
        "wrote": any(run.written is not None for run in runs)
        or any("acknowledged writes" in label for label in labels),
        "watched": any(run.watch_gap is not None for run in runs),
    }


def thousands(value: int) -> str:
    """A count with thin spaces between its thousands."""
    return f"{value:,}".replace(",", "\u202f")
