"""`testbed sources`: which address a Pod sees, measured for every kind of client and Service."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed import features
from testbed.cli.table import table
from testbed.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from testbed.lab.sources import Row

_BALANCERS = ("nat", "nat-masquerade", "dsr", "proxy")
_HEAD = ("proxy", "client", "asks", "policy", "LB", "Pod saw", "which is", "SNAT by", "hops")


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "sources",
        description="Measure which address a Pod sees: client place x way in x "
        "externalTrafficPolicy x proxy mode x load balancer, each by one followed connection in a "
        "lab of its own. One Pod serves, on w1; w2 and w3 have none.",
    )
    add = parser.add_argument
    add("--proxy", choices=("iptables", "nftables"), help="only this proxy mode")
    add("--balancer", choices=_BALANCERS, help="only this kind of load balancer")
    add("--json", action="store_true")
    add("--html", metavar="FILE", type=Path, help="write a page")
    return parser


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    features.require_root()
    from testbed.lab.sources import BALANCERS, MODES, measure

    modes = (args.proxy,) if args.proxy else MODES
    balancers = (args.balancer,) if args.balancer else BALANCERS
    rows = measure(modes, balancers, lambda line: print(f" ✓ {line}", file=sys.stderr))
    if args.html:
        from testbed.report.matrix import render

        text = "Each row is one connection, followed through every namespace of a lab."
        page = render("Which address does the Pod see?", text, _HEAD, [cells(r) for r in rows])
        try:
            args.html.write_text(page)
        except OSError as error:
            raise UsageError(f"{args.html}: {error.strerror}") from None
    if args.json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
    elif not args.html:
        print(text_of(rows))
    return EXIT_OK


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table shows it."""
    return (
        row.proxy,
        row.client,
        row.door,
        row.policy,
        row.balancer,
        row.seen or row.verdict,
        row.who,
        ", ".join(row.snat),
        " → ".join(name.removeprefix("default.") for name in row.hops),
    )


def text_of(rows: Sequence[Row]) -> str:
    """One table for each proxy mode and load balancer, so that lines stay short."""
    groups: dict[str, list[tuple[str, ...]]] = {}
    for row in rows:
        title = f"{row.proxy} mode" + (f", load balancer {row.balancer}" if row.balancer else "")
        shown = cells(row)
        where = shown[2].replace("NodePort of ", "NodePort, ")
        groups.setdefault(title, []).append((shown[1], where, *shown[3:4], *shown[5:8]))
    head = ("CLIENT", "ASKS", "POLICY", "POD SAW", "WHICH IS", "SNAT BY")
    return "\n\n".join(f"{title}\n{table(head, lines)}" for title, lines in groups.items())
