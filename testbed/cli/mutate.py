"""`testbed mutate`: the rules of a lab that no probe would miss."""

from __future__ import annotations

import argparse
import json
import sys

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_OK, UsageError

_TEXT = """\
List the rules of kube-proxy in a running lab that no flow meets: deleting one of them would go
unnoticed by every probe. The flows are those from a Pod on each node, from each node and from the
clients outside, to every address and port of every Service (NodePorts on every node, an unknown
port of each ClusterIP); each is sent and followed, --rounds times. A rule counts as met when it
matched a packet of such a flow or of its answer. Rules that only other circumstances need (another
backend chosen each time, invalid packets, martian addresses) are therefore listed, too: they are
what a scenario still has to be written for.
"""


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("mutate", description=_TEXT)
    parser.add_argument("--rounds", type=int, default=2, help="how often each flow is sent (2)")
    parser.add_argument("--json", action="store_true")
    add_lab(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the rules, a line each."""
    if args.rounds < 1:
        raise UsageError(f"--rounds {args.rounds}: at least 1")
    found = daemon.ask(
        args.lab, "mutate", lambda line: print(line, file=sys.stderr), rounds=args.rounds
    )
    if args.json:
        print(json.dumps(found, indent=1))
        return EXIT_OK
    for rule in found:
        words = f"\n    = {rule['meaning']}" if rule["meaning"] else ""
        place = f"{rule['node']} {rule['family']} {rule['table']} {rule['chain']}"
        print(f"{place}: {rule['text']}{words}")
    print(f"{len(found)} rules that no flow met")
    return EXIT_OK
