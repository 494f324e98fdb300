"""`testbed probe`: send one flow through a running lab and show the path it took."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "probe",
        description="Send one real exchange and follow it through every namespace of the lab.",
        epilog="FROM and TO: client, pod/NAME, node/NAME, svc/NAME[:PORT], ADDRESS:PORT.",
    )
    parser.add_argument("source", metavar="FROM")
    parser.add_argument("target", metavar="TO")
    parser.add_argument("--port", default="", help="port of TO: a number or a Service port's name")
    parser.add_argument("--protocol", default="tcp", choices=("tcp", "udp"))
    parser.add_argument("--family", default="", choices=("IPv4", "IPv6"), help="of TO's addresses")
    parser.add_argument("--http", metavar="PATH", help="make it an HTTP GET")
    parser.add_argument("--timeout", type=float, default=1.0, help="seconds to wait (1)")
    parser.add_argument("--json", action="store_true", help="the path as JSON")
    parser.add_argument("--pcap", metavar="FILE", help="keep the packets as pcapng")
    add_lab(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the path; exit code 1 where the exchange wasn't answered."""
    from testbed.flow import DELIVERED, path_from_json
    from testbed.report.text import render

    if not (math.isfinite(args.timeout) and args.timeout > 0):
        raise UsageError(f"--timeout {args.timeout}: a number of seconds above 0")
    text = daemon.ask(
        args.lab,
        "probe",
        source=args.source,
        target=args.target,
        port=args.port,
        protocol=args.protocol,
        family=args.family,
        http_path=args.http,
        timeout=args.timeout,
        pcap=str(Path(args.pcap).absolute()) if args.pcap else None,
    )
    path = path_from_json(text)
    print(text if args.json else render(path))
    return EXIT_OK if path.verdict.kind == DELIVERED else EXIT_CHECK_FAILED
