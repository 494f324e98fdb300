"""`testbed report`: open an evidence bundle anywhere, without root and without a lab."""

from __future__ import annotations

import argparse
from pathlib import Path

from testbed.cli.table import table
from testbed.errors import EXIT_OK, UsageError


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "report",
        description="Show what an evidence bundle holds: what failed, the path, the rules it met.",
        epilog="Bundles come from scenarios that fail and from `testbed explain --bundle FILE`.",
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE.zip")
    parser.add_argument("--all-rules", action="store_true", help="also rules tried without a match")
    parser.add_argument("--json", action="store_true", help="the path as JSON")
    parser.add_argument("--list", action="store_true", help="list its files instead")
    parser.add_argument("--show", metavar="NAME", help="print one of its files instead")
    parser.add_argument(
        "--html", type=Path, nargs="?", const=Path(), metavar="FILE",
        help="write the page with the pictures (to BUNDLE.html)",
    )  # fmt: skip
    parser.add_argument("--extract", type=Path, metavar="DIR", help="unpack everything into DIR")
    return parser


def run(args: argparse.Namespace) -> int:
    """Print the report, or what was asked for instead."""
    from testbed.flow import path_to_json
    from testbed.report import bundle, html, text

    if args.json:
        print(path_to_json(bundle.read_path(args.bundle), indent=1))
        return EXIT_OK
    if args.list:
        rows = [(name, f"{size:,}", what) for name, size, what in bundle.contents(args.bundle)]
        print(table(("FILE", "BYTES", "WHAT IT IS"), rows))
        return EXIT_OK
    if args.show:
        print(bundle.read_file(args.bundle, args.show).decode(errors="replace"), end="")
        return EXIT_OK
    if args.extract:
        print(f"{bundle.extract(args.bundle, args.extract)} files in {args.extract}")
        return EXIT_OK
    read = bundle.read(args.bundle)
    if args.html is not None:
        if read.path is None:
            raise UsageError(f"{args.bundle} holds no path: nothing was sent before it failed")
        file = args.bundle.with_suffix(".html") if args.html == Path() else args.html
        _write(
            file,
            html.render(
                read.path, expected=read.expected, difference=read.reason, places=read.places
            ),
        )
        print(file)
        return EXIT_OK
    for title, words in (("what failed", read.reason), ("expected", read.expected)):
        if words:
            print(f"{title}: {words.strip()}\n")
    if read.path is not None:
        print(text.render(read.path, all_rules=args.all_rules))
    if read.verdict:
        print(f"compared: {read.verdict}\n")
    print("\n".join(f"{name}: {version}" for name, version in sorted(read.versions.items())))
    return EXIT_OK


def _write(file: Path, page: str) -> None:
    try:
        file.write_text(page)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
