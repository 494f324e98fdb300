"""Walks a first packet through recorded rules, in both forms, and says where it may end.

Test equipment: it knows the rules that kube-proxy writes and nothing of Services. A rule it can't
read is an error.
"""

from __future__ import annotations

import ipaddress
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

MASQUERADE = 0x4000


@dataclass(frozen=True)
class Packet:
    """`hook` is PREROUTING or OUTPUT; `local` are the node's addresses."""

    src: str
    dst: str
    protocol: str
    dport: int
    hook: str
    local: frozenset[str]
    mark: int = 0
    translated: bool = False

    def is_local(self, address: str) -> bool:
        return address in self.local or ipaddress.ip_address(address).is_loopback

    @property
    def filters(self) -> tuple[str, ...]:
        inwards = ("INPUT",) if self.is_local(self.dst) else ()
        if self.hook == "OUTPUT":
            return ("OUTPUT", *inwards)
        return inwards or ("FORWARD",)


#: The end (`ip:port`, REJECT, DROP, ACCEPT or "" for none of the rules' business), masqueraded?
End = tuple[str, bool]
Step = tuple[str | None, Packet]


def within(address: str, cidr: str) -> bool:
    network = ipaddress.ip_network(cidr, strict=False)
    return ipaddress.ip_address(address) in network


def spelled(packet: Packet) -> str:
    host = f"[{packet.dst}]" if ":" in packet.dst else packet.dst
    return f"{host}:{packet.dport}"


def aimed(packet: Packet, target: str) -> Packet:
    host, _, number = target.rpartition(":")
    return replace(packet, dst=host.strip("[]"), dport=int(number), translated=True)


class Iptables:
    """The text of iptables-save."""

    def __init__(self, text: str) -> None:
        self.chains: dict[tuple[str, str], list[list[str]]] = {}
        table = ""
        for line in text.splitlines():
            if line.startswith("*"):
                table = line[1:]
            elif line.startswith("-A"):
                _, chain, *rule = shlex.split(line)
                self.chains.setdefault((table, chain), []).append(rule)

    def ends(self, packet: Packet) -> set[End]:
        found: set[End] = set()
        for _, after in self.walk("nat", packet.hook, packet):
            found |= self.filtered(after)
        return found

    def filtered(self, packet: Packet) -> set[End]:
        for hook in packet.filters:
            for verdict, _ in self.walk("filter", hook, packet):
                if verdict in ("REJECT", "DROP") or (verdict == "ACCEPT" and not packet.translated):
                    return {(verdict, False)}
        return {
            (spelled(packet), bool(packet.mark & MASQUERADE)) if packet.translated else ("", False)
        }

    def walk(self, table: str, chain: str, packet: Packet) -> Iterator[Step]:
        """Every way through a chain: (verdict, or None where it returns; the packet then)."""
        packets = [packet]
        for rule in self.chains.get((table, chain), ()):
            going: list[Packet] = []
            for current in packets:
                matched, maybe, target = self.read(rule, current)
                if not matched or maybe:
                    going.append(current)
                if matched:
                    for verdict, after in self.act(table, target, current):
                        if verdict is None:
                            going.append(after)
                        elif verdict != "RETURN":
                            yield verdict, after
            packets = going
        for current in packets:
            yield None, current

    def act(self, table: str, target: list[str], packet: Packet) -> Iterator[Step]:
        match target:
            case []:
                yield None, packet
            case ["MARK", "--set-xmark", value]:
                bits, mask = (int(v, 16) for v in value.split("/"))
                yield None, replace(packet, mark=packet.mark & ~mask ^ bits)
            case ["DNAT", "--to-destination", to]:
                yield "DNAT", aimed(packet, to)
            case ["REJECT" | "DROP" | "ACCEPT" | "RETURN" as verdict, *_]:
                yield verdict, packet
            case [chain]:
                yield from self.walk(table, chain, packet)
            case _:
                raise AssertionError(target)

    def read(self, rule: list[str], packet: Packet) -> tuple[bool, bool, list[str]]:
        """Whether it matches, whether that is by chance, and the target with its options."""
        matched, maybe, negated = True, False, False
        words = iter(rule)
        for word in words:
            if word == "!":
                negated = True
                continue
            if word == "-j":
                return matched, maybe, list(words)
            value = next(words) if word not in ("--set", "--rcheck", "--reap", "--rsource") else ""
            answer = self.test(word, value, packet)
            if word == "--probability":
                maybe = True
            if answer is not None:
                matched = matched and answer is not negated
                negated = False
        return matched, maybe, []

    def test(self, word: str, value: str, packet: Packet) -> bool | None:
        match word:
            case "-s":
                return within(packet.src, value)
            case "-d":
                return within(packet.dst, value)
            case "-p":
                return value == packet.protocol
            case "--dport":
                return int(value) == packet.dport
            case "--dst-type":
                return packet.is_local(packet.dst)
            case "--src-type":
                return packet.is_local(packet.src)
            case "--ctstate":
                states = value.split(",")
                return "NEW" in states or ("DNAT" in states and packet.translated)
            case "--mark":
                bits, mask = (int(v, 16) for v in value.split("/"))
                return packet.mark & mask == bits
            case "--rcheck":
                return False
        assert word in (
            *("-m", "--comment", "--mode", "--probability", "--nfacct-name", "--name"),
            *("--mask", "--seconds", "--set", "--reap", "--rsource"),
        ), word
        return None


class Nftables:
    """The text of `nft list table`."""

    HOOKS = (
        ("filter-prerouting-pre-dnat", "nat-prerouting"),
        ("filter-output-pre-dnat", "nat-output"),
    )

    def __init__(self, text: str) -> None:
        self.chains: dict[str, list[str]] = {}
        self.elements: dict[str, dict[str, str]] = {}
        name, chain = "", False
        for line in map(str.strip, text.splitlines()):
            if match := re.fullmatch(r"(set|map|chain) (\S+) \{", line):
                name, chain = match[2], match[1] == "chain"
                (self.chains if chain else self.elements)[name] = [] if chain else {}
            elif chain and line not in ("}", "") and not line.startswith(("type ", "comment ")):
                self.chains[name].append(re.sub(r' comment "[^"]*"$', "", line))
            elif name and line.endswith(",") and "=" not in line:
                plain = re.sub(r' comment "[^"]*"', "", line.rstrip(","))
                key, _, verdict = plain.partition(" : ")
                self.elements[name][key.strip()] = verdict.strip()

    def ends(self, packet: Packet) -> set[End]:
        before, nat = self.HOOKS[packet.hook == "OUTPUT"]
        for verdict, _ in self.walk(before, packet):
            if verdict == "DROP":
                return {("DROP", False)}
        found: set[End] = set()
        for _, after in self.walk(nat, packet):
            found |= self.filtered(after)
        return found

    def filtered(self, packet: Packet) -> set[End]:
        for hook in packet.filters:
            for verdict, _ in self.walk(f"filter-{hook.lower()}", packet):
                if verdict in ("REJECT", "DROP"):
                    return {(verdict, False)}
        if not packet.translated:
            return {("", False)}
        masquerade = any(v == "MASQUERADE" for v, _ in self.walk("nat-postrouting", packet))
        return {(spelled(packet), masquerade)}

    def walk(self, chain: str, packet: Packet) -> Iterator[Step]:
        """Every way through a chain: (verdict, or None where it returns; the packet then)."""
        packets = [packet]
        for rule in self.chains[chain]:
            going: list[Packet] = []
            for current in packets:
                after, ends = self.read(rule, current)
                for end in ends:
                    word, _, target = end.partition(" ")
                    if word == "dnat":
                        yield "DNAT", aimed(after, target)
                    elif word in ("jump", "goto"):
                        for verdict, later in self.walk(target, after):
                            if verdict is None and word == "jump":
                                going.append(later)
                            else:
                                yield verdict, later
                    else:
                        yield word.upper(), after
                if not ends:
                    going.append(after)
            packets = going
        for current in packets:
            yield None, current

    def read(self, rule: str, packet: Packet) -> tuple[Packet, list[str]]:
        left: str | None = rule
        ends: list[str] = []
        while left and not ends:
            left, packet, ends = self.step(left, packet)
        return packet, ends

    def step(self, rule: str, packet: Packet) -> tuple[str | None, Packet, list[str]]:
        """Reads one expression: (the rest, None where it doesn't match; packet; verdicts)."""
        key = f"{packet.dst} . {packet.protocol} . {packet.dport}"
        if m := re.match(r"ip6? [sd]addr( \. meta| \. ip)", rule):
            whole = f"{packet.src} . {key}"
            if m := re.match(r"ip6? daddr \. meta l4proto \. th dport vmap @(\S+)", rule):
                found = self.elements[m[1]].get(key)
                return (rule[m.end() :] if found else None), packet, [found] if found else []
            m = re.match(r"ip6? saddr \. \S+ daddr \. meta l4proto \. th dport @(\S+) ?", rule)
            assert m, rule
            return (rule[m.end() :] if whole in self.elements[m[1]] else None), packet, []
        if m := re.match(r"meta l4proto \. th dport vmap @(\S+)", rule):
            found = self.elements[m[1]].get(f"{packet.protocol} . {packet.dport}")
            return None, packet, [found] if found else []
        if m := re.match(r"ip6? ([sd])addr (!= )?(@\S+|\{[^}]*\}|\S+) ?", rule):
            address = packet.src if m[1] == "s" else packet.dst
            inside = self.contains(m[3], address) is not bool(m[2])
            return (rule[m.end() :] if inside else None), packet, []
        if m := re.match(r"fib ([sd])addr type local ?", rule):
            local = packet.is_local(packet.src if m[1] == "s" else packet.dst)
            return (rule[m.end() :] if local else None), packet, []
        return self.plain(rule, packet)

    def plain(self, rule: str, packet: Packet) -> tuple[str | None, Packet, list[str]]:
        if m := re.match(r"meta l4proto (\w+) ?", rule):
            return (rule[m.end() :] if m[1] == packet.protocol else None), packet, []
        if m := re.match(r"ct state new ?|update @\S+ \{[^}]*\} ?", rule):
            return rule[m.end() :] or None, packet, []
        if m := re.match(r"ct status dnat ?", rule):
            return (rule[m.end() :] if packet.translated else None), packet, []
        if m := re.match(r"meta mark & \w+ != \w+ ?", rule):
            return (rule[m.end() :] if packet.mark & MASQUERADE else None), packet, []
        if m := re.match(r"meta mark set meta mark \| \w+ ?", rule):
            return rule[m.end() :] or None, replace(packet, mark=packet.mark | MASQUERADE), []
        if m := re.match(r"meta mark set meta mark \^ \w+ ?", rule):
            return rule[m.end() :], replace(packet, mark=packet.mark & ~MASQUERADE), []
        if m := re.match(r"dnat ip6? to numgen random mod \d+ map \{(.*)\}", rule):
            pairs = re.findall(r"\d+ : (\S+) \. (\d+)", m[1])
            return None, packet, [f"dnat {ip}:{number}" for ip, number in pairs]
        if m := re.match(r"numgen random mod \d+ vmap \{(.*)\}", rule):
            return None, packet, re.findall(r"goto [^\s,]+", m[1])
        if m := re.fullmatch(r"dnat to (\S+)", rule):
            return None, packet, [f"dnat {m[1]}"]
        assert re.match(r"(jump|goto) \S+$|reject$|drop$|masquerade", rule), rule
        return None, packet, [rule]

    def contains(self, text: str, address: str) -> bool:
        if text.startswith("@"):
            return address in self.elements[text[1:]]
        return any(within(address, entry.strip()) for entry in text.strip("{} ").split(","))


def ends_in(traced: set[End], packet: Packet) -> set[End]:
    """What is marked for masquerading and then delivered on the node meets no postrouting hook."""
    return {
        (end, masqueraded and (packet.hook == "OUTPUT" or _host(end) not in packet.local))
        for end, masqueraded in traced
    }


def _host(end: str) -> str:
    return end.rpartition(":")[0].strip("[]")
