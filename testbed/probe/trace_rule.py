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


def install(fingerprint: Fingerprint) -> bytes:
    """One transaction that makes the table, ready to send."""
    family = FAMILIES[fingerprint.family]
    learn = fingerprint.learn
    messages: list[Message] = [
        _message(
            NFT_MSG_NEWTABLE, nl.NLM_F_CREATE | nl.NLM_F_EXCL, family, _named(1), _flags_owner()
        )
    ]
    if learn:
        messages.append(_set(fingerprint.family))
    hooks = ["prerouting", "output", *(("input", "postrouting") if learn else ())]
    messages += [_chain(family, hook) for hook in hooks]
    for hook in hooks:
        trace = hook in ("prerouting", "output")
        messages += [
            _rule(family, hook, expressions)
            for expressions in _rules(fingerprint, trace=trace, learn=learn)
        ]
    return transaction(messages)


def remove(family: int) -> bytes:
    """One transaction that removes the table of `family` (4 or 6)."""
    return transaction([_message(NFT_MSG_DELTABLE, 0, FAMILIES[family], _named(1))])


def transaction(messages: Iterable[Message]) -> bytes:
    """`messages` between a begin and an end; only the end's sequence (0) is acknowledged."""
    begin = struct.pack(">BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
    parts = [nl.message(NFNL_MSG_BATCH_BEGIN, nl.NLM_F_REQUEST, begin, 1)]
    listed = list(messages)
    for number, (kind, flags, payload) in enumerate(listed):
        # The acknowledgement of the last one says that the whole was committed.
        ack = nl.NLM_F_ACK if number == len(listed) - 1 else 0
        parts.append(nl.message(kind, nl.NLM_F_REQUEST | flags | ack, payload, 2 + number))
    parts.append(nl.message(NFNL_MSG_BATCH_END, nl.NLM_F_REQUEST, begin, 2 + len(listed)))
    return b"".join(parts)


def _message(kind: int, flags: int, family: int, *attributes: bytes) -> Message:
    header = struct.pack(">BBH", family, 0, 0)
    return NFNL_SUBSYS_NFTABLES << 8 | kind, flags, header + b"".join(attributes)


def _named(kind: int) -> bytes:
    return nl.text(kind, TABLE)


def _flags_owner() -> bytes:
    return nl.be32(2, _TABLE_F_OWNER)


def _chain(family: int, hook: str) -> Message:
    priority = _BEFORE_RAW if hook in ("prerouting", "output") else _AFTER_NAT
    place = nl.nested(4, nl.be32(1, _HOOKS[hook]), nl.attribute(2, struct.pack(">i", priority)))
    return _message(
        NFT_MSG_NEWCHAIN,
        nl.NLM_F_CREATE,
        family,
        _named(1),
        nl.text(3, hook),
        place,
        nl.text(7, "filter"),
    )


def _set(family: int) -> Message:
    """The tuples that went forward: destination, source, destination port, source port."""
    size = 2 * {4: 4, 6: 16}[family] + 8
    address = {4: 7, 6: 8}[family]
    key_type = ((address << 6 | address) << 6 | 13) << 6 | 13
    return _message(
        NFT_MSG_NEWSET,
        nl.NLM_F_CREATE,
        FAMILIES[family],
        _named(1),
        nl.text(2, _SET_NAME),
        nl.be32(3, _SET_EVAL),
        nl.be32(4, key_type),
        nl.be32(5, size),
        nl.be32(10, 1),
        nl.nested(9, nl.be32(1, 4096)),
    )


def _rule(family: int, chain: str, expressions: list[bytes]) -> Message:
    return _message(
        NFT_MSG_NEWRULE,
        nl.NLM_F_CREATE | nl.NLM_F_APPEND,
        family,
        _named(1),
        nl.text(2, chain),
        nl.nested(4, *expressions),
    )


def _rules(fingerprint: Fingerprint, *, trace: bool, learn: bool) -> list[list[bytes]]:
    rules = []
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
