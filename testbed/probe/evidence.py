"""What a namespace holds, as text for an evidence bundle: its rules and its conntrack entries."""

from __future__ import annotations

import platform
import socket
import struct
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from testbed import __version__, shell
from testbed import netlink as nl
from testbed.errors import TestbedError
from testbed.flow.paths import ConntrackEntry
from testbed.probe import conntrack
from testbed.probe.namespaces import Namespace

_DUMP = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_COMMANDS = (
    ("iptables-nft-save",),
    ("ip6tables-nft-save",),
    ("nft", "list", "ruleset"),
    ("ip", "addr"),
    ("ip", "route", "show", "table", "all"),
    ("ip", "-6", "route", "show", "table", "all"),
)
_PROGRAMS = (("nft", "--version"), ("iptables-nft", "--version"), ("ip", "-V"))


def rules_of(namespaces: Sequence[Namespace]) -> dict[str, str]:
    """Rules, addresses and routes of every namespace, as the system's own tools print them."""
    with ThreadPoolExecutor(4) as pool:
        texts = pool.map(_rules, namespaces)
        return {each.name: words for each, words in zip(namespaces, texts, strict=True)}


def _rules(namespace: Namespace) -> str:
    parts = []
    for argv in _COMMANDS:
        try:
            output = namespace.run(argv)
        except (TestbedError, OSError) as error:
            output = f"{error}\n"
        parts.append(f"# {' '.join(argv)}\n{output}")
    return "\n".join(parts)


def conntrack_of(namespaces: Sequence[Namespace]) -> dict[str, str]:
    """The conntrack entries of every namespace that has any, a line each."""
    found = {}
    for namespace in namespaces:
        lines = [_line(entry) for entry in entries(namespace)]
        if lines:
            found[namespace.name] = "\n".join(sorted(lines)) + "\n"
    return found


def entries(namespace: Namespace) -> list[ConntrackEntry]:
    """All conntrack entries of a namespace, both families."""
    link = namespace.netlink(nl.NETLINK_NETFILTER)
    try:
        header = struct.pack(">BBH", socket.AF_UNSPEC, 0, 0)
        answers = link.request(_DUMP, nl.NLM_F_DUMP, header)
        return [conntrack.parse_entry(each.payload) for each in answers]
    finally:
        link.close()


def _line(entry: ConntrackEntry) -> str:
    words = [entry.original.protocol, str(entry.original), f"answers {entry.reply}", entry.state]
    return " ".join([*(each for each in words if each), *entry.status, f"{entry.timeout} s"])


def versions() -> dict[str, str]:
    """The testbed, the kernel and the tools that made the evidence."""
    made = {
        "testbed": __version__,
        "kernel": platform.release(),
        "python": platform.python_version(),
    }
    for argv in _PROGRAMS:
        try:
            made[argv[0]] = shell.run(argv).strip()
        except (TestbedError, OSError) as error:
            made[argv[0]] = str(error)
    return made
