"""What is in nf_tables now: tables, chains, rules and elements, as far as a sync needs them."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from testbed.netlink import (
    NLM_F_DUMP,
    NetlinkError,
    NetlinkSocket,
    attributes,
    is_gone,
    iterate_attributes,
    string,
    text,
)
from testbed.proxy.kernel.messages import (
    FAMILIES,
    GETCHAIN,
    GETELEMENT,
    GETGENERATION,
    GETRULE,
    GETSET,
    GETTABLE,
)


class ChainState(NamedTuple):
    """A chain as dumped: `uses` counts its rules and the jumps to it, whoever made them."""

    table: str
    name: str
    uses: int
    base: bool


class RuleState(NamedTuple):
    """A rule as dumped; `expressions` are comparable with `canonical` of an encoded rule."""

    handle: int
    expressions: tuple[tuple[str, bytes], ...]


def generation(netlink: NetlinkSocket) -> int:
    """The ruleset's generation: another number after every commit in the namespace, by anyone."""
    answer = netlink.request(GETGENERATION, 0, bytes(4))[0]
    return int.from_bytes(attributes(answer.payload, 4)[1], "big")


def tables(netlink: NetlinkSocket, family: str) -> dict[str, int]:
    """The family's tables: name to handle. One that is made again has another handle."""
    answers = netlink.request(GETTABLE, NLM_F_DUMP, _header(family))
    held = [attributes(answer.payload, 4) for answer in answers]
    return {string(table[1]): int.from_bytes(table[4], "big") for table in held}


def chains(netlink: NetlinkSocket, family: str) -> list[ChainState]:
    """Every chain of the family, in all tables."""
    found = []
    for answer in netlink.request(GETCHAIN, NLM_F_DUMP, _header(family)):
        held = attributes(answer.payload, 4)
        found.append(
            ChainState(string(held[1]), string(held[3]), int.from_bytes(held[6], "big"), 4 in held)
        )
    return found


def sets(netlink: NetlinkSocket, family: str, table: str) -> dict[str, dict[int, bytes]]:
    """The table's sets and maps with their attributes (NFTA_SET_*), anonymous ones included."""
    found = {}
    for answer in netlink.request(GETSET, NLM_F_DUMP, _header(family) + text(1, table)):
        held = attributes(answer.payload, 4)
        if string(held[1]) == table:
            found[string(held[2])] = {kind: bytes(body) for kind, body in held.items()}
    return found


def userdata(netlink: NetlinkSocket, family: str, table: str) -> dict[str, list[bytes]]:
    """The user data of every rule of the table, by chain, in order; b"" where it has none."""
    found: dict[str, list[bytes]] = {}
    for answer in netlink.request(GETRULE, NLM_F_DUMP, _header(family) + text(1, table)):
        held = attributes(answer.payload, 4)
        found.setdefault(string(held[2]), []).append(bytes(held[7]) if 7 in held else b"")
    return found


def everything(netlink: NetlinkSocket) -> frozenset[tuple[int, str, int]]:
    """Every rule in the namespace: (family's number, table, handle); rewritten, it is another."""
    found = set()
    for answer in netlink.request(GETRULE, NLM_F_DUMP, bytes(4)):
        held = attributes(answer.payload, 4)
        found.add((answer.payload[0], string(held[1]), _handle(held)))
    return frozenset(found)


def table_handles(netlink: NetlinkSocket, family: str, table: str) -> set[int]:
    """The handles of all rules of a table; none is given twice while the table lives."""
    answers = netlink.request(GETRULE, NLM_F_DUMP, _header(family) + text(1, table))
    return {_handle(attributes(answer.payload, 4)) for answer in answers}


def handles(netlink: NetlinkSocket, family: str, table: str, chain: str) -> list[int]:
    """The handles of a chain's rules, in order; none where the chain isn't there."""
    return [_handle(held) for held in _rules(netlink, family, table, chain)]


def rules(netlink: NetlinkSocket, family: str, table: str, chain: str) -> list[RuleState]:
    """A chain's rules with their expressions; none where the chain isn't there."""
    return [
        RuleState(_handle(held), canonical(held[4]))
        for held in _rules(netlink, family, table, chain)
    ]


def elements(netlink: NetlinkSocket, family: str, table: str, name: str) -> list[memoryview]:
    """The packed elements of a set or map (attributes of NFTA_LIST_ELEM)."""
    request = _header(family) + text(1, table) + text(2, name)
    found: list[memoryview] = []
    for answer in netlink.request(GETELEMENT, NLM_F_DUMP, request):
        held = attributes(answer.payload, 4)
        if 3 in held:
            found += [element for _, element in iterate_attributes(held[3])]
    return found


def canonical(expressions: bytes | memoryview) -> tuple[tuple[str, bytes], ...]:
    """Expressions in a form that is equal for what was sent and what is dumped.

    Counters count and handles of anonymous sets differ: they compare by name only.
    """
    found = []
    for _, element in iterate_attributes(expressions):
        held = attributes(element)
        name = string(held[1])
        plain = b"" if name == "counter" or 2 not in held else _plain(held[2])
        found.append((name, plain))
    return tuple(found)


def _plain(data: memoryview) -> bytes:
    """Attributes sorted by type and without the nesting flag, which the kernel's dump may lack."""
    parts = sorted((kind, bytes(body)) for kind, body in iterate_attributes(data))
    return b"".join(struct.pack("=HH", kind, len(body)) + body for kind, body in parts)


def _rules(
    netlink: NetlinkSocket, family: str, table: str, chain: str
) -> Iterator[dict[int, memoryview]]:
    request = _header(family) + text(1, table) + text(2, chain)
    try:
        answers = netlink.request(GETRULE, NLM_F_DUMP, request)
    except NetlinkError as error:
        if is_gone(error):
            return
        raise
    for answer in answers:
        yield attributes(answer.payload, 4)


def _handle(held: dict[int, memoryview]) -> int:
    return int.from_bytes(held[3], "big")


def _header(family: str) -> bytes:
    return struct.pack(">BBH", FAMILIES[family], 0, 0)
