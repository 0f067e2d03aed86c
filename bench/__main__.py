"""The bench: brings hosts up, lets the tools take turns on them, prints what it saw."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from attrs import asdict

from bench.hosts import Hosts
from bench.measure import BenchError, Kind, Run, Traffic, count_traffic, measure
from bench.table import render, targets
from bench.tools import Ansible, K8sha, Pyinfra, Tool


def _sizes(text: str) -> list[int]:
    sizes = sorted({int(part) for part in text.split(",")})
    if not 0 < sizes[0] <= sizes[-1] <= 254:
        raise argparse.ArgumentTypeError("between 1 and 254 hosts")
    return sizes


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench/run", description=__doc__)
    parser.add_argument(
        "--hosts", type=_sizes, default="1,8,50,200", help="how many hosts, several by commas (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tool at each size (%(default)s)")
    parser.add_argument("--slow", type=int, default=2, help="runs of a tool that takes over a minute (%(default)s)")
    parser.add_argument(
        "--ansible-up-to", type=int, default=50, help="hosts; it takes 3 s and more for each (%(default)s)"
    )
    parser.add_argument(
        "--first-up-to", type=int, default=50, help="hosts; how many first runs are tried on (%(default)s)"
    )
    parser.add_argument("--tools", default="k8sha,pyinfra,ansible", help="which take part (%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for every single figure")
    parser.add_argument("--image", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--peers", type=Path, required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def _say(run: Run) -> None:
    what = f"{run.hosts:>4} hosts  {run.tool:<8} {run.kind.value:<6} {run.wall:8.2f} s wall"
    cost = f"CPU a host {1000 * run.cpu / run.hosts:6.1f} ms here {1000 * run.host_cpu / run.hosts:6.1f} ms there"
    print(what, cost, f"{run.memory_kib // 1024} MiB, load {run.load:.1f}", file=sys.stderr, flush=True)


def _rounds(tools: list[Tool], hosts: Hosts, count: int, asked: argparse.Namespace) -> list[Run]:
    """First runs, each on fresh hosts; then no-op runs in turns, so that what else the machine does meets all alike.

    Where there are too many hosts for everybody's first run, the first tool's alone makes them what they should be.
    """
    runs: list[Run] = []

    def note(tool: Tool, kind: Kind) -> None:
        runs.append(measure(tool, hosts, count, kind))
        _say(runs[-1])

    for tool in reversed(tools if count <= asked.first_up_to else tools[:1]):
        hosts.reset(count)
        note(tool, Kind.FIRST)
    for number in range(asked.rounds):
        for tool in tools[number % len(tools) :] + tools[: number % len(tools)]:
            mine = [run.wall for run in runs if run.tool == tool.name and run.kind is Kind.NO_OP]
            if len(mine) < asked.slow or min(mine) < 60:
                note(tool, Kind.NO_OP)
    return runs


def main() -> int:
    asked = _arguments()
    every: tuple[Tool, ...] = (K8sha(), Pyinfra(asked.peers / "pyinfra"), Ansible(asked.peers / "ansible"))
    tools = [tool for tool in every if tool.name in asked.tools.split(",")]
    runs: list[Run] = []
    traffic: dict[str, Traffic] = {}
    with (
        tempfile.TemporaryDirectory(prefix="bench.") as folder,
        Hosts.up(asked.image, Path(folder)) as hosts,
    ):
        for count in asked.hosts:
            able = [tool for tool in tools if tool.name != "ansible" or count <= asked.ansible_up_to]
            runs += _rounds(able, hosts, count, asked)
        for tool in tools:
            traffic[tool.name] = count_traffic(tool, hosts, min(8, asked.hosts[-1]))
    if asked.json:
        single = [{**asdict(run), "kind": run.kind.value} for run in runs]
        asked.json.write_text(
            json.dumps({"runs": single, "traffic": {k: asdict(v) for k, v in traffic.items()}}, indent=1)
        )
    print(render(runs, traffic, {tool.name: tool.version for tool in tools}))
    found = targets(runs, traffic)
    print("\n| target | wanted | measured | |\n|---|---|---|---|")
    for target in found:
        print(f"| {target.what} | {target.wanted} | {target.measured} | {'holds' if target.holds else '**missed**'} |")
    return 0 if all(target.holds for target in found) else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
