"""Walks a packet through rendered rules and says where it ends, as upstream's test tracers do.

A rule that the tracer doesn't know is an error, so that no rule passes unseen. Every branch of a
random choice is taken.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from dataclasses import dataclass, field

from testbed.proxy.iptables.ruleset import RuleSet as IptablesRuleSet
from testbed.proxy.nftables.ruleset import RuleSet as NftablesRuleSet

TERMINAL = {"ACCEPT", "DROP", "REJECT"}
#: Options with one argument that decide nothing here, or whose target decides.
_WITHOUT_EFFECT = {
    *("-m", "--comment", "--mode", "--nfacct-name", "--reject-with"),
    *("--to-destination", "--set-xmark"),
}


@dataclass(frozen=True)
class Packet:
    protocol: str
    source: str
    destination: str
    port: int
    local_ips: frozenset[str]

    @property
    def from_node(self) -> bool:
        return self.source in self.local_ips

    @property
    def to_node(self) -> bool:
        return self.destination in self.local_ips


@dataclass
class Outcome:
    """`endpoints` it may reach, else a `verdict` ("" for none); `masqueraded` on any branch."""

    endpoints: list[str] = field(default_factory=list)
    verdict: str = ""
    masqueraded: bool = False

    def __str__(self) -> str:
        text = ", ".join(self.endpoints) if self.endpoints else self.verdict or "no match"
        return f"{text} M" if self.masqueraded and self.endpoints else text


def within(address: str, network: str) -> bool:
    return ipaddress.ip_address(address) in ipaddress.ip_network(network)


class IptablesTracer:
    def __init__(self, rules: IptablesRuleSet, packet: Packet) -> None:
        self._chains = {table: rules.chains(table) for table in ("nat", "filter")}
        self._packet = packet
        self._outcome = Outcome()

    def trace(self) -> Outcome:
        packet = self._packet
        self._walk("nat", "OUTPUT" if packet.from_node else "PREROUTING", False)
        if not self._outcome.endpoints:
            place = "INPUT" if packet.to_node else "OUTPUT" if packet.from_node else "FORWARD"
            self._walk("filter", place, False)
        return self._outcome

    def _walk(self, table: str, chain: str, marked: bool) -> tuple[bool, bool]:
        """Returns (whether the packet's fate is decided, whether it is marked)."""
        for line in self._chains[table][chain]:
            matches, target, surely = self._match(line, marked)
            if not matches or target is None:
                continue
            if target == "DNAT":
                self._outcome.endpoints.append(line.rpartition(" ")[2])
                self._outcome.masqueraded |= marked
                return True, marked
            if target == "MARK":
                marked = True
                continue
            if target in TERMINAL:
                self._outcome.verdict = target
                return True, marked
            if target == "RETURN":
                return False, marked
            decided, marked_there = self._walk(table, target, marked)
            if surely:
                marked = marked_there
                if decided:
                    return True, marked
        return False, marked

    def _match(self, line: str, marked: bool) -> tuple[bool, str | None, bool]:
        """(whether it matches, its target, whether it matches always and not by chance)."""
        packet = self._packet
        words = shlex.split(line)
        result, surely, negate, target = True, True, False, None
        while words:
            word = words.pop(0)
            if word == "!":
                negate = True
                continue
            found: bool | None = None
            if word in ("-s", "-d"):
                address = packet.source if word == "-s" else packet.destination
                found = within(address, words.pop(0))
            elif word == "-i":
                raise AssertionError("packets have no interface here")
            elif word == "-p":
                found = packet.protocol == words.pop(0)
            elif word == "--dport":
                found = packet.port == int(words.pop(0))
            elif word == "--ctstate":
                found = "NEW" in words.pop(0).split(",")
            elif word in ("--dst-type", "--src-type"):
                assert words.pop(0) == "LOCAL"
                found = packet.to_node if word == "--dst-type" else packet.from_node
            elif word == "--mark":
                found = marked
                words.pop(0)
            elif word == "--probability":
                words.pop(0)
                surely = False
            elif word in _WITHOUT_EFFECT:
                words.pop(0)
            elif word == "-j":
                target = words.pop(0)
            else:
                raise AssertionError(f"unknown {word!r} in {line!r}")
            if found is not None:
                result &= found is not negate
                negate = False
        return result, target, surely


_ADDRESS = r"(ip6? [sd]addr) (!= )?"


class NftablesTracer:
    def __init__(self, rules: NftablesRuleSet, packet: Packet) -> None:
        self._chains = {chain.name: chain.rules for chain in rules.all_chains()}
        self._contents = rules.contents()
        self._packet = packet
        self._marked = False
        self._outcome = Outcome()

    def trace(self) -> Outcome:
        packet = self._packet
        before = "filter-output-pre-dnat" if packet.from_node else "filter-prerouting-pre-dnat"
        self._walk(before)
        if self._decided():
            return self._outcome
        self._walk("nat-output" if packet.from_node else "nat-prerouting")
        if self._outcome.endpoints:
            self._hairpin()
            return self._outcome
        place = "input" if packet.to_node else "output" if packet.from_node else "forward"
        self._walk(f"filter-{place}")
        return self._outcome

    def _decided(self) -> bool:
        return bool(self._outcome.endpoints or self._outcome.verdict)

    def _hairpin(self) -> None:
        packet = self._packet
        for endpoint in self._outcome.endpoints:
            ip, _, port = endpoint.rpartition(":")
            key = f"{packet.source} . {ip.strip('[]')} . {packet.protocol} . {port}"
            self._outcome.masqueraded |= key in self._contents["hairpin-connections"]

    def _walk(self, chain: str) -> None:
        for rule in self._chains[chain]:
            rest: str | None = re.sub(r' comment ".*"$', "", rule)
            while rest:
                rest, left = self._step(rest)
                if left:
                    return

    def _step(self, rest: str) -> tuple[str | None, bool]:
        """Take one expression off `rest`.

        Returns what is left of the rule, None if it doesn't match, and whether the chain is left.
        """
        packet = self._packet
        if found := re.match(r"ct state new ", rest):
            return rest[found.end() :], False
        if found := re.match(r"fib ([sd])addr type local ", rest):
            local = packet.from_node if found[1] == "s" else packet.to_node
            return (rest[found.end() :] if local else None), False
        if found := re.match(r"ip6? daddr \. meta l4proto \. th dport vmap @(\S+)", rest):
            key = f"{packet.destination} . {packet.protocol} . {packet.port}"
            return rest[found.end() :], self._look_up(found[1], key)
        if found := re.match(r"meta l4proto \. th dport vmap @(\S+)", rest):
            return rest[found.end() :], self._look_up(
                found[1], f"{packet.protocol} . {packet.port}"
            )
        if found := re.match(_ADDRESS + r"(@\S+|\{.*?\}|\S+) ", rest):
            address = packet.source if found[1].endswith("saddr") else packet.destination
            inside = self._inside(address, found[3])
            return (rest[found.end() :] if inside is not bool(found[2]) else None), False
        if found := re.match(r"meta mark set meta mark \| \S+", rest):
            self._marked = True
            return rest[found.end() :].lstrip(), False
        if found := re.match(
            r"meta l4proto (\w+) dnat ip6? to numgen random mod \d+ map (.*)$", rest
        ):
            assert found[1] == packet.protocol
            for ip, port in re.findall(r"\d+ : (\S+) \. (\d+)", found[2]):
                self._outcome.endpoints.append(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}")
            self._outcome.masqueraded |= self._marked
            return None, True
        if found := re.match(r"(goto|jump) (\S+)$", rest):
            self._walk(found[2])
            return None, found[1] == "goto" or self._decided()
        if rest in ("drop", "reject"):
            self._outcome.verdict = rest.upper()
            return None, True
        raise AssertionError(f"unknown expression {rest!r}")

    def _look_up(self, container: str, key: str) -> bool:
        """Whether there is such an element: the chain is then left by its goto."""
        value = self._contents[container].get(key)
        if value is None:
            return False
        if value.verdict == "drop":
            self._outcome.verdict = "DROP"
        else:
            self._walk(value.verdict.removeprefix("goto "))
        return True

    def _inside(self, address: str, members: str) -> bool:
        if members.startswith("@"):
            return address in self._contents[members[1:]]
        return any(within(address, member) for member in members.strip("{} ").split(", "))
