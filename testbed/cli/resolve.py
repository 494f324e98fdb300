"""`testbed resolve`: look a DNS name up as a Pod, a node or a client does."""

from __future__ import annotations

import argparse
import json

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_CHECK_FAILED, EXIT_OK


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "resolve",
        description="Look a name up with real queries, by the resolv.conf of who asks, and show "
        "every query that it took.",
    )
    parser.add_argument("source", metavar="FROM", help="pod/NAME, node/NAME, client …")
    parser.add_argument("name", metavar="NAME", help="a DNS name; a final dot keeps it as it is")
    parser.add_argument(
        "kind", metavar="TYPE", nargs="?", default="", help="A, AAAA, SRV, PTR … (A and AAAA)"
    )
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    add_lab(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the queries and the answer; exit code 1 where there is none."""
    found = daemon.ask(args.lab, "resolve", source=args.source, question=args.name, kind=args.kind)
    status = EXIT_CHECK_FAILED if found["problem"] else EXIT_OK
    if args.json:
        print(json.dumps(found, indent=2))
        return status
    for query in found["queries"]:
        print(query)
    print(f"{args.name}: {found['problem']}" if found["problem"] else _summary(args.name, found))
    return status


def _summary(name: str, found: dict[str, list[dict[str, str]]]) -> str:
    data = ", ".join(record["data"] for record in found["answers"])
    count = len(found["queries"])
    return f"{name}: {data} ({count} {'query' if count == 1 else 'queries'})"
