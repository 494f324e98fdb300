"""`testbed kubectl …`: the real kubectl, on a lab's API server."""

from __future__ import annotations

import argparse
import os
import sys

from testbed import shell
from testbed.cli.env import kubeconfig_of
from testbed.naming import DEFAULT_LAB


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "kubectl",
        add_help=False,
        prefix_chars="\0",
        description="Run kubectl on a lab: testbed kubectl [--lab NAME] ARGUMENTS…",
    )
    parser.add_argument("words", nargs=argparse.REMAINDER)
    return parser


def run(args: argparse.Namespace) -> int:
    """Become kubectl; returns only where it can't be started."""
    words = list(args.words)
    lab = DEFAULT_LAB
    if words[:1] == ["--lab"] and len(words) > 1:
        lab, words = words[1], words[2:]
    elif words and words[0].startswith("--lab="):
        lab, words = words[0].removeprefix("--lab="), words[1:]
    program = shell.find_program("kubectl", "kubectl (from the Kubernetes project)")
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig_of(lab))}
    sys.stdout.flush()
    os.execve(program, [program, *words], environment)
