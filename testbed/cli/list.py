"""`testbed list`: the labs that run, or the parts of one."""

from __future__ import annotations

import argparse
import json
from typing import Any

from testbed.cli import daemon
from testbed.cli.options import add_lab_or_name
from testbed.cli.table import table
from testbed.errors import EXIT_OK, TestbedError


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("list", description="List the labs, or the parts of one.")
    add_lab_or_name(parser, "show this lab's namespaces and Services", default=None)
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print a table, or JSON."""
    if args.lab is None:
        labs, silent = _labs()
        if args.json:
            print(json.dumps(labs, indent=2))
        elif not labs and not silent:
            print("No lab is running; start one with `testbed up`.")
        else:
            rows = [
                (name, lab["topology"], lab["proxy"], str(len(lab["namespaces"])))
                for name, lab in labs.items()
            ]
            rows += [(name, "doesn't answer", "", "") for name in silent]
            print(table(("LAB", "TOPOLOGY", "PROXY", "NAMESPACES"), rows))
        return EXIT_OK
    lab = daemon.ask(args.lab, "list")
    if args.json:
        print(json.dumps(lab, indent=2))
        return EXIT_OK
    places = [
        (each["name"], each["role"], ", ".join(each["addresses"])) for each in lab["namespaces"]
    ]
    print(table(("NAMESPACE", "ROLE", "ADDRESSES"), places))
    services = [
        (each["name"], each["type"], each["addresses"], each["ports"]) for each in lab["services"]
    ]
    print()
    print(table(("SERVICE", "TYPE", "ADDRESSES", "PORTS"), services))
    for problem in lab["problems"]:
        print(f"\nproblem: {problem}")
    return EXIT_OK


def _labs() -> tuple[dict[str, Any], list[str]]:
    """What the running labs say of themselves, and the names of those that say nothing."""
    labs: dict[str, Any] = {}
    silent = []
    for name in daemon.running_labs():
        try:
            labs[name] = daemon.ask(name, "list")
        except TestbedError:
            silent.append(name)
    return labs, silent
