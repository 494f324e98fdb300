"""`testbed capture`: live packets of a running lab, into a file or a pipe."""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import secrets
import shlex
import shutil
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from testbed.cli import daemon
from testbed.cli.options import add_lab
from testbed.errors import EXIT_CHECK_FAILED, EXIT_OK, TestbedError, UsageError
from testbed.naming import DEFAULT_LAB

_CHUNK = 1 << 16


def add_parser(
    subparsers: argparse._SubParsersAction[argparse.ArgumentParser],
) -> argparse.ArgumentParser:
    parser = subparsers.add_parser(
        "capture",
        description="Record packets on interfaces of a running lab as one pcapng, an interface "
        "block for each (w1/w1-eth0), until interrupted. Packets that the kernel had no room for "
        "are reported at the end, and make the exit code 1.",
        epilog="Live: testbed capture --all -w - | wireshark -k -i -",
    )
    add = parser.add_argument
    add(
        "-i",
        "--interface",
        action="append",
        default=[],
        metavar="NAMESPACE/INTERFACE",
        help="only this interface; may be repeated",
    )
    add("--all", action="store_true", help="every interface of every namespace")
    add("--filter", default="", metavar="EXPRESSION", help="as tcpdump's: 'tcp port 80'")
    add("-w", "--write", metavar="FILE", help="where to; - is standard output")
    add("--seconds", type=float, default=0.0, metavar="S", help="stop after S seconds")
    add_lab(parser)
    return parser


def run(args: argparse.Namespace) -> int:
    """Capture until interrupted; without -w say how to see it live."""
    if bool(args.interface) == args.all:
        raise UsageError("capture: say which interfaces with -i NAMESPACE/INTERFACE, or --all")
    if not (math.isfinite(args.seconds) and args.seconds >= 0):
        raise UsageError(f"--seconds {args.seconds}: a number of seconds, not below 0")
    command = wireshark_command(args)
    if args.write is None or (args.write == "-" and sys.stdout.isatty()):
        print(f"live in Wireshark: {command}\ninto a file: -w FILE.pcapng", file=sys.stderr)
        return EXIT_OK
    with _output(args.write) as stream, tempfile.TemporaryDirectory() as directory:
        pipe = Path(directory, "pcapng")
        os.mkfifo(pipe, 0o600)
        found = _record(args, pipe, stream)
    print(f"{found['written']} packets", file=sys.stderr)
    for name, number in found["dropped"].items():
        print(f"{name}: the kernel had no room for {number} packets", file=sys.stderr)
    return EXIT_CHECK_FAILED if found["dropped"] else EXIT_OK


def wireshark_command(args: argparse.Namespace) -> str:
    """The shell line that shows these packets live."""
    words = ["sudo", "testbed", "capture"]
    words += [word for name in args.interface for word in ("-i", name)] or ["--all"]
    words += ["--filter", args.filter] if args.filter else []
    words += ["--lab", args.lab] if args.lab != DEFAULT_LAB else []
    return f"{shlex.join([*words, '-w', '-'])} | wireshark -k -i -"


@contextlib.contextmanager
def _output(name: str) -> Iterator[BinaryIO]:
    """Where to write; a file keeps what it holds until `_fill` has something for it."""
    if name == "-":
        yield sys.stdout.buffer
        return
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
    except OSError as error:
        raise UsageError(f"{name}: {error.strerror}") from None


def _fill(source: io.RawIOBase, stream: BinaryIO, *, own: bool) -> None:
    """Copy to the end; what the file held before (`own`) goes when the first bytes come."""
    first = source.read(_CHUNK) or b""
    if first and own and stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
        stream.truncate(0)
    stream.write(first)
    shutil.copyfileobj(source, stream, _CHUNK)
    stream.flush()


def _record(args: argparse.Namespace, pipe: Path, stream: BinaryIO) -> dict[str, Any]:
    """Have the lab write into `pipe`, hand it on to `stream`; stop at a signal or a deadline."""
    key = secrets.token_hex(8)
    result: dict[str, Any] = {}
    failure: list[TestbedError] = []

    def work() -> None:
        try:
            result.update(
                daemon.ask(
                    args.lab,
                    "capture",
                    key=key,
                    pipe=str(pipe),
                    interfaces=args.interface,
                    filter=args.filter,
                )
            )
        except TestbedError as error:
            failure.append(error)

    def stop() -> None:
        with contextlib.suppress(TestbedError):
            daemon.ask(args.lab, "capture_stop", key=key)

    def let_go() -> None:
        thread.join()
        os.close(keeper)

    stopping = [
        signal.signal(each, lambda *_: threading.Thread(target=stop, daemon=True).start())
        for each in (signal.SIGINT, signal.SIGTERM)
    ]
    thread = threading.Thread(target=work, daemon=True)
    timer = threading.Timer(args.seconds, stop) if args.seconds else None
    reading = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    keeper = os.open(pipe, os.O_WRONLY)  # until the lab has opened its end
    thread.start()
    if timer is not None:
        timer.start()
    threading.Thread(target=let_go, daemon=True).start()
    try:
        with os.fdopen(reading, "rb", buffering=0) as source:
            _fill(source, stream, own=args.write != "-")
    finally:
        for each, before in zip((signal.SIGINT, signal.SIGTERM), stopping, strict=True):
            signal.signal(each, before)
    thread.join()
    if failure:
        raise failure[0]
    return result
