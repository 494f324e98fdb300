"""`testbed impair`: break or slow down links, nodes and networks of a running lab."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_OK, UsageError

_DELAYS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RATES = {"bit": 1, "kbit": 10**3, "mbit": 10**6, "gbit": 10**9}


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "impair",
        description="Break or slow down parts of a lab's network.",
        epilog="PLACE: a node (w1), client, router, lb, pod/NAME. Directions are seen from PLACE.",
    )
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, words: str) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=words, description=words)
        add_lab(added)
        return added

    for name, words in (
        ("link", "take the links of a place down, or mend them"),
        ("node", "stop a node (links and kubelet), or start it again"),
    ):
        added = action(name, words)
        added.add_argument("place", metavar="PLACE")
        added.add_argument("state", choices=("down", "up"))
        if name == "link":
            _add_direction(added)
    added = action("partition", "let nothing pass between two groups of places")
    added.add_argument("one", metavar="PLACE[,PLACE…]")
    added.add_argument("other", metavar="PLACE[,PLACE…]")
    added.add_argument("--one-way", action="store_true", help="only from the first to the second")
    added = action("set", "delay, lose or slow down what passes the links of a place")
    added.add_argument("place", metavar="PLACE")
    added.add_argument("--delay", default="0ms", metavar="TIME", help="such as 50ms (needs netem)")
    added.add_argument("--loss", default="0%", metavar="SHARE", help="such as 10%%")
    added.add_argument("--rate", default="0bit", metavar="RATE", help="such as 10mbit")
    _add_direction(added)
    action("clear", "mend everything")
    return parser


def _add_direction(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--direction", default="both", choices=("in", "out", "both"), help="one way (both)"
    )


def run(args: argparse.Namespace) -> int:
    """Do it, and say what is impaired now."""
    arguments: dict[str, Any] = {"action": args.action}
    if args.action in ("link", "node", "set"):
        arguments["place"] = args.place
    if args.action in ("link", "node"):
        arguments |= {"down": args.state == "down", "direction": getattr(args, "direction", "")}
    if args.action == "partition":
        groups = {"one": args.one.split(","), "other": args.other.split(",")}
        arguments |= {**groups, "both_ways": not args.one_way}
    if args.action == "set":
        arguments |= {
            "delay": _number("--delay", args.delay, _DELAYS),
            "loss": _number("--loss", args.loss, {"%": 0.01}),
            "rate": round(_number("--rate", args.rate, _RATES)),
            "direction": args.direction,
        }
        if not (arguments["delay"] or arguments["loss"] or arguments["rate"]):
            raise UsageError("say what: --delay 50ms, --loss 10% or --rate 10mbit")
    places = daemon.ask(args.lab, "impair", **arguments)
    print(f"impaired: {', '.join(places)}" if places else "nothing is impaired")
    return EXIT_OK


def _number(option: str, text: str, units: Mapping[str, float]) -> float:
    """`10mbit` in the unit of `units`; raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z%]+)", text.lower())
    if match is None or match[2] not in units:
        raise UsageError(f"{option} {text}: a number and one of {', '.join(units)}")
    return float(match[1]) * units[match[2]]
