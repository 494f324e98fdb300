"""The state of the host's own network namespace, and what labs may have left on the machine."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from testbed.naming import LAB_VARIABLE

_COMMANDS = (
    ("ip", "-d", "link"),
    ("ip", "address"),
    ("ip", "rule"),
    ("ip", "-6", "rule"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
    ("iptables-save",),
    ("ip6tables-save",),
    ("nft", "list", "ruleset"),
)
#: Lines that change by themselves: times of addresses, dates in rule dumps.
_MOVING = ("valid_lft", "# Generated", "# Completed", "expires")


def host_state() -> dict[str, object]:
    """Links, addresses, rules, routes, firewall rules and net sysctls of the host's namespace."""
    state: dict[str, object] = {}
    for command in _COMMANDS:
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        state[" ".join(command)] = [
            line for line in output.splitlines() if not any(word in line for word in _MOVING)
        ]
    state["sysctls"] = _sysctls()
    return state


def _sysctls() -> dict[str, str]:
    found: dict[str, str] = {}
    for directory in ("ipv4", "ipv6", "netfilter", "bridge", "core"):
        for path in Path("/proc/sys/net", directory).rglob("*"):
            if path.is_file() and os.access(path, os.R_OK):
                try:
                    found[str(path)] = path.read_text()
                except OSError:
                    continue
    for counter in ("nf_conntrack_count", "mld_max_msf", "stable_secret"):
        found = {path: value for path, value in found.items() if not path.endswith(counter)}
    return found


def leftovers(runs: Path) -> list[str]:
    """Run directories, mounts, /run/netns entries and processes of the labs under `runs`."""
    found = [str(path) for path in runs.glob("*")] if runs.exists() else []
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [line for line in mounts if f" {runs}/" in line]
    for entry in Path("/run/netns").glob("*") if Path("/run/netns").exists() else ():
        if entry.is_symlink() and str(entry.readlink()).startswith(f"{runs}/"):
            found.append(str(entry))
    mark = f"TESTBED_RUN_DIR={runs}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if mark in environment and any(e.startswith(LAB_VARIABLE.encode()) for e in environment):
            found.append(f"process {process.name}")
    return found
