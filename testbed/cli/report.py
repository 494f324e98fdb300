"""`testbed report`: open an evidence bundle, anywhere, without root and without a lab."""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.errors import EXIT_OK


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "report",
        description="Show the path in an evidence bundle (made by `testbed explain --bundle`).",
    )
    parser.add_argument("bundle", metavar="BUNDLE.zip", type=Path)
    parser.add_argument("--all-rules", action="store_true", help="also rules that didn't match")
    parser.add_argument("--json", action="store_true", help="the path as JSON")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write the picture page")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the path and the expectation; raises UsageError for what is no bundle."""
    from testbed.flow import path_to_json
    from testbed.report import bundle, html, text

    path = bundle.read_path(args.bundle)
    expected = bundle.read_text(args.bundle, "expected.txt")
    if args.html:
        args.html.write_text(html.render(path, expected=expected))
    if args.json:
        print(path_to_json(path, indent=1))
        return EXIT_OK
    print(text.render(path, all_rules=args.all_rules), end="")
    if expected:
        print(f"\nexpected: {expected}", end="")
    return EXIT_OK
