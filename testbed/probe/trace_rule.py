"""The netlink messages of the trace table: only packets with the probe's fingerprint get traced.

The table is ours (`testbed-trace`) and owned by the socket that made it: the kernel removes it
with that socket, also after kill -9. Its chains come before connection tracking and the raw table,
accept everything and use no conntrack expression, so the path stays what it was.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from testbed import netlink as nl
from testbed.flow.fingerprint import Check, Fingerprint, Pattern

#: A second probe at the same time adds its socket's number to the name.
TABLE = "testbed-trace"
FAMILIES = {4: 2, 6: 10}  # NFPROTO_IPV4, NFPROTO_IPV6

NFNL_SUBSYS_NFTABLES = 10
NFNL_MSG_BATCH_BEGIN = 16
NFNL_MSG_BATCH_END = 17
NFT_MSG_NEWTABLE = 0
NFT_MSG_DELTABLE = 2
NFT_MSG_NEWCHAIN = 3
NFT_MSG_NEWRULE = 6
NFT_MSG_NEWSET = 9

_TABLE_F_OWNER = 0x2
_SET_EVAL = 0x20
_SET_NAME = "sent"
#: After conntrack's defragmentation (-400), before the raw table (-300) and conntrack (-200).
_BEFORE_RAW = -350
#: After the last source NAT (100).
_AFTER_NAT = 300
_HOOKS = {"prerouting": 0, "input": 1, "output": 3, "postrouting": 4}
_NETWORK_HEADER = 1
_TRANSPORT_HEADER = 2
_META_L4PROTO = 16
_META_NFTRACE = 12
_CMP_EQ, _CMP_LTE, _CMP_GTE = 0, 3, 5
#: The 4-byte registers, for concatenated keys.
_REGISTER_32 = 8
#: Offset and length of source and destination address in the network header.
_ADDRESSES = {4: ((12, 4), (16, 4)), 6: ((8, 16), (24, 16))}
_PORTS = ((0, 2), (2, 2))

Message = tuple[int, int, bytes]


def install(fingerprint: Fingerprint, table: str = TABLE) -> bytes:
    """One transaction that makes the table, ready to send."""
    return transaction(_Builder(fingerprint, table).messages())


def remove(family: int, table: str = TABLE) -> bytes:
    """One transaction that removes the table of `family` (4 or 6)."""
    return transaction([_message(NFT_MSG_DELTABLE, 0, FAMILIES[family], nl.text(1, table))])


def transaction(messages: Iterable[Message]) -> bytes:
    """`messages` between a begin and an end; the last one's acknowledgement speaks for all."""
    begin = struct.pack(">BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
    parts = [nl.message(NFNL_MSG_BATCH_BEGIN, nl.NLM_F_REQUEST, begin, 1)]
    listed = list(messages)
    for number, (kind, flags, payload) in enumerate(listed):
        ack = nl.NLM_F_ACK if number == len(listed) - 1 else 0
        parts.append(nl.message(kind, nl.NLM_F_REQUEST | flags | ack, payload, 2 + number))
    parts.append(nl.message(NFNL_MSG_BATCH_END, nl.NLM_F_REQUEST, begin, 2 + len(listed)))
    return b"".join(parts)


def _message(kind: int, flags: int, family: int, *attributes: bytes) -> Message:
    header = struct.pack(">BBH", family, 0, 0)
    return NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + b"".join(attributes)


class _Builder:
    """The messages of one trace table."""

    def __init__(self, fingerprint: Fingerprint, table: str) -> None:
        self._fingerprint = fingerprint
        self._family = FAMILIES[fingerprint.family]
        self._table = nl.text(1, table)

    def messages(self) -> list[Message]:
        learn = self._fingerprint.learn
        fresh = nl.NLM_F_CREATE | nl.NLM_F_EXCL
        made = [self._make(NFT_MSG_NEWTABLE, fresh, nl.be32(2, _TABLE_F_OWNER))]
        if learn:
            made.append(self._set())
        hooks = ["prerouting", "output", *(("input", "postrouting") if learn else ())]
        made += [self._chain(hook) for hook in hooks]
        for hook in hooks:
            trace = hook in ("prerouting", "output")
            made += [
                self._rule(hook, expressions) for expressions in _rules(self._fingerprint, trace)
            ]
        return made

    def _make(self, kind: int, flags: int, *attributes: bytes) -> Message:
        return _message(kind, flags, self._family, self._table, *attributes)

    def _chain(self, hook: str) -> Message:
        priority = _BEFORE_RAW if hook in ("prerouting", "output") else _AFTER_NAT
        number = nl.be32(1, _HOOKS[hook])
        place = nl.nested(4, number, nl.attribute(2, struct.pack(">i", priority)))
        name, kind = nl.text(3, hook), nl.text(7, "filter")
        return self._make(NFT_MSG_NEWCHAIN, nl.NLM_F_CREATE, name, place, kind)

    def _set(self) -> Message:
        """The tuples that went forward: destination, source, destination port, source port."""
        size = 2 * {4: 4, 6: 16}[self._fingerprint.family] + 8
        address = {4: 7, 6: 8}[self._fingerprint.family]
        key_type = ((address << 6 | address) << 6 | 13) << 6 | 13
        return self._make(
            NFT_MSG_NEWSET,
            nl.NLM_F_CREATE,
            nl.text(2, _SET_NAME),
            nl.be32(3, _SET_EVAL),
            nl.be32(4, key_type),
            nl.be32(5, size),
            nl.be32(10, 1),
            nl.nested(9, nl.be32(1, 4096)),
        )

    def _rule(self, chain: str, expressions: list[bytes]) -> Message:
        flags = nl.NLM_F_CREATE | nl.NLM_F_APPEND
        return self._make(NFT_MSG_NEWRULE, flags, nl.text(2, chain), nl.nested(4, *expressions))


def _rules(fingerprint: Fingerprint, trace: bool) -> list[list[bytes]]:
    """The rules of one chain. `trace` is False where only tuples are learned."""
    rules = []
    learn = fingerprint.learn
    for pattern in fingerprint.patterns:
        expressions = _matches(pattern)
        if learn and pattern.direction == "forward":
            expressions += _remember(fingerprint.family)
        if trace:
            expressions += _trace()
        if trace or (learn and pattern.direction == "forward"):
            rules.append(expressions)
    if learn and trace:
        protocol = fingerprint.flow.protocol_number
        rules.append([*_protocol(protocol), *_recall(fingerprint.family), *_trace()])
    return rules


def _expression(name: str, *attributes: bytes) -> bytes:
    return nl.nested(1, nl.text(1, name), nl.nested(2, *attributes))


def _compare(operation: int, value: bytes) -> bytes:
    return _expression(
        "cmp", nl.be32(1, 1), nl.be32(2, operation), nl.nested(3, nl.attribute(1, value))
    )


def _protocol(number: int) -> list[bytes]:
    load = _expression("meta", nl.be32(2, _META_L4PROTO), nl.be32(1, 1))
    return [load, _compare(_CMP_EQ, bytes((number,)))]


def _load(base: int, offset: int, length: int, register: int) -> bytes:
    return _expression(
        "payload", nl.be32(1, register), nl.be32(2, base), nl.be32(3, offset), nl.be32(4, length)
    )


def _matches(pattern: Pattern) -> list[bytes]:
    expressions = _protocol(pattern.protocol)
    for check in pattern.checks:
        expressions += _check(check)
    return expressions


def _check(check: Check) -> list[bytes]:
    load = _load(_TRANSPORT_HEADER, check.offset, len(check.low), 1)
    if check.low == check.high:
        return [load, _compare(_CMP_EQ, check.low)]
    return [load, _compare(_CMP_GTE, check.low), _compare(_CMP_LTE, check.high)]


def _trace() -> list[bytes]:
    one = _expression("immediate", nl.be32(1, 1), nl.nested(2, nl.attribute(1, b"\x01")))
    return [one, _expression("meta", nl.be32(2, _META_NFTRACE), nl.be32(3, 1))]


def _key(family: int, *, swapped: bool) -> list[bytes]:
    """Load both addresses and ports: destination first as sent, source first for an answer."""
    addresses, ports = _ADDRESSES[family], _PORTS
    order = (0, 1) if swapped else (1, 0)
    register, loads = _REGISTER_32, []
    for base, fields in ((_NETWORK_HEADER, addresses), (_TRANSPORT_HEADER, ports)):
        for which in order:
            offset, length = fields[which]
            loads.append(_load(base, offset, length, register))
            register += (length + 3) // 4
    return loads


def _remember(family: int) -> list[bytes]:
    return [
        *_key(family, swapped=False),
        _expression(
            "dynset", nl.text(1, _SET_NAME), nl.be32(3, 0), nl.be32(4, _REGISTER_32), nl.be32(2, 1)
        ),
    ]


def _recall(family: int) -> list[bytes]:
    return [
        *_key(family, swapped=True),
        _expression("lookup", nl.text(1, _SET_NAME), nl.be32(2, _REGISTER_32)),
    ]
