"""The rules of iptables mode that no Service owns: jumps, marks, forwarding.

Source: iptablesJumpChains and the head and tail of syncProxyRules, pkg/proxy/iptables/proxier.go.
Jumps are listed in the order that kube-proxy's prepending leaves behind (catalogue 3.2).
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.api.objects import IPV6
from testbed.proxy.addresses import host_cidr
from testbed.proxy.instance import Instance
from testbed.proxy.iptables import names
from testbed.proxy.iptables.ruleset import Lines

INVALID_NFACCT = "ct_state_invalid_dropped_pkts"
LOCALHOST_NFACCT = "localhost_nps_accepted_pkts"

_NEW = "-m conntrack --ctstate NEW "
_KUBELET_FIREWALL = f"-j {names.FIREWALL}"


def _jump(to: str, comment: str, new_only: bool = True) -> str:
    return f'{_NEW if new_only else ""}-m comment --comment "kubernetes {comment}" -j {to}'


_TO_PROXY_FIREWALL = _jump(names.PROXY_FIREWALL, "load balancer firewall")
_TO_EXTERNAL = _jump(names.EXTERNAL_SERVICES, "externally-visible service portals")
_TO_SERVICES = _jump(names.SERVICES, "service portals")
_NAT_TO_SERVICES = _jump(names.SERVICES, "service portals", new_only=False)

_FILTER_JUMPS: Mapping[str, Lines] = {
    "INPUT": (
        _KUBELET_FIREWALL,
        _TO_PROXY_FIREWALL,
        _jump(names.NODE_PORTS, "health check service ports", new_only=False),
        _TO_EXTERNAL,
    ),
    "FORWARD": (
        _TO_PROXY_FIREWALL,
        _jump(names.FORWARD, "forwarding rules", new_only=False),
        _TO_SERVICES,
        _TO_EXTERNAL,
    ),
    "OUTPUT": (_KUBELET_FIREWALL, _TO_PROXY_FIREWALL, _TO_SERVICES),
}
_NAT_JUMPS: Mapping[str, Lines] = {
    "PREROUTING": (_NAT_TO_SERVICES,),
    "OUTPUT": (_NAT_TO_SERVICES,),
    "POSTROUTING": (_jump(names.POSTROUTING, "postrouting rules", new_only=False),),
}


def static_chains(instance: Instance) -> Mapping[str, Mapping[str, Lines]]:
    """By table: the built-in chains' jumps and the chains that are always there."""
    mark = f"0x{1 << instance.config.iptables.masquerade_bit:x}"
    return {
        "mangle": {names.CANARY: ()},
        "filter": {
            **_FILTER_JUMPS,
            names.EXTERNAL_SERVICES: (),
            names.FIREWALL: _localnet_guard(instance),
            names.FORWARD: _forward(instance, mark),
            names.NODE_PORTS: (),
            names.CANARY: (),
            names.PROXY_FIREWALL: (),
            names.SERVICES: (),
        },
        "nat": {
            **_NAT_JUMPS,
            names.MARK_MASQ: (f"-j MARK --set-xmark {mark}/{mark}",),
            names.NODE_PORTS: (),
            names.POSTROUTING: (
                f"-m mark ! --mark {mark}/{mark} -j RETURN",
                f"-j MARK --set-xmark {mark}/0x0",
                '-m comment --comment "kubernetes service traffic requiring SNAT" '
                "-j MASQUERADE --random-fully",
            ),
            names.CANARY: (),
            names.SERVICES: (),
        },
    }


def tail_chains(instance: Instance) -> Mapping[tuple[str, str], Lines]:
    """What stands behind the Services' rules: the way into KUBE-NODEPORTS."""
    comment = (
        '-m comment --comment "kubernetes service nodeports; '
        'NOTE: this must be the last rule in this chain"'
    )
    ports = instance.node_ports(for_nftables=False)
    if ports.match_all:
        but = ""
        if instance.family == IPV6:
            but = "! -d ::1/128 "
        elif not ports.localhost:
            but = "! -d 127.0.0.0/8 "
        lines: Lines = (f"{but}{comment} -m addrtype --dst-type LOCAL -j {names.NODE_PORTS}",)
    else:
        lines = tuple(
            f"-d {host_cidr(ip)} {comment} -j {names.NODE_PORTS}" for ip in ports.addresses
        )
    return {("nat", names.SERVICES): lines}


def _localnet_guard(instance: Instance) -> Lines:
    """route_localnet lets others reach 127.0.0.0/8 from outside; this keeps them out."""
    if not instance.localhost_node_ports:
        return ()
    return (
        '! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet '
        'connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
    )


def _forward(instance: Instance, mark: str) -> Lines:
    invalid: Lines = ()
    if not instance.config.conntrack.tcp_be_liberal:
        # iptables-save really prints two blanks here.
        counter = f"-m nfacct --nfacct-name  {INVALID_NFACCT} " if instance.config.nfacct else ""
        invalid = (f"-m conntrack --ctstate INVALID {counter}-j DROP",)
    return (
        *invalid,
        f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {mark}/{mark} '
        "-j ACCEPT",
        '-m comment --comment "kubernetes forwarding conntrack rule" '
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    )
