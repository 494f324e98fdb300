"""Service ports and endpoints to the rules of iptables mode, as iptables-save prints them.

Source: pkg/proxy/iptables/proxier.go syncProxyRules. The comments of the rules are kube-proxy's,
and so is their order within a Service; across Services kube-proxy's order is random (it walks a Go
map) and ours is that of the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

from testbed.proxy.addresses import contains, host_cidr
from testbed.proxy.changes import ProxyState
from testbed.proxy.decision import REJECT, Decision, decide
from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.instance import Instance
from testbed.proxy.iptables import names
from testbed.proxy.iptables.ruleset import Lines, RuleSet, ServiceRules
from testbed.proxy.iptables.static import LOCALHOST_NFACCT, static_chains, tail_chains
from testbed.proxy.local_detector import LocalDetector
from testbed.proxy.service_port import ServicePortInfo, ServicePortName

#: More endpoints than this in all Services together, and rules lose comments that only help
#: readers. Source: largeClusterEndpointsThreshold (catalogue K-73).
LARGE_CLUSTER_ENDPOINTS = 1000

_NAT_SERVICES = ("nat", names.SERVICES)
_NAT_NODE_PORTS = ("nat", names.NODE_PORTS)
_FILTER_SERVICES = ("filter", names.SERVICES)
_FILTER_EXTERNAL = ("filter", names.EXTERNAL_SERVICES)
_FILTER_NODE_PORTS = ("filter", names.NODE_PORTS)
_FILTER_FIREWALL = ("filter", names.PROXY_FIREWALL)


class Renderer:
    """Makes the RuleSets of one instance, and from one RuleSet the next.

    In large-cluster mode a change of the mode itself renders everything anew, where kube-proxy
    leaves the comments of unchanged Services as they were: here a RuleSet depends on the state
    alone, not on how it came about.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._static = static_chains(instance)
        self._tail = tail_chains(instance)

    def render(self, state: ProxyState) -> RuleSet:
        """All rules for `state`."""
        return self._next(RuleSet(state.family, self._static, self._tail), state, state.services)

    def update(
        self, previous: RuleSet, state: ProxyState, changed: Iterable[ServicePortName]
    ) -> RuleSet:
        """The rules for `state`, of which only `changed` differs from what `previous` was for."""
        large = is_large(state)
        if large != previous.large:
            return self.render(state)
        return self._next(previous, state, changed)

    def _next(
        self, previous: RuleSet, state: ProxyState, changed: Iterable[ServicePortName]
    ) -> RuleSet:
        large = is_large(state)
        put = []
        drop = []
        for name in changed:
            info = state.services.get(name)
            if info is None:
                drop.append(name)
            else:
                endpoints = state.endpoints.get(name, ())
                put.append((name, render_port(info, endpoints, self._instance, large)))
        services = previous.services.with_changes(put, drop)
        return RuleSet(state.family, self._static, self._tail, services, large)


def is_large(state: ProxyState) -> bool:
    """Whether the cluster is in large-cluster mode."""
    return state.total_endpoints > LARGE_CLUSTER_ENDPOINTS


def render_port(
    info: ServicePortInfo, endpoints: Sequence[EndpointInfo], instance: Instance, large: bool
) -> ServiceRules:
    """The rules of one service port with these endpoints. `large` is large-cluster mode."""
    node = instance.node
    decision = decide(info, endpoints, node.name, node.zone)
    port = _Port(info, decision, instance, large)
    shared = {
        _NAT_SERVICES: port.capture(),
        _NAT_NODE_PORTS: port.capture_node_port(),
        _FILTER_SERVICES: port.refuse_internal(),
        _FILTER_EXTERNAL: port.refuse_external(),
        _FILTER_NODE_PORTS: port.accept_health_checks(),
        _FILTER_FIREWALL: port.drop_blocked(),
    }
    return ServiceRules({key: lines for key, lines in shared.items() if lines}, port.chains())


class _Port:
    """One service port's rules, place by place."""

    def __init__(
        self, info: ServicePortInfo, decision: Decision, instance: Instance, large: bool
    ) -> None:
        self._info = info
        self._decision = decision
        self._instance = instance
        self._large = large
        self._text = str(info.name)
        self._protocol = info.protocol
        digest = names.port_hash(info.name)
        self._cluster_chain = names.CLUSTER_POLICY + digest
        self._local_chain = names.LOCAL_POLICY + digest
        self._external_chain = names.EXTERNAL + digest
        self._firewall_chain = names.LOAD_BALANCER_FIREWALL + digest
        self._internal_chain = (
            self._local_chain if info.internal_policy_local else self._cluster_chain
        )
        self._endpoint_chains = {
            endpoint.text: names.endpoint_chain(info.name, endpoint.text)
            for endpoint in decision.reachable
        }
        self._has_firewall = bool(
            decision.has_endpoints and info.load_balancer_vips and info.source_ranges
        )

    def capture(self) -> Lines:
        """KUBE-SERVICES in nat: what the clusterIP, external IPs and VIPs lead to."""
        info = self._info
        out = []
        if self._decision.has_internal:
            out.append(f"{self._to(info.cluster_ip, 'cluster IP')} -j {self._internal_chain}")
        if self._decision.has_endpoints:
            out += [
                f"{self._to(ip, 'external IP')} -j {self._external_chain}"
                for ip in info.external_ips
            ]
            target = self._firewall_chain if self._has_firewall else self._external_chain
            out += [
                f"{self._to(ip, 'loadbalancer IP')} -j {target}" for ip in info.load_balancer_vips
            ]
        return tuple(out)

    def capture_node_port(self) -> Lines:
        """KUBE-NODEPORTS in nat."""
        if not self._info.node_port or not self._decision.has_endpoints:
            return ()
        match = (
            f'-p {self._protocol} -m comment --comment "{self._text}" '
            f"-m {self._protocol} --dport {self._info.node_port}"
        )
        plain = f"{match} -j {self._external_chain}"
        if not self._instance.counts_localhost_node_ports:
            return (plain,)
        counter = f"-m nfacct --nfacct-name  {LOCALHOST_NFACCT}"
        return (f"-d 127.0.0.0/8 {match} {counter} -j {self._external_chain}", plain)

    def refuse_internal(self) -> Lines:
        """KUBE-SERVICES in filter: the clusterIP without endpoints."""
        if self._decision.has_internal:
            return ()
        return (f"{self._to(self._info.cluster_ip, self._why())} -j {self._refusal()}",)

    def refuse_external(self) -> Lines:
        """KUBE-EXTERNAL-SERVICES in filter: external addresses without endpoints."""
        if self._decision.has_external:
            return ()
        info = self._info
        refusal = self._refusal()
        why = self._why()
        out = [
            f"{self._to(ip, why)} -j {refusal}"
            for ip in (*info.external_ips, *info.load_balancer_vips)
        ]
        if info.node_port:
            out.append(
                f'-p {self._protocol} -m comment --comment "{self._text} {why}" '
                f"-m addrtype --dst-type LOCAL -m {self._protocol} --dport {info.node_port} "
                f"-j {refusal}"
            )
        return tuple(out)

    def accept_health_checks(self) -> Lines:
        """KUBE-NODEPORTS in filter: the health check node port, with endpoints or without."""
        if not self._info.health_check_node_port:
            return ()
        return (
            f'-p tcp -m comment --comment "{self._text} health check node port" '
            f"-m tcp --dport {self._info.health_check_node_port} -j ACCEPT",
        )

    def drop_blocked(self) -> Lines:
        """KUBE-PROXY-FIREWALL: what KUBE-FW- didn't let through, and so nobody translated."""
        if not self._has_firewall:
            return ()
        why = f"traffic not accepted by {self._firewall_chain}"
        return tuple(f"{self._to(ip, why)} -j DROP" for ip in self._info.load_balancer_vips)

    def chains(self) -> dict[str, Lines]:
        """The chains of the service port's own."""
        decision = self._decision
        balanced: dict[str, list[str]] = {}
        if decision.cluster:
            balanced[self._cluster_chain] = self._balance(decision.cluster)
        if decision.local:
            balanced[self._local_chain] = self._balance(decision.local)
        masquerade = self._masquerade_internal() if decision.has_internal else ""
        if masquerade:
            balanced[self._internal_chain].insert(0, masquerade)
        chains = {name: tuple(lines) for name, lines in balanced.items()}
        if decision.uses_external:
            chains[self._external_chain] = self._external()
        if self._has_firewall:
            chains[self._firewall_chain] = self._firewall()
        for endpoint in decision.reachable:
            chains[self._endpoint_chains[endpoint.text]] = self._endpoint(endpoint)
        return chains

    def _to(self, address: str, comment: str) -> str:
        """The match of packets to `address` and the service's port."""
        return (
            f"-d {host_cidr(address)} -p {self._protocol} "
            f'-m comment --comment "{self._text} {comment}" '
            f"-m {self._protocol} --dport {self._info.port}"
        )

    def _why(self) -> str:
        return "has no local endpoints" if self._decision.has_endpoints else "has no endpoints"

    def _refusal(self) -> str:
        if self._decision.refusal != REJECT:
            return "DROP"
        return f"REJECT --reject-with {self._instance.icmp}-port-unreachable"

    def _masquerade_internal(self) -> str:
        """Traffic to the clusterIP that isn't a local Pod's: somebody routes the range here."""
        match = self._to(self._info.cluster_ip, "cluster IP")
        if self._instance.config.iptables.masquerade_all:
            return f"{match} -j {names.MARK_MASQ}"
        detector = self._instance.detector
        if not detector:
            return ""
        source, interface = _local_matches(detector, negated=True)
        destination, _, rest = match.partition(" -p ")
        return f"{source}{destination}{interface} -p {rest} -j {names.MARK_MASQ}"

    def _external(self) -> Lines:
        """KUBE-EXT-: what external traffic goes through before its policy's endpoints."""
        info = self._info
        about = f"{self._text} external destinations"
        out = []
        if not info.external_policy_local:
            out.append(
                f'-m comment --comment "masquerade traffic for {about}" -j {names.MARK_MASQ}'
            )
        else:
            if self._instance.detector:
                source, interface = _local_matches(self._instance.detector, negated=False)
                out.append(
                    f"{source}{interface.lstrip()}{' ' if interface else ''}"
                    f'-m comment --comment "pod traffic for {about}" -j {self._cluster_chain}'
                )
            out += [
                f'-m comment --comment "masquerade LOCAL traffic for {about}" '
                f"-m addrtype --src-type LOCAL -j {names.MARK_MASQ}",
                f'-m comment --comment "route LOCAL traffic for {about}" '
                f"-m addrtype --src-type LOCAL -j {self._cluster_chain}",
            ]
        if self._decision.has_external:
            local = info.external_policy_local
            out.append(f"-j {self._local_chain if local else self._cluster_chain}")
        return tuple(out)

    def _firewall(self) -> Lines:
        """KUBE-FW-: the sources that may pass; who falls off its end is dropped in filter."""
        info = self._info
        sources = list(info.source_ranges)
        # A request of the node itself to a VIP that it holds comes back with the VIP as source.
        if any(contains(cidr, self._instance.node.ip) for cidr in info.source_ranges):
            sources += [host_cidr(ip) for ip in info.load_balancer_vips]
        comment = f'-m comment --comment "{self._text} loadbalancer IP"'
        return (
            *(f"-s {source} {comment} -j {self._external_chain}" for source in sources),
            f'-m comment --comment "other traffic to {self._text} '
            f'will be dropped by {names.PROXY_FIREWALL}"',
        )

    def _balance(self, endpoints: Sequence[EndpointInfo]) -> list[str]:
        """Choose one of `endpoints`: the client's last one, else each with the same chance."""
        out = []
        chains = [self._endpoint_chains[endpoint.text] for endpoint in endpoints]
        comments = [
            "" if self._large else f'-m comment --comment "{self._text} -> {endpoint.text}" '
            for endpoint in endpoints
        ]
        if self._info.affinity_seconds:
            check = f"-m recent --rcheck --seconds {self._info.affinity_seconds} --reap"
            out += [
                f"{comment}{check} --name {chain} --mask {self._instance.full_mask} "
                f"--rsource -j {chain}"
                for comment, chain in zip(comments, chains, strict=True)
            ]
        left = len(chains)
        for comment, chain in zip(comments, chains, strict=True):
            chance = f"-m statistic --mode random --probability {probability(left)} "
            out.append(f"{comment}{chance if left > 1 else ''}-j {chain}")
            left -= 1
        return out

    def _endpoint(self, endpoint: EndpointInfo) -> Lines:
        """KUBE-SEP-: masquerade a Pod that reaches itself, remember the client, translate."""
        comment = "" if self._large else f'-m comment --comment "{self._text}" '
        recent = ""
        if self._info.affinity_seconds:
            chain = self._endpoint_chains[endpoint.text]
            recent = f"-m recent --set --name {chain} --mask {self._instance.full_mask} --rsource "
        return (
            f"-s {host_cidr(endpoint.ip)} {comment}-j {names.MARK_MASQ}",
            f"-p {self._protocol} {comment}{recent}-m {self._protocol} "
            f"-j DNAT --to-destination {endpoint.text}",
        )


def _local_matches(detector: LocalDetector, negated: bool) -> tuple[str, str]:
    """What iptables-save puts before -d and after it to match local packets."""
    no = "! " if negated else ""
    if detector.cidr:
        return f"{no}-s {detector.cidr} ", ""
    return "", f" {no}-i {detector.interface}{'+' if detector.is_prefix else ''}"


@lru_cache(maxsize=4096)
def probability(left: int) -> str:
    """One in `left` as iptables-save prints it: kube-proxy's 10 decimals, in the kernel's 31 bits.

    Source: libxt_statistic.c, `lround(0x80000000 * probability)` and `%.11f` back.
    """
    fixed = int(0x80000000 * float(f"{1.0 / left:.10f}") + 0.5)
    return f"{fixed / 0x80000000:.11f}"
