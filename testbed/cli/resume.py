"""`testbed resume`: take up a lab whose control plane was killed."""

from __future__ import annotations

import argparse
import time

from testbed import features
from testbed.cli import daemon, handlers
from testbed.cli.options import add_lab_or_name
from testbed.errors import EXIT_OK, UsageError
from testbed.naming import check_lab_name


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "resume",
        description="Start the control plane of a lab again whose process was killed. Namespaces, "
        "rules, connections and the Pods' programs go on; the kubeconfig stays valid.",
    )
    add_lab_or_name(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Take the lab up; progress line by line."""
    features.require_root()
    name = check_lab_name(args.lab)
    if name in daemon.running_labs():
        raise UsageError(f"lab {name!r} is running: there is nothing to resume")
    begin = time.perf_counter()

    def build(tell: daemon.Tell) -> daemon.Running:
        from testbed.cluster import Cluster

        return Cluster.resume(name, tell)

    for line in daemon.start_in_background(name, build, handlers.HANDLERS):
        print(f" ✓ {line}", flush=True)
    print(f"Lab {name!r} goes on ({time.perf_counter() - begin:.2f} s).", flush=True)
    return EXIT_OK
