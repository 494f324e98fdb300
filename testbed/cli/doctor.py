"""`testbed doctor`: what this machine can do, and what it lacks."""

from __future__ import annotations

import argparse
import json
import platform

from testbed import features
from testbed.cli.table import table
from testbed.errors import EXIT_CANNOT_RUN, EXIT_OK


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "doctor", description="Probe, for real, every kernel feature and program the testbed uses."
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the findings; exit code 3 where something required is missing."""
    findings = features.examine()
    lacking = [f for f in findings if f.feature.required and not f.present]
    if args.json:
        values = [
            {"name": f.feature.name, "present": f.present, "problem": f.problem} for f in findings
        ]
        print(json.dumps(values, indent=2))
        return EXIT_CANNOT_RUN if lacking else EXIT_OK
    print(f"Linux {platform.release()}, Python {features.python_version()}\n")
    rows = [
        (
            f.feature.name,
            "yes" if f.present else "MISSING" if f.feature.required else "no",
            f.feature.purpose,
            f.problem,
        )
        for f in findings
    ]
    print(table(("FEATURE", "HERE", "FOR", "WHY NOT"), rows))
    absent = [f.feature.name for f in findings if not f.present]
    print()
    if lacking:
        print(f"Labs can't run here without: {', '.join(f.feature.name for f in lacking)}.")
        return EXIT_CANNOT_RUN
    print(
        "Labs run here."
        + (f" Skipped, with this reason: what needs {', '.join(absent)}." if absent else "")
    )
    return EXIT_OK
