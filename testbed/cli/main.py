"""`testbed`: finds the verb, imports only its module, and turns errors into one line and a code."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn, Protocol, cast

from testbed import __version__, shell
from testbed.errors import EXIT_CHECK_FAILED, EXIT_USAGE, TestbedError

#: verb → (module, what it does). A module has `add_parser(subparsers)` and `run(args) -> int`.
VERBS = {
    "run": ("testbed.cli.run", "run scenarios and show the packet paths they saw"),
    "up": ("testbed.cli.up", "start a lab and leave it running"),
    "resume": ("testbed.cli.resume", "take up a lab whose control plane was killed"),
    "down": ("testbed.cli.down", "end a lab"),
    "list": ("testbed.cli.list", "list the labs, or the parts of one"),
    "apply": ("testbed.cli.apply", "apply Kubernetes manifests to a lab"),
    "explain": ("testbed.cli.explain", "send one flow, show its path, compare with the promise"),
    "probe": ("testbed.cli.probe", "send one flow through a lab and show its path"),
    "resolve": ("testbed.cli.resolve", "look a DNS name up as a Pod or a machine does"),
    "impair": ("testbed.cli.impair", "break or slow down links, nodes and networks"),
    "kubectl": ("testbed.cli.kubectl", "run kubectl on a lab"),
    "env": ("testbed.cli.env", "print the shell settings that make kubectl use a lab"),
    "predict": ("testbed.cli.predict", "say what a Service promises for a flow, offline"),
    "capture": ("testbed.cli.capture", "record packets of a lab, live or into a file"),
    "sources": ("testbed.cli.sources", "measure which address a Pod sees, for every client"),
    "mutate": ("testbed.cli.mutate", "list the rules of a lab that no flow would miss"),
    "report": ("testbed.cli.report", "open an evidence bundle"),
    "proxy": ("testbed.cli.proxy", "render or explain kube-proxy's rules, offline"),
    "doctor": ("testbed.cli.doctor", "say what this machine can do and what it lacks"),
    "clean": ("testbed.cli.clean", "remove what labs have left behind"),
}


class Verb(Protocol):
    """A module of this room."""

    def add_parser(
        self, subparsers: argparse._SubParsersAction[argparse.ArgumentParser]
    ) -> argparse.ArgumentParser: ...

    def run(self, args: argparse.Namespace) -> int: ...


class OneLineParser(argparse.ArgumentParser):
    """Says what is wrong with the words in one line."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see: {self.prog} --help", file=sys.stderr)
        sys.exit(EXIT_USAGE)


def _overview() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:10} {summary}" for name, (_, summary) in VERBS.items())
    parser = argparse.ArgumentParser(
        prog="testbed",
        description="Kubernetes Service networking on real Linux network namespaces.",
        usage="testbed VERB [...]",
        epilog=f"verbs:\n{lines}\n\n`testbed VERB --help` tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"testbed {__version__}")
    return parser


def _load(verb: str) -> Verb:
    return cast(Verb, importlib.import_module(VERBS[verb][0]))


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; returns the exit code (see testbed.errors)."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = arguments[0] if arguments else ""
    if verb not in VERBS:
        if not verb:
            _overview().print_help(sys.stderr)
            return EXIT_USAGE
        if not verb.startswith("-"):
            print(f"testbed: unknown verb {verb!r}; one of: {', '.join(VERBS)}", file=sys.stderr)
            return EXIT_USAGE
        _overview().parse_args(arguments)
        return EXIT_USAGE
    parser: argparse.ArgumentParser = OneLineParser(prog="testbed")
    module = _load(verb)
    module.add_parser(parser.add_subparsers(dest="verb"))
    args = parser.parse_args(arguments)
    shell.use_system_programs()
    # A lab must be taken down whatever ends the command, a CI's SIGTERM or a closed terminal too.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        return module.run(args)
    except TestbedError as error:
        print(f"testbed {verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"testbed {verb}: interrupted", file=sys.stderr)
        return 128 + 2
    except BrokenPipeError:
        # The reader has seen enough (`| head`); nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CHECK_FAILED


if __name__ == "__main__":
    sys.exit(main())
