"""`eval "$(testbed env)"`: make kubectl in this shell use a lab."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_OK, UsageError
from testbed.naming import check_lab_name, run_directory


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "env", description='Print shell settings; use them with: eval "$(testbed env)"'
    )
    add_lab(parser)
    return parser


def kubeconfig_of(lab: str) -> Path:
    """The kubeconfig of a running lab; raises UsageError where there is none."""
    if lab not in daemon.running_labs():
        daemon.ask(lab, "list")
    path = run_directory(check_lab_name(lab)) / "kubeconfig"
    if not path.exists():
        raise UsageError(f"lab {lab!r} has no API server")
    return path


def run(args: argparse.Namespace) -> int:
    """Print export lines."""
    print(f"export KUBECONFIG={shlex.quote(str(kubeconfig_of(args.lab)))}")
    return EXIT_OK
