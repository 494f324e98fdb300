"""One proxy instance: its family, its node, its settings, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from testbed.api.objects import IPV4
from testbed.proxy.addresses import parse_cidr
from testbed.proxy.config import NFTABLES, KubeProxyConfiguration
from testbed.proxy.local_detector import LocalDetector, local_detector
from testbed.proxy.node import LocalNode
from testbed.proxy.node_port_addresses import (
    PRIMARY,
    NodePortAddresses,
    node_port_addresses,
)


@dataclass(frozen=True)
class Instance:
    """All that rules depend on besides Services and endpoints. `service_cidrs` of both families.

    A change of any of it makes a new Instance, and a full render.
    """

    node: LocalNode
    config: KubeProxyConfiguration
    service_cidrs: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        return self.node.family

    @cached_property
    def detector(self) -> LocalDetector:
        return local_detector(self.config, self.node)

    def node_ports(self, for_nftables: bool) -> NodePortAddresses:
        """Where NodePorts listen; nftables mode's own default is the primary address, and there
        the loopback address never takes part."""
        given = self.config.node_port_addresses
        if for_nftables:
            return node_port_addresses(given or (PRIMARY,), self.node, allow_localhost=False)
        return node_port_addresses(
            given, self.node, allow_localhost=self.config.localhost_node_ports
        )

    @cached_property
    def localhost_node_ports(self) -> bool:
        """Whether 127.0.0.1 serves NodePorts (iptables mode): route_localnet must then be 1."""
        return self.node_ports(for_nftables=False).localhost

    @cached_property
    def counts_localhost_node_ports(self) -> bool:
        return self.localhost_node_ports and self.config.nfacct

    @cached_property
    def own_service_cidrs(self) -> tuple[str, ...]:
        """The Service CIDRs of this family."""
        parsed = (parse_cidr(cidr) for cidr in self.service_cidrs)
        return tuple(cidr[1] for cidr in parsed if cidr and cidr[0] == self.family)

    @property
    def icmp(self) -> str:
        return "icmp" if self.family == IPV4 else "icmp6"

    @property
    def full_mask(self) -> str:
        return "255.255.255.255" if self.family == IPV4 else ":".join(["ffff"] * 8)

    def mark(self, mode: str) -> int:
        """The masquerade mark of `mode`, as a number."""
        settings = self.config.nftables if mode == NFTABLES else self.config.iptables
        return 1 << settings.masquerade_bit
