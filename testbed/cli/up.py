"""`testbed up`: start a lab and leave it running in the background."""

from __future__ import annotations

import argparse
import sys
import time

from testbed import features
from testbed.cli import daemon, handlers
from testbed.cli.options import add_lab, add_lab_settings, lab_settings
from testbed.errors import EXIT_OK, UsageError
from testbed.lab.record import is_orphaned
from testbed.naming import check_lab_name


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "up", description="Start a lab and leave it running; `testbed down` ends it."
    )
    parser.add_argument(
        "topology", nargs="?", default="three_nodes", help="a name or a .py file (three_nodes)"
    )
    parser.add_argument(
        "-f", "--filename", action="append", default=[], help="apply these manifests (- is stdin)"
    )
    parser.add_argument(
        "--from",
        dest="objects",
        action="append",
        default=[],
        metavar="FILE",
        help="a twin of a real cluster, instead of a topology: the nodes, Pods and Services of a "
        "dump (kubectl get ns,svc,endpointslices,nodes,pods,servicecidrs -A -o yaml) at their "
        "recorded addresses; what can't be built is named",
    )
    parser.add_argument("--no-dns", action="store_true", help="leave cluster DNS out")
    parser.add_argument(
        "--dns-command", default="", metavar="COREDNS", help="a CoreDNS binary that serves instead"
    )
    parser.add_argument("--ingress", action="store_true", help="run an Ingress controller (nginx)")
    add_lab(parser)
    add_lab_settings(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Start the lab; progress line by line, then how to use it."""
    features.require_root()
    name = check_lab_name(args.lab)
    if name in daemon.running_labs():
        raise UsageError(f"lab {name!r} is running already; end it with: testbed down --lab {name}")
    if is_orphaned(name):
        raise UsageError(
            f"lab {name!r} stands, but its control plane has died: "
            f"testbed resume --lab {name} takes it up again, testbed clean --lab {name} removes it"
        )
    recorded = handlers.read_manifests(args.objects)
    names = {
        "dns": not args.no_dns and not recorded,
        "dns_command": args.dns_command,
        "ingress": args.ingress,
    }
    settings = {**lab_settings(args), **names, "api": True, "keep": not recorded}
    manifests = handlers.read_manifests(args.filename)
    begin = time.perf_counter()

    def build(tell: daemon.Tell) -> daemon.Running:
        from testbed.cluster import Cluster

        twin = recorded or None
        cluster = Cluster(args.topology, from_objects=twin, name=name, tell=tell, **settings)
        try:
            if manifests:
                for line in cluster.apply(manifests):
                    tell(line)
        except BaseException:
            cluster.close()
            raise
        return cluster

    for line in daemon.start_in_background(name, build, handlers.HANDLERS):
        print(f" ✓ {line}", flush=True)
    took = time.perf_counter() - begin
    lab = "" if name == "lab" else f" --lab {name}"
    print(f"Lab {name!r} runs ({took:.2f} s). Try: testbed probe{lab} client node/w1:30007")
    sys.stdout.flush()
    return EXIT_OK
