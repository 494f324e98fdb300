"""Chains, sets, maps, elements and rules of nftables mode in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.proxy.changes import ProxyState
from testbed.proxy.describe import endpoint_words, service_words
from testbed.proxy.graph import Item
from testbed.proxy.nftables import names
from testbed.proxy.nftables.ruleset import ElementValue, RuleSet, duration, element_text
from testbed.proxy.service_port import ServicePortName

_CHAINS = {
    names.NODE_PORT_ENDPOINTS_CHECK: "refuses node ports without endpoints",
    names.SERVICE_ENDPOINTS_CHECK: "refuses addresses of Services without endpoints",
    names.FIREWALL_CHECK: "loadBalancerSourceRanges, before any translation",
    names.SERVICES: "the addresses of Services and what they lead to",
    names.MASQUERADING: "masquerades what is marked, and Pods that reach themselves",
    names.CLUSTER_IPS_CHECK: "refuses unknown ports of clusterIPs, and unallocated clusterIPs",
    names.REJECT_CHAIN: "rejects",
}
_ROLES = {
    names.CLUSTER_POLICY: "all endpoints",
    names.LOCAL_POLICY: "endpoints on this node",
    names.EXTERNAL: "traffic to its external addresses",
    names.FIREWALL: "the sources that may use its load balancer IPs",
}
_VERDICT = re.compile(r"(?:goto|jump) (\S+?)(?:,|$| )")
_REFERENCE = re.compile(r"@(\S+)")
_LOOKUP = re.compile(r"vmap @(\S+)")
_COMMENT = re.compile(r'comment "([^"]*)"')
_CHOICE = re.compile(r"\d+ : (\S+) \. (\d+)")
_DNAT = re.compile(r"dnat to (\S+)")
_MODULUS = re.compile(r"numgen random mod (\d+)")
_CAPTURING = (
    names.SERVICE_IPS,
    names.NO_ENDPOINT_SERVICES,
    names.FIREWALL_IPS,
    names.SERVICE_NODE_PORTS,
    names.NO_ENDPOINT_NODE_PORTS,
)


class Words:
    """Implements testbed.proxy.explain.Words for nftables mode."""

    def __init__(self, rules: RuleSet, state: ProxyState) -> None:
        self._rules = rules
        self._state = state
        self._owner: dict[str, tuple[ServicePortName, str]] = {}
        self._endpoint_words: dict[tuple[str, str], str] = {}
        for name in rules.services:
            base = names.port_base(name)
            for prefix, role in _ROLES.items():
                self._owner[prefix + base] = (name, role)
            for endpoint in state.endpoints.get(name, ()):
                words = endpoint_words(endpoint)
                own = names.endpoint_base(name, endpoint)
                self._owner[names.ENDPOINT + own] = (name, words)
                self._owner[names.AFFINITY + own] = (name, f"clients that last came to {words}")
                self._endpoint_words[base, endpoint.text] = words
        self._static = {
            **{spec.name: f"{spec.kind}: {spec.comment}" for spec in rules.sets},
            **{chain.name: "base chain" for chain in rules.chains if chain.hook},
            **_CHAINS,
        }

    def places(self) -> dict[str, str]:
        found = {f"{spec.kind} {spec.name}": spec.name for spec in self._rules.all_sets()}
        found.update((f"chain {chain.name}", chain.name) for chain in self._rules.all_chains())
        return found

    def items(self) -> Iterator[Item]:
        kinds = {spec.name: spec.kind for spec in self._rules.all_sets()}
        for container, elements in self._rules.contents().items():
            for key, value in elements.items():
                yield self._element(kinds[container], container, key, value)
        for chain in self._rules.all_chains():
            for rule in chain.rules:
                yield self._rule(chain.name, rule, kinds)

    def name(self, name: str) -> str:
        if name in self._owner:
            owner, role = self._owner[name]
            service = service_words(self._state, owner)
            if name.startswith((names.ENDPOINT, names.AFFINITY)):
                return f"{role} of {service}"
            return f"{service}: {role}"
        return self._static.get(name, "")

    def rule(self, text: str, place: str) -> str:
        """In the order of what tells most about a rule or an element."""
        comment = _first(_COMMENT, text)
        if place in self._static and place not in _CHAINS and " : " in text:
            return self._element_words(text)
        modulus = _first(_MODULUS, text)
        if modulus:
            return self._choices(text, place, int(modulus))
        if text.startswith("update @"):
            return f"remember the client for {self._timeout(text)}"
        if _DNAT.search(text):
            return f"DNAT to {_first(_DNAT, text)}"
        verdict = _first(_VERDICT, text)
        if f"@{names.AFFINITY}" in text and verdict:
            owner = self._owner.get(verdict)
            return f"a client seen lately → {owner[1] if owner else verdict} again"
        if verdict:
            why = f"{comment}: " if comment else ""
            return f"{why}→ {self._short(verdict)}"
        if "masquerade fully-random" in text:
            hairpin = names.HAIRPIN_CONNECTIONS in text
            return f"{'the endpoint reaches itself' if hairpin else 'marked'}: masquerade"
        if "mark set" in text:
            return f"{comment or 'mark'}: mark for masquerade"
        if "vmap @" in text:
            return f"look it up in {_first(_LOOKUP, text)}"
        if text.endswith(" drop") and "saddr !=" in text:
            return "from any other source: drop"
        return comment or text.rpartition(" ")[2]

    def _element(self, kind: str, container: str, key: str, value: ElementValue) -> Item:
        text = element_text(key, value)
        target = _first(_VERDICT, value.verdict)
        captured = None
        if container in _CAPTURING:
            parts = ["", *key.split(" . ")][-3:]
            captured = (parts[0], parts[1], int(parts[2]))
        return Item(
            f"{kind} {container}",
            text,
            f"{container} {{ {text} }}",
            (f"chain {target}",) if target else (),
            key=key,
            captures=captured,
        )

    def _rule(self, chain: str, rule: str, kinds: dict[str, str]) -> Item:
        targets = [f"chain {name}" for name in _VERDICT.findall(rule)]
        for name in _REFERENCE.findall(_COMMENT.sub("", rule)):
            targets.append(f"{kinds.get(name, 'set')} {name}")
        endpoints = [_join(ip, port) for ip, port in _CHOICE.findall(rule)]
        if found := _first(_DNAT, rule):
            endpoints.append(found)
        owner = self._owner.get(chain)
        return Item(
            f"chain {chain}",
            rule,
            f"{chain}: {rule}",
            tuple(dict.fromkeys(targets)),
            endpoints=tuple(endpoints),
            owner=owner[0] if owner else None,
        )

    def _element_words(self, text: str) -> str:
        verdict = text.rpartition(" : ")[2]
        target = _first(_VERDICT, verdict)
        comment = _first(_COMMENT, text)
        why = f"{comment} has no endpoints here: " if comment else ""
        return f"{why}{f'→ {self._short(target)}' if target else verdict}"

    def _choices(self, text: str, place: str, count: int) -> str:
        base = place.partition("-")[2]
        chosen = [
            self._endpoint_words.get((base, _join(ip, port)), f"endpoint {_join(ip, port)}")
            for ip, port in _CHOICE.findall(text)
        ] or [self._owner[name][1] for name in _VERDICT.findall(text) if name in self._owner]
        return f"1/{count}{' each' if count > 1 else ''} → {', '.join(chosen)}"

    def _timeout(self, text: str) -> str:
        wanted = _first(_REFERENCE, text)
        owner = self._owner.get(wanted)
        info = self._state.services.get(owner[0]) if owner else None
        return duration(info.affinity_seconds) if info else "a while"

    def _short(self, target: str) -> str:
        return self.name(target) or target


def _join(ip: str, port: str) -> str:
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
