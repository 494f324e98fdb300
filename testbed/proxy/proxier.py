"""One node's kube-proxy: the cluster's objects in, rules in the node's kernel out.

Both families side by side, each with a state, a renderer and an applier of its own. Objects are
taken in as they come; `sync` brings the kernel to the latest state, whatever happened before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from testbed.api.objects import IPV4, IPV6, EndpointSlice, NamespacedName, Node, Service
from testbed.clock import Clock
from testbed.errors import CannotRunError, TestbedError
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import DEFAULT_SERVICE_CIDRS, IPTABLES, NFTABLES, KubeProxyConfiguration
from testbed.proxy.conntrack import Conntrack
from testbed.proxy.health import ProxyHealth
from testbed.proxy.health_status import ServiceHealth, service_healths
from testbed.proxy.instance import Instance
from testbed.proxy.iptables.apply import IptablesApplier, make_counter
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.kernel.applier import SyncReport
from testbed.proxy.kernel.transaction import Namespace, RuleError, Transactions
from testbed.proxy.nftables.apply import NftablesApplier
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from testbed.proxy.node import local_node
from testbed.proxy.stale import stale_filter

#: No rules at all: `Proxier` then only follows the objects.
NO_PROXY = "none"
FAMILIES = (IPV4, IPV6)

Applier: TypeAlias = IptablesApplier | NftablesApplier


@dataclass(frozen=True, slots=True)
class NodeSync:
    """What one `Proxier.sync` did: a report by family, and deleted conntrack entries."""

    reports: Mapping[str, SyncReport]
    conntrack_deleted: int = 0


class _Half:
    """One family's part of a node's proxy."""

    def __init__(self, family: str, node_name: str) -> None:
        self.state = ProxyState(family, node_name)
        self.instance: Instance | None = None
        self.renderer: Any = None
        self.rules: Any = None
        self.applier: Any = None
        self.clean_conntrack = False
        self.error = ""

    def render(self) -> Any:
        """The rules of the latest state, made from the previous ones where there are any."""
        changes = self.state.checkout()
        self.clean_conntrack |= changes.clean_conntrack
        if self.rules is None:
            self.rules = self.renderer.render(self.state)
        else:
            self.rules = self.renderer.update(self.rules, self.state, changes.ports)
        return self.rules


class Proxier:
    """One node's proxy. Give it the Node first (`set_node`), then objects, then `sync`.

    `mode` is `iptables`, `nftables` or `none`; without it the configuration's. `problems` says what
    was wrong in objects or refused by the kernel; the rest works.
    """

    def __init__(
        self,
        node_name: str,
        namespace: Namespace,
        config: KubeProxyConfiguration,
        clock: Clock,
        *,
        mode: str | None = None,
        families: Sequence[str] = FAMILIES,
        service_cidrs: tuple[str, ...] = DEFAULT_SERVICE_CIDRS,
    ) -> None:
        self.node_name = node_name
        self.namespace = namespace
        self.mode = mode or config.mode
        self.config = replace(
            config if self.mode == NO_PROXY else replace(config, mode=self.mode),
            nfacct=config.nfacct and has_counters(namespace),
        )
        self.health = ProxyHealth(clock, 2 * self._settings_period())
        self._service_cidrs = service_cidrs
        self._node: Node | None = None
        self._addresses: list[str] | None = None
        self._halves = {family: _Half(family, node_name) for family in families}
        self._conntrack = Conntrack(namespace)

    def _settings_period(self) -> float:
        config = self.config
        return (config.nftables if config.mode == NFTABLES else config.iptables).sync_period

    @property
    def problems(self) -> tuple[str, ...]:
        found = [problem for half in self._halves.values() for problem in half.state.problems]
        found += [half.error for half in self._halves.values() if half.error]
        return tuple(dict.fromkeys(found))

    # Objects

    def set_node(self, node: Node | None, addresses: Iterable[str] | None = None) -> None:
        """Take in this node's Node object (None: it is gone) and its interfaces' addresses.

        What rules depend on (addresses, zone, Pod CIDR) makes the next sync render everything.
        """
        self.health.set_node(node)
        if node is None:
            return
        self._node = node
        self._addresses = known = None if addresses is None else list(addresses)
        for family, half in self._halves.items():
            instance = Instance(local_node(node, family, known), self.config, self._service_cidrs)
            if instance != half.instance:
                self._renew(family, instance)

    def update_service(self, service: Service) -> None:
        self._tell(lambda state: state.update_service(service))

    def delete_service(self, key: NamespacedName) -> None:
        self._tell(lambda state: state.delete_service(key))

    def update_slice(self, piece: EndpointSlice) -> None:
        self._tell(lambda state: state.update_slice(piece))

    def delete_slice(self, key: NamespacedName) -> None:
        self._tell(lambda state: state.delete_slice(key))

    def replace(self, services: Iterable[Service], slices: Iterable[EndpointSlice]) -> None:
        """Take in the whole desired state."""
        all_services, all_slices = list(services), list(slices)
        self._tell(lambda state: state.replace(all_services, all_slices))

    def _tell(self, change: Callable[[ProxyState], None]) -> None:
        for family, half in self._halves.items():
            change(half.state)
            self.health.queued(family)

    # Rules

    def sync(self) -> NodeSync:
        """Bring the kernel to the latest state; only what changed is touched.

        Raises RuleError for the first family that the kernel refuses, after trying the others;
        its previous rules still work.
        """
        reports: dict[str, SyncReport] = {}
        deleted = 0
        refused: RuleError | None = None
        for family, half in self._halves.items():
            if half.applier is None:
                half.state.checkout()
                continue
            try:
                reports[family] = half.applier.sync(half.render())
                half.error = ""
            except RuleError as error:
                half.error = str(error)
                refused = refused or error
                continue
            self.health.updated(family)
            if half.clean_conntrack:
                deleted += self._conntrack.delete_stale(family, stale_filter(half.state))
                half.clean_conntrack = False
        if refused is not None:
            raise refused
        return NodeSync(reports, deleted)

    def check(self) -> bool:
        """Look whether the rules are still there; if not, put them back. True if they were."""
        halves = [half for half in self._halves.values() if half.applier and half.rules is not None]
        damaged = [half for half in halves if not half.applier.rules_present()]
        if damaged:
            self.sync()
        return not damaged

    def switch_mode(self, mode: str) -> None:
        """Change to `iptables`, `nftables` or `none`: new rules first, then the old ones go."""
        if mode == self.mode:
            return
        old = [half.applier for half in self._halves.values() if half.applier is not None]
        self.mode = mode
        if mode != NO_PROXY:
            self.config = replace(self.config, mode=mode)
        for half in self._halves.values():
            half.instance = half.applier = None
        if self._node is not None:
            self.set_node(self._node, self._addresses)
            self.sync()
        for applier in old:
            applier.cleanup()
            applier.close()

    def _renew(self, family: str, instance: Instance) -> None:
        half = self._halves[family]
        half.instance = instance
        half.rules = None
        if self.mode == NO_PROXY:
            half.applier = None
            return
        kind = IptablesRenderer if self.mode == IPTABLES else NftablesRenderer
        half.renderer = kind(instance)
        if half.applier is None:
            make = IptablesApplier if self.mode == IPTABLES else NftablesApplier
            half.applier = make(self.namespace, family)

    def service_healths(self) -> Mapping[NamespacedName, ServiceHealth]:
        """The health check node ports to serve; both families' endpoints count together."""
        merged: dict[NamespacedName, ServiceHealth] = {}
        for half in self._halves.values():
            for service, health in service_healths(half.state).items():
                known = merged.get(service)
                more = known.local_endpoints if known else 0
                merged[service] = replace(health, local_endpoints=health.local_endpoints + more)
        return merged

    def rules_of(self, family: str, table: str, chain: str) -> list[tuple[int, str]]:
        """(handle, text) of a chain's rules, for the tracer; empty where the chain isn't ours."""
        half = self._halves.get(family)
        if half is None or half.applier is None:
            return []
        rules: list[tuple[int, str]] = half.applier.rules_of(table, chain)
        return rules

    # Start and end

    def set_sysctls(self) -> tuple[str, ...]:
        """kube-proxy's sysctls at start; return those that the kernel refused, with the reason."""
        wanted = dict(sysctls(self.config))
        if self.mode == IPTABLES and self._uses_localhost_node_ports():
            wanted["net/ipv4/conf/all/route_localnet"] = "1"

        def write() -> tuple[str, ...]:
            refused = []
            for key, value in wanted.items():
                try:
                    Path("/proc/sys", key).write_text(value)
                except OSError as error:
                    refused.append(f"{self.node_name}: sysctl {key}={value}: {error.strerror}")
            return tuple(refused)

        return self.namespace.call(write)

    def _uses_localhost_node_ports(self) -> bool:
        half = self._halves.get(IPV4)
        return bool(half and half.instance and half.instance.localhost_node_ports)

    def cleanup(self) -> None:
        """Remove the rules of both modes, as `kube-proxy --cleanup` does."""
        for family in FAMILIES:
            for kind in (IptablesApplier, NftablesApplier):
                applier = kind(self.namespace, family)
                with suppress(TestbedError):
                    applier.cleanup()
                applier.close()

    def close(self) -> None:
        """Give the sockets back; the rules stay."""
        for half in self._halves.values():
            if half.applier is not None:
                half.applier.close()
        self._conntrack.close()


def has_counters(namespace: Namespace) -> bool:
    """Whether the namespace's kernel has nfacct counters."""
    door = Transactions(namespace)
    try:
        make_counter(door, "ct_state_invalid_dropped_pkts")
    except CannotRunError:
        return False
    finally:
        door.close()
    return True


def sysctls(config: KubeProxyConfiguration) -> Iterable[tuple[str, str]]:
    """The conntrack sysctls of K-68. The maximum isn't a namespace's own: it is left alone."""
    conntrack = config.conntrack
    timeouts = {
        "tcp_timeout_established": conntrack.tcp_established_timeout,
        "tcp_timeout_close_wait": conntrack.tcp_close_wait_timeout,
        "udp_timeout": conntrack.udp_timeout,
        "udp_timeout_stream": conntrack.udp_stream_timeout,
    }
    for name, seconds in timeouts.items():
        if seconds:
            yield f"net/netfilter/nf_conntrack_{name}", str(int(seconds))
    if conntrack.tcp_be_liberal:
        yield "net/netfilter/nf_conntrack_tcp_be_liberal", "1"
