"""Errors a user sees, each as one line, and the exit codes they end a command with."""

from __future__ import annotations

EXIT_OK = 0
EXIT_CHECK_FAILED = 1
EXIT_USAGE = 2
EXIT_CANNOT_RUN = 3


class TestbedError(Exception):
    """Base of the errors that are the user's to read: what, where, what to do, in one line."""

    __test__ = False  # pytest must not collect it
    exit_code = EXIT_CHECK_FAILED


class CheckFailedError(TestbedError):
    """What a Service promises and what the packets did differ."""


class UsageError(TestbedError):
    """Nothing to check, or the input is wrong: a missing file, a bad manifest, an unknown name."""

    exit_code = EXIT_USAGE


class CannotRunError(TestbedError):
    """The environment can't run it: no root, a missing tool, a kernel feature that isn't there."""

    exit_code = EXIT_CANNOT_RUN
