"""`testbed explain`: one real flow, its path, what should have happened, and what differs."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_CHECK_FAILED, EXIT_OK, UsageError

_EPILOG = """\
FROM: client, pod/NAME, pod/NAMESPACE/NAME, node/NAME, an address of one of them.
TO: svc/NAME[:PORT], svc/NAMESPACE/NAME, NAME.NAMESPACE, pod/NAME:PORT, node/NAME:PORT,
  ADDRESS:PORT.

tcp and udp are real conversations; sctp and icmp are one crafted packet (INIT, echo request).
Exit code 1 where the packet, the rules on its way or the spread aren't what the Service promises.
"""


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "explain",
        description="Send one real flow through a running lab, show its path hop by hop, and "
        "compare it with what the Service promises.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("source", metavar="FROM")
    add("target", metavar="TO")
    add("--port", default="", help="port of TO: a number or a Service port's name")
    add("--protocol", default="", choices=("tcp", "udp", "sctp", "icmp"), type=str.lower)
    add("--family", default="", choices=("IPv4", "IPv6"), help="of TO's addresses")
    add("--http", metavar="PATH", help="make it an HTTP GET")
    add("--timeout", type=float, default=1.0, help="seconds to wait for an answer (1)")
    add(
        "--repeat",
        type=int,
        default=0,
        metavar="N",
        help="also make N unwatched exchanges: their spread over backends, chi-square p",
    )
    add("--all-rules", action="store_true", help="also the rules that were tried without a match")
    add("--json", action="store_true", help="everything as JSON")
    add("--html", metavar="FILE", help="write the picture page")
    add("--pcapng", metavar="FILE", help="keep the packets, with comments")
    add("--bundle", metavar="FILE", help="keep all evidence as a zip: `testbed report` opens it")
    add_lab(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Print path and comparison; exit code 1 where they differ."""
    if not (math.isfinite(args.timeout) and args.timeout > 0):
        raise UsageError(f"--timeout {args.timeout}: a number of seconds above 0")
    if args.repeat < 0:
        raise UsageError(f"--repeat {args.repeat}: a number of exchanges")
    files = {
        kind: str(Path(name).absolute())
        for kind in ("html", "pcapng", "bundle")
        if (name := getattr(args, kind))
    }
    answer = daemon.ask(
        args.lab,
        "explain",
        source=args.source,
        target=args.target,
        port=args.port,
        protocol=args.protocol,
        family=args.family,
        repeat=args.repeat,
        all_rules=args.all_rules,
        files=files,
        request={"timeout": args.timeout, "http_path": args.http},
    )
    if args.json:
        print(json.dumps(answer["json"], indent=2))
    else:
        print(answer["text"], end="")
        for kind, name in files.items():
            print(f"{kind}: {name}")
    return EXIT_OK if answer["agrees"] else EXIT_CHECK_FAILED
