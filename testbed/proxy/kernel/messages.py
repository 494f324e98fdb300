"""The requests that make up an nf_tables transaction, each with the words it is blamed by.

Source: linux/netfilter/nf_tables.h and net/netfilter/nf_tables_api.c. Nothing here needs a socket.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import NamedTuple

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_ECHO,
    NLM_F_EXCL,
    attribute,
    be32,
    be64,
    nested,
    text,
)

SUBSYSTEM = 10 << 8
NEWTABLE, GETTABLE, DELTABLE = SUBSYSTEM | 0, SUBSYSTEM | 1, SUBSYSTEM | 2
NEWCHAIN, GETCHAIN, DELCHAIN = SUBSYSTEM | 3, SUBSYSTEM | 4, SUBSYSTEM | 5
NEWRULE, GETRULE, DELRULE = SUBSYSTEM | 6, SUBSYSTEM | 7, SUBSYSTEM | 8
NEWSET, GETSET, DELSET = SUBSYSTEM | 9, SUBSYSTEM | 10, SUBSYSTEM | 11
NEWELEMENT, GETELEMENT, DELELEMENT = SUBSYSTEM | 12, SUBSYSTEM | 13, SUBSYSTEM | 14
GETGENERATION = SUBSYSTEM | 16

#: nf_tables' numbers of the families (NFPROTO_IPV4, NFPROTO_IPV6).
FAMILIES = {IPV4: 2, IPV6: 10}

#: Hooks as netfilter numbers them.
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}


class Message(NamedTuple):
    """One request: netlink type, flags, payload; `table` and `words` name it in errors."""

    kind: int
    flags: int
    payload: bytes
    table: str
    words: str


class Hook(NamedTuple):
    """Where a base chain hangs: `kind` is filter, nat or route; the policy is accept."""

    kind: str
    hook: str
    priority: int


class TableMessages:
    """Makes the messages for one table of one family (IPV4 or IPV6 of `api.objects`)."""

    def __init__(self, family: str, table: str) -> None:
        self.table = table
        self.header = struct.pack(">BBH", FAMILIES[family], 0, 0)
        self._rule_start = self.header + text(1, table)

    def new_table(self, userdata: bytes = b"") -> Message:
        parts = self.header + text(1, self.table) + be32(2, 0)
        if userdata:
            parts += attribute(6, userdata)
        return Message(NEWTABLE, NLM_F_CREATE, parts, self.table, "the table itself")

    def delete_table(self) -> Message:
        return Message(
            DELTABLE, 0, self.header + text(1, self.table), self.table, "the table itself"
        )

    def new_chain(self, chain: str, hook: Hook | None = None, userdata: bytes = b"") -> Message:
        """Make `chain` where it isn't there yet; a base chain with `hook`."""
        parts = self.header + text(1, self.table) + text(3, chain)
        if hook is not None:
            place = be32(1, HOOKS[hook.hook]) + attribute(2, struct.pack(">i", hook.priority))
            parts += nested(4, place) + be32(5, 1) + text(7, hook.kind)
        if userdata:
            parts += attribute(12, userdata)
        return Message(NEWCHAIN, NLM_F_CREATE, parts, self.table, f"chain {chain}")

    def delete_chain(self, chain: str) -> Message:
        parts = self.header + text(1, self.table) + text(3, chain)
        return Message(DELCHAIN, 0, parts, self.table, f"chain {chain}")

    def flush_chain(self, chain: str) -> Message:
        """Delete every rule of `chain`."""
        return Message(DELRULE, 0, self._rule_start + text(2, chain), self.table, f"chain {chain}")

    def new_rule(
        self,
        chain: str,
        rule: bytes,
        words: str,
        *,
        echo: bool = False,
        append: bool = True,
        position: int = 0,
    ) -> Message:
        """Add a rule (`rule`: its attributes, packed) at the chain's end.

        With `append` False at its beginning; with `position`, the handle of another rule, after or
        before that one. With `echo` the kernel answers with the rule, its handle included.
        """
        flags = NLM_F_CREATE | (NLM_F_APPEND if append else 0) | (NLM_F_ECHO if echo else 0)
        parts = self._rule_start + text(2, chain) + rule
        if position:
            parts += be64(6, position)
        return Message(NEWRULE, flags, parts, self.table, words)

    def delete_rule(self, chain: str, handle: int, words: str) -> Message:
        parts = self._rule_start + text(2, chain) + be64(3, handle)
        return Message(DELRULE, 0, parts, self.table, words)

    def new_set(self, name: str, attributes: bytes, number: int, words: str = "") -> Message:
        """Make set or map `name`; an error where it exists (its type may differ).

        `number` names it within the transaction: an anonymous set's rule finds it by that.
        """
        parts = self.header + text(1, self.table) + text(2, name) + attributes + be32(10, number)
        words = words or f"set {name}"
        return Message(NEWSET, NLM_F_CREATE | NLM_F_EXCL, parts, self.table, words)

    def delete_set(self, name: str) -> Message:
        parts = self.header + text(1, self.table) + text(2, name)
        return Message(DELSET, 0, parts, self.table, f"set {name}")

    def new_elements(
        self, name: str, elements: Iterable[bytes], words: str, *, set_id: int = 0
    ) -> Message:
        """Add packed elements; `set_id` names an anonymous set made in the same transaction."""
        return self._elements(NEWELEMENT, NLM_F_CREATE, name, elements, words, set_id)

    def delete_elements(self, name: str, elements: Iterable[bytes], words: str) -> Message:
        return self._elements(DELELEMENT, 0, name, elements, words, 0)

    def flush_set(self, name: str) -> Message:
        parts = self.header + text(1, self.table) + text(2, name)
        return Message(DELELEMENT, 0, parts, self.table, f"set {name}")

    def _elements(
        self, kind: int, flags: int, name: str, elements: Iterable[bytes], words: str, set_id: int
    ) -> Message:
        parts = self.header + text(1, self.table) + text(2, name)
        if set_id:
            parts += be32(4, set_id)
        parts += nested(3, *elements)
        return Message(kind, flags, parts, self.table, words)
