"""hostPorts of the Pods of one node, as CNI's portmap plugin maps them. Pure.

Source: containernetworking/plugins, plugins/meta/portmap (nftables backend): DNAT of what arrives
for a local address, masquerading for a Pod that asks itself and for 127.0.0.1. The chains come
after kube-proxy's, which decides first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.api.documents import Document
from testbed.api.objects import IPV6, Pod, family_of

TABLE = "testbed_hostports"
_EVERY = ("", "0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Mapping:
    """One hostPort in one family; `host_ip` is "" for all addresses of the node."""

    protocol: str
    host_ip: str
    host_port: int
    address: str
    port: int

    @property
    def ip(self) -> str:
        return "ip6" if family_of(self.address) == IPV6 else "ip"

    @property
    def rule(self) -> str:
        target = f"[{self.address}]" if self.ip == "ip6" else self.address
        match = (
            f"{self.ip} daddr {self.host_ip} " if self.host_ip else f"meta nfproto {self.nfproto} "
        )
        protocol = self.protocol.lower()
        return f"{match}{protocol} dport {self.host_port} dnat {self.ip} to {target}:{self.port}"

    @property
    def nfproto(self) -> str:
        return "ipv6" if self.ip == "ip6" else "ipv4"


def mappings(pods: Iterable[tuple[Document, Sequence[str]]]) -> list[Mapping]:
    """Every hostPort of the Pods, which come with their addresses; exact addresses come first."""
    found = [
        Mapping(
            port.protocol,
            "" if port.host_ip in _EVERY else port.host_ip,
            port.host_port,
            address,
            port.port,
        )
        for document, addresses in pods
        for port in Pod.from_document(document).ports
        if port.host_port
        for address in addresses
        if port.host_ip in _EVERY[:1] or family_of(port.host_ip) == family_of(address)
    ]
    return sorted(found, key=lambda mapping: not mapping.host_ip)


def ruleset(wanted: Sequence[Mapping]) -> str:
    """nft text that replaces the table by one for these mappings; without any, it only removes."""
    head = [f"table inet {TABLE} {{}}", f"delete table inet {TABLE}"]
    if not wanted:
        return "\n".join([*head, ""])
    pods = dict.fromkeys((mapping.ip, mapping.address) for mapping in wanted)
    hairpin = [f"    {ip} saddr {a} {ip} daddr {a} ct status dnat masquerade" for ip, a in pods]
    return "\n".join(
        [
            *head,
            f"table inet {TABLE} {{",
            "  chain hostports {",
            *(f"    {mapping.rule}" for mapping in wanted),
            "  }",
            "  chain prerouting {",
            "    type nat hook prerouting priority dstnat + 5; policy accept;",
            "    fib daddr type local jump hostports",
            "  }",
            "  chain output {",
            "    type nat hook output priority -95; policy accept;",
            "    fib daddr type local jump hostports",
            "  }",
            "  chain postrouting {",
            "    type nat hook postrouting priority srcnat + 5; policy accept;",
            *hairpin,
            "    ip saddr 127.0.0.0/8 ip daddr != 127.0.0.0/8 ct status dnat masquerade",
            "  }",
            "}",
            "",
        ]
    )
