"""The tables and base chains that iptables-nft makes before its first rule."""

from __future__ import annotations

from collections.abc import Container, Iterator

from testbed.proxy.iptables.ruleset import BASE_CHAINS
from testbed.proxy.kernel.messages import Hook, Message, TableMessages

#: Priorities of iptables' base chains (linux/netfilter_ipv4.h); type is the table's, except where
#: mangle's OUTPUT may reroute.
_PRIORITIES = {
    ("mangle", ""): -150,
    ("filter", ""): 0,
    ("nat", "PREROUTING"): -100,
    ("nat", "INPUT"): 100,
    ("nat", "OUTPUT"): -100,
    ("nat", "POSTROUTING"): 100,
}


def missing_base_chains(
    messages: TableMessages, table: str, existing: Container[tuple[str, str]]
) -> Iterator[Message]:
    """The table, and those of its base chains that aren't among the `existing` (table, chain)."""
    yield messages.new_table()
    for chain in BASE_CHAINS[table]:
        if (table, chain) not in existing:
            kind = "route" if (table, chain) == ("mangle", "OUTPUT") else table
            kind = "filter" if kind == "mangle" else kind
            priority = _PRIORITIES.get((table, ""), 0) or _PRIORITIES.get((table, chain), 0)
            yield messages.new_chain(chain, Hook(kind, chain.lower(), priority))
