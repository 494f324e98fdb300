"""Names and marks: a lab's name, its run directory, how its parts are found again."""

from __future__ import annotations

import os
import re
from pathlib import Path

from testbed.errors import UsageError

DEFAULT_LAB = "lab"
#: Every process that a lab starts carries this variable with the lab's name, so `clean` finds it.
LAB_VARIABLE = "TESTBED_LAB"
#: Longest lab name: `<lab>-<node>` must stay readable as an entry of /run/netns.
LAB_NAME_LIMIT = 32
#: Longest path of a lab's run directory, bytes: a socket's has 107, with its name (unix(7)).
RUN_DIRECTORY_LIMIT = 107 - len("/keeper.sock")

_LAB_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def run_root() -> Path:
    """The directory that holds one run directory per lab (`TESTBED_RUN_DIR`, or /run/testbed)."""
    return Path(os.environ.get("TESTBED_RUN_DIR", "/run/testbed"))


def run_directory(lab: str) -> Path:
    """Where lab `lab` keeps its sockets, logs and store; UsageError where its path is too long."""
    directory = run_root() / check_lab_name(lab)
    if len(os.fsencode(directory)) > RUN_DIRECTORY_LIMIT:
        raise UsageError(
            f"{directory}: too long a path for the sockets in it, {RUN_DIRECTORY_LIMIT} bytes at "
            "most; choose a shorter TESTBED_RUN_DIR"
        )
    return directory


def check_lab_name(lab: str) -> str:
    """Return `lab` if it is a usable lab name; raise UsageError otherwise."""
    if len(lab) > LAB_NAME_LIMIT or not _LAB_NAME.fullmatch(lab):
        raise UsageError(
            f"lab name {lab!r}: use lower case letters, digits and '-', "
            f"{LAB_NAME_LIMIT} characters at most"
        )
    return lab
