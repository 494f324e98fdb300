"""`testbed run`: run scenarios, show the packet paths they saw, say what held."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from testbed import features
from testbed.cli.table import WIDTH, table
from testbed.errors import EXIT_OK, EXIT_USAGE
from testbed.scenario.loader import load_scenarios, select
from testbed.scenario.runner import Result, Status, exit_code, run_scenario
from testbed.scenario.spec import PROXY_MODES, Scenario


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "run", description="Run scenarios, each in a lab of its own, and show what packets did."
    )
    parser.add_argument(
        "place", nargs="?", type=Path, help="a scenario file or a directory of them (scenarios/)"
    )
    parser.add_argument("-k", dest="words", metavar="EXPR", help="only those whose name fits")
    parser.add_argument("--list", action="store_true", help="list them instead of running them")
    parser.add_argument("--json", action="store_true", help="machine-readable results")
    parser.add_argument("--proxy", choices=PROXY_MODES, help="run in this proxy mode only")
    parser.add_argument(
        "--evidence",
        type=Path,
        default=Path("evidence"),
        metavar="DIR",
        help="where a scenario that fails leaves SCENARIO-MODE.zip (evidence/)",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="only the summary")
    return parser


def run(args: argparse.Namespace) -> int:
    """Run what fits; exit codes as in testbed.errors."""
    chosen = select(load_scenarios(args.place), args.words)
    if not chosen:
        print("testbed run: no scenario fits; `testbed run --list` shows them", file=sys.stderr)
        return EXIT_USAGE
    if args.list:
        return _list(chosen, args.json)
    features.require_root()
    quiet = args.quiet or args.json
    results = []
    for scenario in chosen:
        for mode in scenario.modes if args.proxy is None else (args.proxy,):
            results.append(_run_one(scenario, mode, quiet, args.evidence))
    if args.json:
        print(json.dumps([result.as_values() for result in results], indent=2))
    else:
        _summarise(results)
    return exit_code(results)


def _run_one(scenario: Scenario, mode: str, quiet: bool, evidence: Path) -> Result:
    if not quiet:
        print(f"\n━━ {scenario.title}  [{scenario.name}, {mode}]\n")
        for paragraph in scenario.teaches.split("\n\n"):
            print(textwrap.indent(textwrap.fill(paragraph, WIDTH - 3), "   ") + "\n")
    tell = (lambda line: None) if quiet else _print
    result = run_scenario(scenario, mode, tell, evidence=evidence)
    if not quiet:
        mark = "✓" if result.status is Status.PASSED else "✗"
        print(f"\n  {mark} {result.status.value} in {result.seconds:.2f} s")
    if result.reason and not quiet:
        print(textwrap.indent(result.reason, "    "))
    return result


def _print(line: str) -> None:
    print(line, flush=True)


def _list(chosen: Sequence[Scenario], as_json: bool) -> int:
    if as_json:
        values = [
            {"name": s.name, "title": s.title, "modes": s.modes, "needs": s.needs} for s in chosen
        ]
        print(json.dumps(values, indent=2))
    else:
        print(table(("SCENARIO", "WHAT IT SHOWS"), [(s.name, s.title) for s in chosen]))
    return EXIT_OK


def _summarise(results: Sequence[Result]) -> None:
    rows = [
        (r.scenario.name, r.mode, r.status.value, f"{r.seconds:.2f} s", r.reason.split("\n")[0])
        for r in results
    ]
    print("\n" + table(("SCENARIO", "PROXY", "RESULT", "TIME", "WHY"), rows))
    for each in results:
        if each.evidence:
            print(f"evidence: {each.evidence} (testbed report {each.evidence})")
    counts = {status: sum(r.status is status for r in results) for status in Status}
    failed = counts[Status.FAILED] + counts[Status.ERROR]
    print(f"\n{counts[Status.PASSED]} passed, {failed} failed, {counts[Status.SKIPPED]} skipped")
