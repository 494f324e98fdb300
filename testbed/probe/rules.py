"""From a rule's handle in a trace event to the rule's text, as iptables or nft prints it.

The kernel lists a chain's handles in order; `iptables-save` prints the same rules in the same
order. Tables that nft made are listed by nft with their handles. What was read is kept until the
rule set's generation changes.
"""

from __future__ import annotations

import re
import shlex
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

from testbed import netlink as nl
from testbed.errors import TestbedError
from testbed.probe.namespaces import Namespace

_NFTABLES = 10 << 8
NFT_MSG_GETCHAIN = 4
NFT_MSG_GETRULE = 7
NFT_MSG_GETGEN = 16
_FAMILIES = {"inet": 1, "ip": 2, "netdev": 5, "bridge": 7, "ip6": 10}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress", "egress")
#: Tables that iptables-nft makes, under their fixed names.
_IPTABLES_TABLES = ("raw", "mangle", "nat", "filter", "security")
_SAVE = {"ip": "iptables-nft-save", "ip6": "ip6tables-nft-save"}
_HANDLE = re.compile(r"^(.*) # handle (\d+)$")

ChainKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class ChainText:
    """A chain's rules in order: (handle, text); `hook` is "" for a chain that is only jumped to."""

    rules: tuple[tuple[int, str], ...]
    hook: str = ""

    def text(self, handle: int) -> str | None:
        return next((text for number, text in self.rules if number == handle), None)

    def before(self, handle: int) -> tuple[str, ...]:
        """The texts of the rules that stand before `handle`."""
        found: list[str] = []
        for number, text in self.rules:
            if number == handle:
                return tuple(found)
            found.append(text)
        return ()


@dataclass
class RuleBook:
    """The rules of one namespace, read as they are asked for."""

    namespace: Namespace
    _chains: dict[ChainKey, ChainText] = field(default_factory=dict)
    _saved: dict[tuple[str, str], dict[str, list[str]]] = field(default_factory=dict)
    _generation: int | None = None

    def refresh(self, generation: int) -> None:
        """Forget what was read if the rule set isn't the one of `generation` any more."""
        if generation != self._generation:
            self._chains.clear()
            self._saved.clear()
            self._generation = generation

    def keep(self, generation: int, commits: int) -> None:
        """What was read still holds if the rule set saw only `commits` changes of our own since."""
        if self._generation is not None and generation == self._generation + commits:
            self._generation = generation

    def chains(self, link: nl.NetlinkSocket, wanted: Iterable[ChainKey]) -> None:
        """Read those of `wanted` (family, table, chain) that aren't known yet."""
        missing = [key for key in dict.fromkeys(wanted) if key not in self._chains]
        native: list[ChainKey] = []
        handles: dict[ChainKey, list[int]] = {}
        for key in missing:
            handles[key] = list_handles(link, key)
            texts = self._saved_texts(key)
            if texts is None or len(texts) != len(handles[key]):
                native.append(key)
                continue
            rules = tuple(zip(handles[key], texts, strict=True))
            self._chains[key] = ChainText(rules, chain_hook(link, key))
        listed = self._native_texts(native) if native else {}
        for key in native:
            texts_by_handle = listed.get(key, {})
            rules = tuple((handle, texts_by_handle.get(handle, "")) for handle in handles[key])
            self._chains[key] = ChainText(rules, chain_hook(link, key))

    def chain(self, key: ChainKey) -> ChainText:
        return self._chains.get(key, ChainText(()))

    def _saved_texts(self, key: ChainKey) -> list[str] | None:
        """The rules of a chain in an iptables table, None for a table of another kind."""
        family, table, chain = key
        if family not in _SAVE or table not in _IPTABLES_TABLES:
            return None
        if (family, table) not in self._saved:
            try:
                listing = self.namespace.run([_SAVE[family], "-t", table])
            except TestbedError:
                listing = ""
            self._saved[family, table] = parse_save(listing)
        return self._saved[family, table].get(chain, [])

    def _native_texts(self, keys: list[ChainKey]) -> dict[ChainKey, dict[int, str]]:
        # One nft process a chain: nft 1.0.6 fails on several `list chain` in one input, and a whole
        # table takes it seconds where there are thousands of Services.
        commands = [["nft", "-a", "list", "chain", *key] for key in keys]
        script = "\n".join([*(shlex.join(command) for command in commands), "true"])
        try:
            listing = self.namespace.run(["sh", "-c", script])
        except TestbedError:
            return {}
        return parse_listing(listing)


def parse_save(listing: str) -> dict[str, list[str]]:
    """The `-A` lines of an iptables-save by chain, without `-A CHAIN`."""
    chains: dict[str, list[str]] = {}
    for line in listing.splitlines():
        if line.startswith("-A "):
            _, chain, rule = (*line.split(" ", 2), "")[:3]
            chains.setdefault(chain, []).append(rule)
    return chains


def parse_listing(listing: str) -> dict[ChainKey, dict[int, str]]:
    """The rules of `nft -a list` by chain and handle."""
    found: dict[ChainKey, dict[int, str]] = {}
    family = table = ""
    current: dict[int, str] | None = None
    for line in listing.splitlines():
        words = line.split()
        if words[:1] == ["table"]:
            family, table = words[1], words[2]
        elif words[:1] == ["chain"] and "{" in words:
            current = found.setdefault((family, table, words[1]), {})
        elif words[:1] == ["}"]:
            current = None
        elif current is not None and (match := _HANDLE.match(line.strip())):
            current[int(match[2])] = match[1]
    return found


def generation(link: nl.NetlinkSocket) -> int:
    """The number of the rule set's last change."""
    answers = link.request(_NFTABLES | NFT_MSG_GETGEN, 0, b"\0" * 4)
    found = nl.attributes(answers[0].payload, 4)
    return int.from_bytes(found[1], "big")


def list_handles(link: nl.NetlinkSocket, key: ChainKey) -> list[int]:
    """The handles of a chain's rules, in order; empty where the chain is gone."""
    family, table, chain = key
    header = struct.pack(">BBH", _FAMILIES[family], 0, 0)
    payload = header + nl.text(1, table) + nl.text(2, chain)
    try:
        answers = link.request(_NFTABLES | NFT_MSG_GETRULE, nl.NLM_F_DUMP, payload)
    except OSError:
        return []
    handles = []
    for answer in answers:
        found = nl.attributes(answer.payload, 4)
        if 3 in found and nl.string(found[2]) == chain and nl.string(found[1]) == table:
            handles.append(int.from_bytes(found[3], "big"))
    return handles


def chain_hook(link: nl.NetlinkSocket, key: ChainKey) -> str:
    """The hook that a base chain hangs on, "" for other chains."""
    family, table, chain = key
    header = struct.pack(">BBH", _FAMILIES[family], 0, 0)
    try:
        answers = link.request(
            _NFTABLES | NFT_MSG_GETCHAIN, 0, header + nl.text(1, table) + nl.text(3, chain)
        )
    except OSError:
        return ""
    place = nl.attributes(answers[0].payload, 4).get(4) if answers else None
    if place is None:
        return ""
    number = int.from_bytes(nl.attributes(place)[1], "big")
    return _HOOKS[number] if number < len(_HOOKS) else str(number)
