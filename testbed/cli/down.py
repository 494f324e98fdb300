"""`testbed down`: end a lab."""

from __future__ import annotations

import argparse
import time

from testbed.cli import daemon
from testbed.cli.options import add_lab_or_name
from testbed.errors import EXIT_OK, TestbedError
from testbed.naming import run_directory

#: How long a lab may take to end, in seconds.
PATIENCE = 30.0


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser("down", description="End a lab; nothing of it remains.")
    add_lab_or_name(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Ask the lab to end and wait until it has."""
    daemon.ask(args.lab, "down")
    directory = run_directory(args.lab)
    deadline = time.monotonic() + PATIENCE
    while directory.exists():
        if time.monotonic() > deadline:
            raise TestbedError(
                f"lab {args.lab!r} doesn't end; end it by force: testbed clean --force"
            )
        time.sleep(0.005)
    print(f"Lab {args.lab!r} has ended.")
    return EXIT_OK
