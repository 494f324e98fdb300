"""nfacct counters, which rules with `-m nfacct` need before they can be loaded."""

from __future__ import annotations

import errno
import re
import struct
from collections.abc import Iterable

from testbed.errors import CannotRunError
from testbed.netlink import NLM_F_CREATE, NLM_F_EXCL, NetlinkError, attribute
from testbed.proxy.kernel.transaction import Transactions

_NFACCT_NEW = 7 << 8


def counters_used(lines: Iterable[str]) -> set[str]:
    """Names of the nfacct counters that `lines` count into."""
    return {
        match.group(1)
        for line in lines
        if "nfacct" in line
        for match in [re.search(r"--nfacct-name\s+(\S+)", line)]
        if match
    }


def make_counter(door: Transactions, name: str) -> None:
    """Make nfacct counter `name` unless it is there; CannotRunError where the kernel has none."""
    header = struct.pack(">BBH", 0, 0, 0)
    try:
        door.netlink.request(_NFACCT_NEW, NLM_F_CREATE | NLM_F_EXCL, header + _new(name))
    except NetlinkError as error:
        if error.errno == errno.EEXIST:
            return
        raise CannotRunError(
            f"{door.namespace}: no nfacct counter {name}: {error.strerror}"
        ) from error


def _new(name: str) -> bytes:
    """The attributes of a new counter (linux/netfilter/nfnetlink_acct.h)."""
    return attribute(1, name.encode() + b"\0") + attribute(2, bytes(8)) + attribute(3, bytes(8))
