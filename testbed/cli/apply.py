"""`testbed apply`: apply Kubernetes manifests to a running lab."""

from __future__ import annotations

import argparse

from testbed.cli import daemon, handlers
from testbed.cli.options import add_lab
from testbed.errors import EXIT_OK


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "apply",
        description="Apply manifests and wait until every rule, Pod and endpoint has followed.",
    )
    parser.add_argument(
        "-f", "--filename", action="append", required=True, help="a manifest (- is stdin)"
    )
    parser.add_argument("--delete", action="store_true", help="delete what they name instead")
    add_lab(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print one line per object, in kubectl's words."""
    documents = handlers.read_manifests(args.filename)
    verb = "delete" if args.delete else "apply"
    told: list[str] = []

    def tell(line: str) -> None:
        print(line, flush=True)
        told.append(line)

    for line in daemon.ask(args.lab, verb, tell, documents=documents)[len(told) :]:
        print(line)
    return EXIT_OK
