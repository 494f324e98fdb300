"""Service ports and endpoints to the table of nftables mode, as `nft -s list table` prints it.

Source: pkg/proxy/nftables/proxier.go syncProxyRules. Across Services kube-proxy's order is random
(it walks a Go map) and ours is that of the names; it decides nothing but the listing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.proxy.addresses import contains
from testbed.proxy.changes import ProxyState
from testbed.proxy.decision import REJECT, Decision, decide
from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.instance import Instance
from testbed.proxy.nftables import names
from testbed.proxy.nftables.ranges import address_set
from testbed.proxy.nftables.ruleset import (
    Chain,
    ElementKey,
    ElementValue,
    Lines,
    RuleSet,
    ServiceRules,
    SetSpec,
)
from testbed.proxy.nftables.static import (
    address_type,
    empty_ruleset,
    ip,
    local_match,
    set_mark,
)
from testbed.proxy.service_port import ServicePortInfo, ServicePortName

#: The size that nft gives a dynamic set without one.
_AFFINITY_SIZE = 65535


class Renderer:
    """Makes the RuleSets of one instance, and from one RuleSet the next."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._empty = empty_ruleset(instance)

    def render(self, state: ProxyState) -> RuleSet:
        """All rules for `state`."""
        return self.update(self._empty, state, state.services)

    def update(
        self, previous: RuleSet, state: ProxyState, changed: Iterable[ServicePortName]
    ) -> RuleSet:
        """The rules for `state`, of which only `changed` differs from what `previous` was for."""
        rules: dict[ServicePortName, ServiceRules | None] = {}
        for name in changed:
            info = state.services.get(name)
            endpoints = state.endpoints.get(name, ())
            rules[name] = render_port(info, endpoints, self._instance) if info else None
        return previous.with_services(rules)


def render_port(
    info: ServicePortInfo, endpoints: Sequence[EndpointInfo], instance: Instance
) -> ServiceRules:
    """The elements, sets and chains of one service port with these endpoints."""
    node = instance.node
    port = _Port(info, decide(info, endpoints, node.name, node.zone), instance)
    return ServiceRules(port.elements(), port.affinity_sets(), port.chains())


class _Port:
    """One service port's part of the table."""

    def __init__(self, info: ServicePortInfo, decision: Decision, instance: Instance) -> None:
        self._info = info
        self._decision = decision
        self._instance = instance
        self._ip = ip(instance.family)
        base = names.port_base(info.name)
        self._cluster_chain = names.CLUSTER_POLICY + base
        self._local_chain = names.LOCAL_POLICY + base
        self._external_chain = names.EXTERNAL + base
        self._firewall_chain = names.FIREWALL + base
        self._has_firewall = bool(info.load_balancer_vips and info.source_ranges)

    def elements(self) -> dict[ElementKey, ElementValue]:
        """What the service port puts into the shared sets and maps."""
        info = self._info
        decision = self._decision
        out: dict[ElementKey, ElementValue] = {}
        out[ElementKey(names.CLUSTER_IPS, info.cluster_ip)] = ElementValue()
        if decision.has_internal:
            chain = self._local_chain if info.internal_policy_local else self._cluster_chain
            self._capture(out, info.cluster_ip, chain)
        else:
            self._refuse(out, info.cluster_ip)
        for address in (*info.external_ips, *info.load_balancer_vips):
            if decision.has_endpoints:
                self._capture(out, address, self._external_chain)
            if not decision.has_external:
                self._refuse(out, address)
        if self._has_firewall:
            for address in info.load_balancer_vips:
                key = ElementKey(names.FIREWALL_IPS, self._to(address))
                out[key] = ElementValue(f"goto {self._firewall_chain}")
        if info.node_port:
            self._node_port(out)
        for endpoint in decision.reachable:
            # A remote endpoint's own packets never pass this node's DNAT.
            if endpoint.is_local:
                pair = f"{endpoint.ip} . {endpoint.ip} . {info.protocol} . {endpoint.port}"
                out[ElementKey(names.HAIRPIN_CONNECTIONS, pair)] = ElementValue()
        return out

    def affinity_sets(self) -> tuple[SetSpec, ...]:
        """One set per endpoint: the clients that came to it lately."""
        if not self._info.affinity_seconds:
            return ()
        return tuple(
            SetSpec(
                names.AFFINITY + self._endpoint_base(endpoint),
                address_type(self._instance.family),
                flags=("dynamic", "timeout"),
                size=_AFFINITY_SIZE,
                timeout=self._info.affinity_seconds,
            )
            for endpoint in self._decision.reachable
        )

    def chains(self) -> tuple[Chain, ...]:
        """The chains of the service port's own; what others lead to comes first."""
        decision = self._decision
        out = []
        if self._info.affinity_seconds:
            out += [self._endpoint(endpoint) for endpoint in decision.reachable]
        if decision.cluster:
            out.append(Chain(self._cluster_chain, self._balance(decision.cluster)))
        if decision.local:
            out.append(Chain(self._local_chain, self._balance(decision.local)))
        if decision.uses_external:
            out.append(Chain(self._external_chain, self._external()))
        if self._has_firewall:
            out.append(Chain(self._firewall_chain, (self._firewall(),)))
        return tuple(out)

    def _to(self, address: str) -> str:
        return f"{address} . {self._info.protocol} . {self._info.port}"

    def _capture(self, out: dict[ElementKey, ElementValue], address: str, chain: str) -> None:
        out.setdefault(
            ElementKey(names.SERVICE_IPS, self._to(address)), ElementValue(f"goto {chain}")
        )

    def _refuse(self, out: dict[ElementKey, ElementValue], address: str) -> None:
        out.setdefault(ElementKey(names.NO_ENDPOINT_SERVICES, self._to(address)), self._refusal())

    def _node_port(self, out: dict[ElementKey, ElementValue]) -> None:
        key = f"{self._info.protocol} . {self._info.node_port}"
        if self._decision.has_endpoints:
            value = ElementValue(f"goto {self._external_chain}")
            out[ElementKey(names.SERVICE_NODE_PORTS, key)] = value
        if not self._decision.has_external:
            out[ElementKey(names.NO_ENDPOINT_NODE_PORTS, key)] = self._refusal()

    def _refusal(self) -> ElementValue:
        reject = self._decision.refusal == REJECT
        return ElementValue(
            f"goto {names.REJECT_CHAIN}" if reject else "drop", str(self._info.name)
        )

    def _endpoint_base(self, endpoint: EndpointInfo) -> str:
        return names.endpoint_base(self._info.name, endpoint)

    def _endpoint(self, endpoint: EndpointInfo) -> Chain:
        """endpoint-: remember the client, translate."""
        base = self._endpoint_base(endpoint)
        return Chain(
            names.ENDPOINT + base,
            (
                f"update @{names.AFFINITY}{base} {{ {self._ip} saddr }}",
                f"meta l4proto {self._info.protocol} dnat to {endpoint.text}",
            ),
        )

    def _balance(self, endpoints: Sequence[EndpointInfo]) -> Lines:
        """Choose one of `endpoints`: the client's last one, else each with the same chance."""
        chance = f"numgen random mod {len(endpoints)}"
        if not self._info.affinity_seconds:
            targets = ", ".join(f"{i} : {e.ip} . {e.port}" for i, e in enumerate(endpoints))
            return (
                f"meta l4proto {self._info.protocol} dnat {self._ip} to {chance} "
                f"map {{ {targets} }}",
            )
        bases = [self._endpoint_base(endpoint) for endpoint in endpoints]
        verdicts = ", ".join(f"{i} : goto {names.ENDPOINT}{base}" for i, base in enumerate(bases))
        return (
            *(
                f"{self._ip} saddr @{names.AFFINITY}{base} goto {names.ENDPOINT}{base}"
                for base in bases
            ),
            f"{chance} vmap {{ {verdicts} }}",
        )

    def _external(self) -> Lines:
        """external-: what external traffic goes through before its policy's endpoints."""
        info = self._info
        instance = self._instance
        to_cluster = f"goto {self._cluster_chain}"
        if not info.external_policy_local:
            return (f'{set_mark(instance)} comment "masquerade"', to_cluster)
        out = []
        if instance.detector:
            local = local_match(instance.detector, instance.family, negated=False)
            out.append(f'{local} {to_cluster} comment "short-circuit pod traffic"')
        from_node = "fib saddr type local"
        out += [
            f'{from_node} {set_mark(instance)} comment "masquerade local traffic"',
            f'{from_node} {to_cluster} comment "short-circuit local traffic"',
        ]
        if self._decision.has_external:
            out.append(f"goto {self._local_chain}")
        return tuple(out)

    def _firewall(self) -> str:
        """firewall-: all but the sources that may pass are dropped."""
        info = self._info
        sources = list(info.source_ranges)
        # A request of the node itself to a VIP that it holds comes back with the VIP as source.
        if any(contains(cidr, self._instance.node.ip) for cidr in info.source_ranges):
            sources += info.load_balancer_vips
        return f"{self._ip} saddr != {address_set(sources)} drop"
