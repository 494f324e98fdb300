"""The part of nftables mode's table that no Service owns.

Source: setupNFTables, pkg/proxy/nftables/proxier.go; catalogue 4.1…4.3.
"""

from __future__ import annotations

from testbed.api.objects import IPV6
from testbed.proxy.config import NFTABLES
from testbed.proxy.instance import Instance
from testbed.proxy.local_detector import LocalDetector
from testbed.proxy.nftables import names
from testbed.proxy.nftables.ranges import address_set
from testbed.proxy.nftables.ruleset import (
    Chain,
    ElementKey,
    ElementValue,
    Lines,
    RuleSet,
    SetSpec,
)

_FILTER = "type filter hook"
_NAT = "type nat hook"


def empty_ruleset(instance: Instance) -> RuleSet:
    """The table of `instance` without any Service."""
    ports = instance.node_ports(for_nftables=True)
    return RuleSet(
        family=instance.family,
        sets=_sets(instance.family, with_node_port_ips=not ports.match_all),
        chains=(*_base_chains(), *_shared_chains(instance, ports.match_all)),
        elements={
            ElementKey(names.NODE_PORT_IPS, address): ElementValue() for address in ports.addresses
        },
    )


def address_type(family: str) -> str:
    """nft's name of the type of an address."""
    return "ipv6_addr" if family == IPV6 else "ipv4_addr"


def ip(family: str) -> str:
    """How expressions begin that look at the IP header."""
    return "ip6" if family == IPV6 else "ip"


def local_match(detector: LocalDetector, family: str, negated: bool) -> str:
    """The match of packets from local Pods, or of all others."""
    no = "!= " if negated else ""
    if detector.cidr:
        return f"{ip(family)} saddr {no}{detector.cidr}"
    return f'iifname {no}"{detector.interface}{"*" if detector.is_prefix else ""}"'


def set_mark(instance: Instance) -> str:
    """The statement that asks for masquerade."""
    return f"meta mark set meta mark | {_mark(instance)}"


def _mark(instance: Instance) -> str:
    return f"0x{instance.mark(NFTABLES):08x}"


def _sets(family: str, with_node_port_ips: bool) -> tuple[SetSpec, ...]:
    address = address_type(family)
    to_port = "inet_proto . inet_service"
    service = f"{address} . {to_port}"
    refuse = "vmap to drop or reject packets to"
    node_port_ips = SetSpec(
        names.NODE_PORT_IPS, address, comment="IPs that accept NodePort traffic"
    )
    return (
        SetSpec(
            names.HAIRPIN_CONNECTIONS,
            f"{address} . {service}",
            comment="service hairpin connections",
        ),
        SetSpec(names.CLUSTER_IPS, address, comment="Active ClusterIPs"),
        *((node_port_ips,) if with_node_port_ips else ()),
        SetSpec(
            names.NO_ENDPOINT_SERVICES, service, "verdict", f"{refuse} services with no endpoints"
        ),
        SetSpec(
            names.NO_ENDPOINT_NODE_PORTS,
            to_port,
            "verdict",
            f"{refuse} service nodeports with no endpoints",
        ),
        SetSpec(
            names.FIREWALL_IPS,
            service,
            "verdict",
            "destinations that are subject to LoadBalancerSourceRanges",
        ),
        SetSpec(
            names.SERVICE_IPS,
            service,
            "verdict",
            "ClusterIP, ExternalIP and LoadBalancer IP traffic",
        ),
        SetSpec(names.SERVICE_NODE_PORTS, to_port, "verdict", "NodePort traffic"),
    )


def _base_chains() -> tuple[Chain, ...]:
    def new(*targets: str) -> Lines:
        return tuple(f"ct state new jump {target}" for target in targets)

    endpoints = names.SERVICE_ENDPOINTS_CHECK
    unknown = names.CLUSTER_IPS_CHECK
    return (
        Chain(
            "filter-prerouting-pre-dnat",
            new(names.FIREWALL_CHECK),
            f"{_FILTER} prerouting priority dstnat - 10",
        ),
        Chain(
            "filter-output-pre-dnat",
            new(names.FIREWALL_CHECK),
            f"{_FILTER} output priority -110",
        ),
        Chain(
            "filter-input",
            new(names.NODE_PORT_ENDPOINTS_CHECK, endpoints),
            f"{_FILTER} input priority filter",
        ),
        Chain("filter-forward", new(endpoints, unknown), f"{_FILTER} forward priority filter"),
        Chain("filter-output", new(endpoints, unknown), f"{_FILTER} output priority filter"),
        Chain("nat-prerouting", (f"jump {names.SERVICES}",), f"{_NAT} prerouting priority dstnat"),
        Chain("nat-output", (f"jump {names.SERVICES}",), f"{_NAT} output priority -100"),
        Chain(
            "nat-postrouting",
            (f"jump {names.MASQUERADING}",),
            f"{_NAT} postrouting priority srcnat",
        ),
    )


def _shared_chains(instance: Instance, all_node_ports: bool) -> tuple[Chain, ...]:
    family = ip(instance.family)
    loopback = "::1" if instance.family == IPV6 else "127.0.0.0/8"
    to_service = f"{family} daddr . meta l4proto . th dport vmap"
    to_port = "meta l4proto . th dport vmap"
    not_loopback = f"{family} daddr != {loopback}"
    listed = f"{family} daddr @{names.NODE_PORT_IPS}"
    refused = not_loopback if all_node_ports else listed
    captured = f"fib daddr type local {not_loopback}" if all_node_ports else listed
    mark = _mark(instance)
    masquerade = "masquerade fully-random"
    return (
        Chain(
            names.NODE_PORT_ENDPOINTS_CHECK,
            (f"{refused} {to_port} @{names.NO_ENDPOINT_NODE_PORTS}",),
        ),
        Chain(names.SERVICE_ENDPOINTS_CHECK, (f"{to_service} @{names.NO_ENDPOINT_SERVICES}",)),
        Chain(names.FIREWALL_CHECK, (f"{to_service} @{names.FIREWALL_IPS}",)),
        Chain(
            names.SERVICES,
            (
                *_masquerade_internal(instance),
                f"{to_service} @{names.SERVICE_IPS}",
                f"{captured} {to_port} @{names.SERVICE_NODE_PORTS}",
            ),
        ),
        Chain(
            names.MASQUERADING,
            (
                f"meta mark & {mark} != 0x00000000 meta mark set meta mark ^ {mark} {masquerade}",
                f"ct status dnat {family} saddr . {family} daddr . meta l4proto . th dport "
                f"@{names.HAIRPIN_CONNECTIONS} {masquerade}",
            ),
        ),
        Chain(names.CLUSTER_IPS_CHECK, _cluster_ips_check(instance)),
        Chain(
            names.REJECT_CHAIN,
            ("reject",),
            comment=f"helper for @{names.NO_ENDPOINT_SERVICES} / @{names.NO_ENDPOINT_NODE_PORTS}",
        ),
    )


def _masquerade_internal(instance: Instance) -> Lines:
    """Traffic to clusterIPs that isn't a local Pod's: somebody routes the range here."""
    to_cluster_ip = f"{ip(instance.family)} daddr @{names.CLUSTER_IPS}"
    if instance.config.nftables.masquerade_all:
        return (f'{to_cluster_ip} {set_mark(instance)} comment "masquerade clusterIP traffic"',)
    if not instance.detector:
        return ()
    others = local_match(instance.detector, instance.family, negated=True)
    return (
        f"{to_cluster_ip} {others} {set_mark(instance)} "
        'comment "masquerade clusterIP traffic from outside cluster"',
    )


def _cluster_ips_check(instance: Instance) -> Lines:
    family = ip(instance.family)
    invalid = (
        f"{family} daddr @{names.CLUSTER_IPS} reject "
        'comment "Reject traffic to invalid ports of ClusterIPs"'
    )
    cidrs = instance.own_service_cidrs
    if not cidrs:
        return (invalid,)
    comment = "Drop traffic to unallocated ClusterIPs"
    return (invalid, f'{family} daddr {address_set(cidrs)} drop comment "{comment}"')
