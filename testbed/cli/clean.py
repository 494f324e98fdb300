"""`testbed clean`: remove what labs have left behind."""

from __future__ import annotations

import argparse

from testbed import features
from testbed.errors import EXIT_OK
from testbed.fabric.clean import clean
from testbed.naming import check_lab_name


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "clean",
        description="Remove every namespace, mount and process that dead labs have left behind. "
        "Running labs stay, unless --force names or includes them.",
    )
    parser.add_argument("--lab", metavar="NAME", help="only this lab")
    parser.add_argument("--force", action="store_true", help="end running labs too")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print what was removed, one line each."""
    features.require_root()
    lab = None if args.lab is None else check_lab_name(args.lab)
    removed = clean(lab, force=args.force)
    for line in removed:
        print(line)
    if not removed:
        print("Nothing to clean.")
    return EXIT_OK
