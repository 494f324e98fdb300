"""Chains and rules of iptables mode in words."""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.proxy.changes import ProxyState
from testbed.proxy.describe import endpoint_words, service_words
from testbed.proxy.graph import Item
from testbed.proxy.iptables import names
from testbed.proxy.iptables.ruleset import BASE_CHAINS, Lines, RuleSet
from testbed.proxy.service_port import ServicePortName

_CHAINS = {
    names.SERVICES: "the addresses of Services: in nat what they lead to, in filter what has no "
    "endpoints",
    names.EXTERNAL_SERVICES: "external addresses and node ports without endpoints",
    names.NODE_PORTS: "node ports (nat); health check node ports (filter)",
    names.POSTROUTING: "masquerades what is marked",
    names.MARK_MASQ: "marks for masquerade",
    names.FORWARD: "lets forwarded Service traffic pass",
    names.PROXY_FIREWALL: "drops what loadBalancerSourceRanges do not allow",
    names.FIREWALL: "keeps others away from 127.0.0.0/8",
    names.CANARY: "empty; its absence tells that somebody flushed the table",
}
_ROLES = {
    names.CLUSTER_POLICY: "all endpoints",
    names.LOCAL_POLICY: "endpoints on this node",
    names.EXTERNAL: "traffic to its external addresses",
    names.LOAD_BALANCER_FIREWALL: "the sources that may use its load balancer IPs",
}
_COMMENT = re.compile(r'--comment "([^"]*)"')
_TARGET = re.compile(r"-j (\S+)")
_DESTINATION = re.compile(r"(?<!! )-d (\S+?)(?:/32|/128)? ")
_PORT = re.compile(r"-m (tcp|udp|sctp) --dport (\d+)")
_PROTOCOL_WORDS = {
    "cluster IP": "clusterIP",
    "external IP": "externalIP",
    "loadbalancer IP": "load balancer IP",
}


class Words:
    """Implements testbed.proxy.explain.Words for iptables mode."""

    def __init__(self, rules: RuleSet, state: ProxyState) -> None:
        self._rules = rules
        self._state = state
        self._owner: dict[str, tuple[ServicePortName, str]] = {}
        self._endpoint_text: dict[str, str] = {}
        self._own_lines: dict[str, Lines] = {}
        for name, service_rules in rules.services.items():
            digest = names.port_hash(name)
            for prefix, role in _ROLES.items():
                self._owner[prefix + digest] = (name, role)
            for endpoint in state.endpoints.get(name, ()):
                chain = names.endpoint_chain(name, endpoint.text)
                self._owner[chain] = (name, endpoint_words(endpoint))
                self._endpoint_text[chain] = endpoint.text
            self._own_lines.update(service_rules.chains)

    def places(self) -> dict[str, str]:
        return {
            f"{table} {chain}": chain
            for table in BASE_CHAINS
            for chain in self._rules.chains(table)
        }

    def items(self) -> Iterator[Item]:
        for table in BASE_CHAINS:
            chains = self._rules.chains(table)
            for chain, lines in chains.items():
                for line in lines:
                    yield self._item(table, chain, line)

    def name(self, name: str) -> str:
        if name in self._owner:
            owner, role = self._owner[name]
            service = service_words(self._state, owner)
            if name.startswith(names.ENDPOINT):
                return f"{role} of {service}"
            return f"{service}: {role}"
        if any(name in chains for chains in BASE_CHAINS.values()):
            return "built-in chain"
        return _CHAINS.get(name, "")

    def rule(self, text: str, place: str) -> str:
        """In the order of what tells most about a rule."""
        comment = _first(_COMMENT, text)
        target = _first(_TARGET, text)
        if target == "DNAT":
            to = f"DNAT to {text.rpartition(' ')[2]}"
            return f"remember the client, {to}" if "-m recent --set" in text else to
        if target in ("REJECT", "DROP", "ACCEPT"):
            return f"{target.lower()}: {comment}" if comment else target.lower()
        if target == names.MARK_MASQ:
            return f"{_why_marked(text, comment)}: mark for masquerade"
        if target == "MASQUERADE":
            return "masquerade: the source becomes this node's address"
        if target == "MARK":
            return "clear the mark" if text.endswith("/0x0") else "set the mark"
        if target == "RETURN":
            return "not marked: done"
        if target.startswith(names.ENDPOINT):
            return self._choice(text, target, place)
        if target:
            return f"{_who(text, comment)}→ {self._short(target)}"
        return comment

    def _item(self, table: str, chain: str, line: str) -> Item:
        target = _first(_TARGET, line)
        captured = None
        shared = chain in (names.SERVICES, names.NODE_PORTS, names.EXTERNAL_SERVICES)
        port = _PORT.search(line)
        if port and (shared or chain == names.PROXY_FIREWALL):
            captured = (_first(_DESTINATION, line), port[1], int(port[2]))
            if captured[0] == "127.0.0.0/8":
                captured = ("", port[1], int(port[2]))
        endpoint = self._endpoint_text.get(target) or self._endpoint_text.get(chain)
        owner = self._owner.get(target if target in self._endpoint_text else chain)
        return Item(
            f"{table} {chain}",
            line,
            f"-t {table} -A {chain} {line}",
            (f"{table} {target}",) if target else (),
            captures=captured,
            endpoints=(endpoint,) if endpoint else (),
            owner=owner[0] if owner else None,
        )

    def _choice(self, text: str, target: str, place: str) -> str:
        endpoint = self._owner[target][1] if target in self._owner else target
        if "--rcheck" in text:
            seconds = _first(re.compile(r"--seconds (\d+)"), text)
            return f"a client seen here within {seconds} s → {endpoint} again"
        place = place or self._place_of(text)
        choices = sum(
            f"-j {names.ENDPOINT}" in line and "--rcheck" not in line
            for line in self._own_lines.get(place, ())
        )
        return f"1/{choices} → {endpoint}" if choices else f"→ {endpoint}"

    def _place_of(self, text: str) -> str:
        return next((name for name, lines in self._own_lines.items() if text in lines), "")

    def _short(self, target: str) -> str:
        return self.name(target) or target


def _who(text: str, comment: str) -> str:
    """Whom a jump takes: an address, a node port, a source."""
    port = _PORT.search(text)
    for kind, words in _PROTOCOL_WORDS.items():
        if port and comment.endswith(kind):
            return f"{words} {_first(_DESTINATION, text)}:{port[2]}/{port[1].upper()} "
    if comment.startswith("pod traffic"):
        return "from a local Pod "
    if comment.startswith("route LOCAL traffic"):
        return "from this node itself "
    source = re.search(r"(?<!! )-s (\S+)", text)
    if source:
        return f"from {source[1]} "
    return f"port {port[2]}/{port[1].upper()} of this node " if port else ""


def _why_marked(text: str, comment: str) -> str:
    if comment.endswith("cluster IP"):
        return "not from a local Pod" if "! -" in text else "to the clusterIP"
    if comment.startswith("masquerade LOCAL"):
        return "from this node itself"
    if comment.startswith("masquerade traffic"):
        return "external traffic"
    return "the endpoint reaches itself"


def _first(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found[1] if found else ""
