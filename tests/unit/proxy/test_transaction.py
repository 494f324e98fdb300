"""Where a transaction is cut when it doesn't fit into one datagram."""

from __future__ import annotations

from testbed.proxy.kernel.messages import (
    DELRULE,
    NEWCHAIN,
    NEWELEMENT,
    NEWRULE,
    NEWSET,
    Message,
)
from testbed.proxy.kernel.transaction import parts


def message(kind: int, size: int = 84) -> Message:
    return Message(kind, 0, bytes(size), "nat", "")


def test_all_fits_in_one() -> None:
    assert list(parts([message(NEWRULE)] * 5, 500)) == [(0, 5)]


def test_cut_before_the_chain_that_does_not_fit() -> None:
    batch = [message(kind) for kind in (NEWCHAIN, DELRULE, NEWRULE, NEWRULE, DELRULE, NEWRULE)]
    assert list(parts(batch, 500)) == [(0, 4), (4, 6)]


def test_an_anonymous_set_stays_with_its_rule() -> None:
    kinds = (NEWCHAIN, NEWCHAIN, NEWSET, NEWELEMENT, NEWRULE, NEWSET, NEWELEMENT, NEWRULE)
    assert list(parts([message(kind) for kind in kinds], 420)) == [(0, 2), (2, 5), (5, 8)]


def test_a_chain_larger_than_the_room_is_cut_all_the_same() -> None:
    batch = [message(DELRULE), *[message(NEWRULE)] * 7]
    assert list(parts(batch, 300)) == [(0, 3), (3, 6), (6, 8)]


def test_parts_cover_everything_and_fit() -> None:
    batch = [message(kind, 20 + 7 * place) for place, kind in enumerate([NEWCHAIN, NEWRULE] * 20)]
    cuts = list(parts(batch, 700))
    assert [start for start, _ in cuts[1:]] == [end for _, end in cuts[:-1]]
    assert cuts[0][0] == 0
    assert cuts[-1][1] == len(batch)
    for start, end in cuts:
        assert sum(len(each.payload) + 16 for each in batch[start:end]) <= 700
