"""Which element of an nftables map or set a packet matched, told from the rule's text. Pure."""

from __future__ import annotations

import re

from testbed.flow.headers import Headers

_MAP = re.compile(r"^(?P<before>.*) vmap @\S+")
_SET = re.compile(r"^(?P<before>.*?) @\S+")
_LITERAL = re.compile(r"numgen \S+ mod \d+ (?:v?map) \{(?P<elements>[^}]*)\}")
_FIELDS = (
    "meta l4proto",
    "ip saddr",
    "ip daddr",
    "ip6 saddr",
    "ip6 daddr",
    "th sport",
    "th dport",
    "tcp sport",
    "tcp dport",
    "udp sport",
    "udp dport",
    "sctp sport",
    "sctp dport",
)


def matched_element(text: str, verdict: str, before: Headers, after: Headers) -> str:
    """The element, as nft would print it, or "" where it can't be told.

    `before` is the packet when the chain began, `after` when it had left the namespace's rules.
    """
    drawn = _LITERAL.search(text)
    if drawn:
        return _drawn_element(drawn["elements"], verdict, after)
    found = _MAP.match(text) or _SET.match(text)
    key = _key(found["before"], before) if found else ""
    return f"{key} : {verdict}" if key and found and found.re is _MAP else key


def _drawn_element(elements: str, verdict: str, after: Headers) -> str:
    """The element of a `numgen … map`: what the packet became says which one was drawn."""
    target = f"{after.flow.destination} . {after.flow.destination_port}"
    for element in elements.split(","):
        _, _, value = element.strip().partition(" : ")
        if value in (target, verdict):
            return element.strip()
    return ""


def _key(words: str, headers: Headers) -> str:
    """The values of the fields that stand last in `words`, joined as nft joins them."""
    values: list[str] = []
    rest = words.strip()
    while True:
        field = next((each for each in _FIELDS if rest.endswith(each)), None)
        if field is None:
            return ""
        values.insert(0, _value(field, headers))
        rest = rest[: -len(field)].rstrip()
        if not rest.endswith("."):
            return " . ".join(values)
        rest = rest[:-1].rstrip()


def _value(field: str, headers: Headers) -> str:
    flow = headers.flow
    if field == "meta l4proto":
        return "ipv6-icmp" if flow.protocol_number == 58 else flow.protocol
    return {
        "saddr": flow.source,
        "daddr": flow.destination,
        "sport": str(flow.source_port),
        "dport": str(flow.destination_port),
    }[field.split()[1]]
