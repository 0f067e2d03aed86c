"""``python -m acceptance``: hosts up, cluster installed, broken, certified; the path of the certificate at the end.

Exit status: 0 certified; 1 not; 2 wrong usage; 3 the balancers are certified, and Kubernetes was not installed because
there was nowhere to take it from; 130 interrupted.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import pytest
from rich.console import Console
from rich.markup import escape

from .conftest import COMMAND, SESSION, TELL
from .options import NOT_TESTED
from .session import Session
from .tell import Tell

HERE = Path(__file__).parent
NO_KUBERNETES = 3
INTERRUPTED = 130


class Display:
    """pytest's output, told our way; keeps the session for what comes after."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.session: Session | None = None
        self.problems: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self, config: pytest.Config) -> None:
        """Before the suite's own: it looks for our Tell."""
        config.stash[TELL] = Tell(self.console)
        config.stash[COMMAND] = " ".join(["python -m acceptance", *sys.argv[1:]])

    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self.session = session.config.stash[SESSION]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.rpartition("::")[2]
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2].removeprefix("Skipped: ")
            self.console.print(f"[dim]- {escape(name)}: not tested, {escape(reason)}[/]", soft_wrap=True)
        elif report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            said = str(crash.message) if crash is not None else report.longreprtext
            self.problems.append(f"{name}: {said}")
            if NOT_TESTED in said:
                self.console.print(f"[dim]- {escape(name)}: {NOT_TESTED}[/]", soft_wrap=True)
                return
            self.console.print(f"[red]{escape(said)}[/]", soft_wrap=True, highlight=False)

    def pytest_internalerror(self, excrepr: object) -> None:
        self.problems.append(str(excrepr))
        self.console.print(escape(str(excrepr)), style="red", soft_wrap=True, highlight=False)


def parser() -> argparse.ArgumentParser:
    """The options; those of pytest's that a user may need are passed on."""
    first, _, rest = (__doc__ or "").replace("``", "").partition("\n\n")
    made = argparse.ArgumentParser(
        "python -m acceptance", description=first, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--cluster", metavar="PATH", help="a module that defines `cluster`, instead of the lab's own")
    made.add_argument("--bundle", metavar="PATH", help="a bundle to install Kubernetes from (default: what is found)")
    made.add_argument("--stand-ins", action="store_true", help="no Kubernetes: certify the balancers alone")
    made.add_argument("--no-faults", action="store_true", help="install and verify; break nothing")
    made.add_argument("--repeat", metavar="N", type=int, default=1, help="inject each fault N times (1)")
    made.add_argument("--slack", metavar="N", type=float, default=1.0, help="loosen every promise by this factor (1)")
    made.add_argument("--seed", metavar="N", type=int, help="which hosts are hit (drawn, and shown)")
    made.add_argument("--report", metavar="DIR", help="where the certificate goes (reports/<time>)")
    made.add_argument("--keep", action="store_true", help="leave the lab's hosts up at the end")
    made.add_argument(
        "--kills", metavar="N", type=int, help="kill the installer N times, and day-2 verbs at every step"
    )
    made.add_argument("-k", metavar="WORDS", help="only the tests whose names fit, as pytest's -k")
    made.add_argument("--compare", action="store_true", help="measure the guide's balancers against ours, nothing else")
    return made


def arguments(given: argparse.Namespace) -> list[str]:
    """pytest's command line."""
    found = [str(HERE), "-c", str(HERE / "pytest.ini"), "-p", "no:terminal", "-s"]
    found.append(f"--junitxml={Path(given.report) / 'junit.xml'}")
    for name, value in vars(given).items():
        option = f"--{name.replace('_', '-')}" if len(name) > 1 else f"-{name}"
        if value is True:
            found.append(option)
        elif value is not None and value is not False:
            found += [option, str(value)]
    return found


def status(code: int, session: Session | None) -> int:
    """Our exit status for pytest's, and for what was found."""
    if code == pytest.ExitCode.INTERRUPTED:
        return INTERRUPTED
    if code == pytest.ExitCode.USAGE_ERROR:
        return 2
    if code != pytest.ExitCode.OK or session is None or session.certificate.verdict != "certified":
        return 1
    asked = session.options.stand_ins or session.options.compare or session.options.cluster
    return NO_KUBERNETES if session.certificate.kind == "stand-ins" and not asked else 0


def main() -> int:
    """Run it; returns the exit status."""
    given = parser().parse_args()
    given.report = given.report or f"reports/{time.strftime('%Y-%m-%d-%H%M%S')}"
    console = Console(highlight=False)
    display = Display(console)

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)  # the hosts must be healed then as well
    code = pytest.main(arguments(given), plugins=[display])
    session = display.session
    if session is None:
        return status(code, None)
    result = status(code, session)
    certificate = session.certificate
    style = {"certified": "bold green", "not certified": "bold red", "incomplete": "bold yellow"}[certificate.verdict]
    console.print()
    for note in certificate.notes:
        console.print(escape(note), style="yellow", soft_wrap=True)
    if result == INTERRUPTED:
        console.print("Interrupted. What was broken has been healed; run it again at any time.", style="yellow")
    console.print(f"[{style}]{certificate.verdict}[/]", soft_wrap=True)
    if session.page is not None:
        console.print(str(session.page), soft_wrap=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
