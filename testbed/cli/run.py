"""`testbed run`: run scenarios, show the packet paths they saw, say what held."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from testbed import features
from testbed.cli.options import add_proxy_command, proxy_command_settings
from testbed.cli.table import WIDTH, table
from testbed.errors import EXIT_OK, EXIT_USAGE
from testbed.scenario.loader import load_scenarios, select
from testbed.scenario.runner import Result, Status, exit_code, run_scenario
from testbed.scenario.spec import PROXY_MODES, Scenario

Tell: TypeAlias = Callable[[str], None]


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
    add_proxy_command(parser)
    parser.add_argument(
        "--evidence",
        type=Path,
        default=Path("evidence"),
        metavar="DIR",
        help="where a scenario that fails leaves SCENARIO-MODE.zip (evidence/)",
    )
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="only what failed, and the summary"
    )
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
    plays = [(s, mode) for s in chosen for mode in s.modes if args.proxy in (None, mode)]
    if not plays:
        print(f"testbed run: none of them runs in proxy mode {args.proxy}", file=sys.stderr)
        return EXIT_USAGE
    tell = _ignore if args.quiet or args.json else _print
    taught: set[str] = set()
    results = []
    for scenario, mode in plays:
        _introduce(scenario, mode, scenario.name not in taught, tell)
        taught.add(scenario.name)
        result = run_scenario(
            scenario, mode, tell, evidence=args.evidence, **proxy_command_settings(args)
        )
        _conclude(result, _ignore if args.json else _print, tell)
        results.append(result)
    if args.json:
        print(json.dumps([result.as_values() for result in results], indent=2))
    else:
        _summarise(results)
    return exit_code(results)


def _introduce(scenario: Scenario, mode: str, teach: bool, tell: Tell) -> None:
    """The title; what the scenario teaches is told once, not in every proxy mode."""
    tell(f"\n━━ {scenario.title}  [{scenario.name}, {mode}]\n")
    for paragraph in scenario.teaches.split("\n\n") if teach else ():
        tell(textwrap.indent(textwrap.fill(paragraph, WIDTH - 3), "   ") + "\n")


def _conclude(result: Result, tell_always: Tell, tell: Tell) -> None:
    """How it ended. The evidence of a failure is shown to quiet users as well."""
    if result.status is Status.PASSED:
        tell(f"\n  ✓ passed in {result.seconds:.2f} s")
    elif result.status is Status.SKIPPED:
        tell(f"  – skipped: {result.reason}")
    else:
        where = f" in step {len(result.steps)}: {result.steps[-1]['title']}" if result.steps else ""
        head = f"✗ {result.status.value}{where}"
        tell_always(f"\n  {head}  [{result.scenario.name}, {result.mode}]")
        first, _, evidence = result.reason.partition("\n")
        tell_always(textwrap.fill(first, WIDTH, initial_indent="    ", subsequent_indent="      "))
        if evidence:
            tell_always(textwrap.indent(evidence, "    "))


def _print(line: str) -> None:
    print(line, flush=True)


def _ignore(line: str) -> None:
    pass


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
    rows = [(r.scenario.name, r.mode, r.status.value, f"{r.seconds:.2f} s", r.why) for r in results]
    print("\n" + table(("SCENARIO", "PROXY", "RESULT", "TIME", "WHY"), rows))
    for each in results:
        if each.evidence:
            print(f"evidence: {each.evidence} (testbed report {each.evidence})")
    counts = {status: sum(r.status is status for r in results) for status in Status}
    failed = counts[Status.FAILED] + counts[Status.ERROR]
    took = sum(r.seconds for r in results)
    told = f"{counts[Status.PASSED]} passed, {failed} failed, {counts[Status.SKIPPED]} skipped"
    print(f"\n{told} in {took:.0f} s")
