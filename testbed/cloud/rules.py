"""The load balancer's nftables rules as text: what a packet to a VIP meets. Pure.

In the balancer's namespace, table `inet cloud`:

- `nat-v4`, `nat-v6`: VIP . protocol . port → the Service's chain, looked up once per flow (nat
  hook): source ranges, then DNAT to a healthy node's node port.
- `route-v4`, `route-v6`: the same for what is not rewritten (dsr, proxy), looked up per packet.
- A packet for a VIP that nothing has taken is dropped, as is a new flow to a Service without a
  healthy target: the client sees a time-out, the same as from kube-proxy for a `Local` Service
  without a local endpoint. (Clouds differ here: some reset, some send to every node.)

The spread is a hash of the flow (of the client's address with session affinity), so that a flow's
packets and a client's flows meet the same node; established flows stay where conntrack has them.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from testbed.api.objects import IPV4, IPV6, family_of
from testbed.cloud.balancer import DataPlane, Listener, LoadBalancer

TABLE = "cloud"
FAMILIES = (IPV4, IPV6)
#: Marks flows that came out of the balancer, in the router, and the routing table of their replies.
RETURN_MARK = 0xC10D
#: Node i's packets carry DSR_MARK + i, and the label below on the link to the router.
DSR_MARK = 0xC1000
#: Seconds an idle direct flow keeps its node.
DSR_FLOW_TIMEOUT = 300

_SHORT = {IPV4: "v4", IPV6: "v6"}
_FIELD = {IPV4: "ip", IPV6: "ip6"}
_ADDRESS_TYPE = {IPV4: "ipv4_addr", IPV6: "ipv6_addr"}
_CHAIN_LIMIT = 120


@dataclass(frozen=True, slots=True)
class ServiceRules:
    """One Service's part of the table: a chain, and what leads to it.

    `listeners` are (VIP, protocol, port), looked up in the maps of `hook` (nat or route); `nodes`
    the addresses that its new flows may go to.
    """

    chain: str
    hook: str = "nat"
    rules: tuple[str, ...] = ()
    listeners: frozenset[tuple[str, str, int]] = frozenset()
    nodes: frozenset[str] = frozenset()

    @property
    def elements(self) -> frozenset[tuple[str, str]]:
        """(map, element key), e.g. ("nat-v4", "198.51.100.1 . tcp . 80")."""
        return frozenset(
            (f"{self.hook}-{_SHORT[family_of(vip)]}", f"{vip} . {protocol} . {port}")
            for vip, protocol, port in self.listeners
        )


def chain_name(balancer: LoadBalancer) -> str:
    """`namespace/name` behind a prefix, shortened with a checksum where nft's limit asks for it."""
    name = f"service-{balancer.key}"
    if len(name) <= _CHAIN_LIMIT:
        return name
    return f"{name[: _CHAIN_LIMIT - 9]}-{zlib.crc32(name.encode()):08x}"


def service_rules(
    balancer: LoadBalancer, healthy: Collection[str], labels: dict[str, int]
) -> ServiceRules:
    """The chain of `balancer` with the healthy ones of its targets.

    `labels` numbers the nodes, for dsr.
    """
    rules: list[str] = []
    listeners: set[tuple[str, str, int]] = set()
    for address in balancer.addresses:
        family = family_of(address)
        name = _FIELD[family]
        if allowed := balancer.ranges(family):
            rules.append(f"{name} saddr != {{ {', '.join(allowed)} }} drop")
        for listener in balancer.listeners:
            listeners.add((address, listener.protocol.lower(), listener.port))
            rules += _listener_rules(balancer, listener, family, healthy, labels)
    return ServiceRules(
        chain=chain_name(balancer),
        hook="nat" if _rewrites(balancer) else "route",
        rules=tuple(rules),
        listeners=frozenset(listeners),
        nodes=frozenset(a for t in balancer.targets if t.name in healthy for a in t.addresses),
    )


def _rewrites(balancer: LoadBalancer) -> bool:
    return balancer.data_plane in (DataPlane.NAT, DataPlane.MASQUERADE)


def _listener_rules(
    balancer: LoadBalancer,
    listener: Listener,
    family: str,
    healthy: Collection[str],
    labels: dict[str, int],
) -> list[str]:
    protocol, name = listener.protocol.lower(), _FIELD[family]
    match = f"meta nfproto {family.lower()} {protocol} dport {listener.port}"
    nodes = {
        t.name: address
        for t in balancer.targets
        if t.name in healthy and (address := t.address(family)) is not None
    }
    if not nodes:
        return [f"{match} drop"]
    if balancer.data_plane is DataPlane.PROXY:
        return [f"{match} accept"]
    if balancer.data_plane is DataPlane.DSR:
        chains = [f"goto {node_chain(labels[name])}" for name in nodes]
        spread = _spread(balancer, listener, family, chains)
        known = [f"{match} jump remembered"] if listener.protocol == "TCP" else []
        return [*known, f"{match} {spread}"]
    mark = f"{match} ct mark set {hex(RETURN_MARK)}"
    rewrite = [mark] if balancer.data_plane is DataPlane.MASQUERADE else []
    spread = _spread(balancer, listener, family, list(nodes.values()), "map")
    target = f"[{spread}]" if family == IPV6 and len(nodes) == 1 else spread
    return [*rewrite, f"{match} dnat {name} to {target} : {listener.node_port}"]


def _spread(
    balancer: LoadBalancer,
    listener: Listener,
    family: str,
    choices: Sequence[str],
    kind: str = "vmap",
) -> str:
    """An expression that picks one of `choices` (verdicts, or addresses with `kind` map)."""
    if len(choices) == 1:
        return choices[0]
    what = f"{_FIELD[family]} saddr"
    if not balancer.affinity:
        what += f" . {listener.protocol.lower()} sport"
    seed = hex(zlib.crc32(str(balancer.key).encode()))
    listed = ", ".join(f"{index} : {choice}" for index, choice in enumerate(choices))
    return f"jhash {what} mod {len(choices)} seed {seed} {kind} {{ {listed} }}"


def _flow(family: str) -> str:
    name = _FIELD[family]
    return f"{name} saddr . tcp sport . {name} daddr . tcp dport"


def balancer_table(ranges: Iterable[str], device: str) -> str:
    """The balancer's tables without Services; replaces what is there. `device`: its link."""
    lines = [f"table inet {TABLE} {{"]
    for family in FAMILIES:
        short, kind = _SHORT[family], _ADDRESS_TYPE[family]
        for hook in ("nat", "route"):
            lines.append(
                f"  map {hook}-{short} {{ type {kind} . inet_proto . inet_service : verdict; }}"
            )
    lines += ["  chain remembered {", "  }"]
    lines += ["  chain direct {", "    type filter hook prerouting priority mangle"]
    lines += [f"    {_lookup('route', family)}" for family in FAMILIES]
    lines += ["  }", "  chain rewrite {", "    type nat hook prerouting priority dstnat"]
    lines += [f"    {_lookup('nat', family)}" for family in FAMILIES]
    lines += [
        "  }",
        "  chain source {",
        "    type nat hook postrouting priority srcnat",
        f"    ct mark {hex(RETURN_MARK)} masquerade",
        "  }",
        "  chain unclaimed {",
        "    type filter hook forward priority filter",
        "    meta mark != 0 accept",
        *(f"    {_FIELD[family_of(r)]} daddr {r} drop" for r in ranges),
        "  }",
        "}",
    ]
    return _replace("inet", lines) + _replace("netdev", _labels_table(device))


def _lookup(hook: str, family: str) -> str:
    key = f"{_FIELD[family]} daddr . meta l4proto . th dport"
    return f"{key} vmap @{hook}-{_SHORT[family]}"


def _labels_table(device: str) -> list[str]:
    """A directly routed packet tells the router its node by the sender's link address."""
    return [
        f"table netdev {TABLE} {{",
        "  map labels { type mark : ether_addr; }",
        "  chain label {",
        f'    type filter hook egress device "{device}" priority filter',
        "    meta mark != 0 ether saddr set meta mark map @labels",
        "  }",
        "}",
    ]


def _replace(family: str, lines: Iterable[str]) -> str:
    """Text that puts a table in place of the one of that name."""
    head = [f"add table {family} {TABLE}", f"delete table {family} {TABLE}"]
    return "\n".join([*head, *lines, ""])


def link_label(label: int) -> str:
    """The (locally administered) link address that stands for node number `label`."""
    return f"02:c1:0d:00:{label >> 8:02x}:{label & 255:02x}"


def change(old: ServiceRules | None, new: ServiceRules | None) -> str:
    """One transaction's text from a Service's `old` part to its `new` one."""
    chain = (new or old or ServiceRules("")).chain
    before = old.elements if old else frozenset()
    after = new.elements if new else frozenset()
    lines = [
        f"delete element inet {TABLE} {table} {{ {key} }}" for table, key in sorted(before - after)
    ]
    if new is None:
        lines += [f"flush chain inet {TABLE} {chain}", f"delete chain inet {TABLE} {chain}"]
        return "\n".join([*lines, ""])
    if old is None:
        lines.append(f"add chain inet {TABLE} {chain}")
    lines.append(f"flush chain inet {TABLE} {chain}")
    lines += [f"add rule inet {TABLE} {chain} {rule}" for rule in new.rules]
    lines += [
        f"add element inet {TABLE} {table} {{ {key} : goto {chain} }}"
        for table, key in sorted(after - before)
    ]
    return "\n".join([*lines, ""])


def router_table(ranges: Iterable[str], device: str) -> str:
    """The router's part; `device` is its link to the balancer.

    A flow that comes out of the balancer with the client's address still on it has its replies
    routed back through the balancer, which alone can undo the DNAT. A packet still addressed to a
    VIP comes from dsr: its link label says which node it goes to.
    """
    lines = [
        f"table inet {TABLE} {{",
        "  map labels { type ether_addr : mark; }",
        "  chain steer {",
        "    type filter hook prerouting priority mangle",
        f'    iifname != "{device}" ct direction reply ct mark {hex(RETURN_MARK)} '
        "meta mark set ct mark accept",
    ]
    lines += [
        f'    iifname "{device}" {_FIELD[family_of(r)]} daddr {r} '
        "meta mark set ether saddr map @labels accept"
        for r in ranges
    ]
    lines += [
        f'    iifname "{device}" ct direction original ct mark set {hex(RETURN_MARK)}',
        "  }",
        "}",
    ]
    return _replace("inet", lines)


def node_chain(label: int) -> str:
    """The chain that sends a packet directly to node number `label`."""
    return f"node-{label}"


def add_node(label: int) -> tuple[str, str]:
    """(balancer's, router's) transaction that makes node number `label` known for dsr.

    A TCP flow keeps its node while it lasts, also when the set of healthy nodes changes; a datagram
    may go to another one any time.
    """
    mark, address, chain = hex(DSR_MARK + label), link_label(label), node_chain(label)
    lines = [f"add chain inet {TABLE} {chain}"]
    lines.append(f"add rule inet {TABLE} {chain} meta mark set {mark}")
    for family in FAMILIES:
        flows = f"flows-{_SHORT[family]}-{label}"
        lines += [
            f"add set inet {TABLE} {flows} {{ typeof {_flow(family)}; size 65536; "
            f"flags dynamic,timeout; timeout {DSR_FLOW_TIMEOUT}s; }}",
            f"add rule inet {TABLE} {chain} update @{flows} {{ {_flow(family)} }}",
            f"add rule inet {TABLE} remembered {_flow(family)} @{flows} goto {chain}",
        ]
    lines += [
        f"add rule inet {TABLE} {chain} accept",
        f"add element netdev {TABLE} labels {{ {mark} : {address} }}",
        "",
    ]
    return "\n".join(lines), f"add element inet {TABLE} labels {{ {address} : {mark} }}\n"
