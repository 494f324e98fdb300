"""One node's kube-proxy: state, decision, rules and kernel, for both families.

Each family is an instance of its own (`_Family`); `Proxier` hands every object to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Generic, Protocol, TypeAlias, TypeVar

from testbed.api.objects import IPV4, IPV6, EndpointSlice, NamespacedName, Node, Service
from testbed.errors import CannotRunError
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import IPTABLES, KubeProxyConfiguration
from testbed.proxy.conntrack import Conntrack
from testbed.proxy.explain import Explainer
from testbed.proxy.health_status import ServiceHealth, service_healths
from testbed.proxy.instance import Instance
from testbed.proxy.iptables.apply import IptablesApplier
from testbed.proxy.iptables.apply_restore import RestoreApplier, system_uses_legacy
from testbed.proxy.iptables.counters import make_counter
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.iptables.ruleset import RuleSet as IptablesRuleSet
from testbed.proxy.kernel.applier import Applier, SyncReport
from testbed.proxy.kernel.transaction import Namespace, RuleError, Transactions
from testbed.proxy.nftables.apply import NftablesApplier
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from testbed.proxy.nftables.ruleset import RuleSet as NftablesRuleSet
from testbed.proxy.node import local_node
from testbed.proxy.service_port import ServicePortName
from testbed.proxy.stale import stale_filter

FAMILIES = (IPV4, IPV6)
R = TypeVar("R")


class _Renderer(Protocol[R]):
    def render(self, state: ProxyState) -> R: ...

    def update(self, previous: R, state: ProxyState, changed: Iterable[ServicePortName]) -> R: ...


class _Backend(Generic[R]):
    """A mode's way from state to kernel, for one family; keeps the RuleSet between syncs."""

    def __init__(
        self, applier: Applier[R], renderer: Callable[[Instance], _Renderer[R]], instance: Instance
    ) -> None:
        self._applier = applier
        self._make_renderer = renderer
        self._renderer = renderer(instance)
        self.rules: R | None = None

    def renew(self, instance: Instance) -> None:
        """Render everything anew from now on, for a changed instance."""
        self._renderer, self.rules = self._make_renderer(instance), None

    def sync(self, state: ProxyState, changed: Iterable[ServicePortName]) -> SyncReport:
        if self.rules is None:
            self.rules = self._renderer.render(state)
        else:
            self.rules = self._renderer.update(self.rules, state, changed)
        return self._applier.sync(self.rules)

    def rules_present(self) -> bool:
        return self.rules is None or self._applier.rules_present()

    def rules_of(self, table: str, chain: str) -> list[tuple[int, str]]:
        return self._applier.rules_of(table, chain)

    def cleanup(self) -> None:
        try:
            self._applier.cleanup()
        finally:
            self._applier.close()

    def close(self) -> None:
        self._applier.close()


Backend: TypeAlias = _Backend[IptablesRuleSet] | _Backend[NftablesRuleSet]


def _backend(mode: str, namespace: Namespace, instance: Instance) -> Backend:
    family = instance.family
    if mode == IPTABLES:
        make = RestoreApplier if system_uses_legacy() else IptablesApplier
        return _Backend(make(namespace, family), IptablesRenderer, instance)
    return _Backend(NftablesApplier(namespace, family), NftablesRenderer, instance)


class _Family:
    """One family's instance on one node."""

    def __init__(self, node: str, namespace: Namespace, family: str) -> None:
        self.state = ProxyState(family, node)
        self.backend: Backend | None = None
        self.instance: Instance | None = None
        self.refusal = ""
        self._namespace = namespace
        self._clean_conntrack = False

    def configure(self, mode: str, instance: Instance) -> None:
        """Start the backend of `mode`, or have it render everything for a new instance."""
        self.instance = instance
        if self.backend is None:
            self.backend = _backend(mode, self._namespace, instance)
        else:
            self.backend.renew(instance)

    def sync(self, conntrack: Conntrack) -> SyncReport | None:
        """Write the rules, then delete UDP entries that are stale since (K-64: rules first)."""
        changes = self.state.checkout()
        if self.backend is None:
            return None
        self._clean_conntrack |= changes.clean_conntrack
        try:
            report = self.backend.sync(self.state, changes.ports)
        except RuleError as error:
            self.refusal = str(error)
            raise
        self.refusal = ""
        if self._clean_conntrack:
            conntrack.delete_stale(self.state.family, stale_filter(self.state))
            self._clean_conntrack = False
        return report

    def stop(self) -> None:
        """Remove this mode's rules; the backend is gone even where the kernel refuses that."""
        backend, self.backend = self.backend, None
        if backend is not None:
            backend.cleanup()


class Proxier:
    """kube-proxy on node `node`, whose network namespace is `namespace`.

    Objects may come in any order; nothing reaches the kernel before `sync`, and nothing at all
    before the node's own object is known.
    """

    def __init__(
        self,
        node: str,
        namespace: Namespace,
        config: KubeProxyConfiguration,
        service_cidrs: tuple[str, ...],
    ) -> None:
        self._namespace = namespace
        self._config = _as_possible(config, namespace)
        self._service_cidrs = service_cidrs
        self._conntrack = Conntrack(namespace)
        self._node: Node | None = None
        self._refused_sysctls: tuple[str, ...] = ()
        self._families = {family: _Family(node, namespace, family) for family in FAMILIES}

    @property
    def mode(self) -> str:
        return self._config.mode

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong in the objects, one line each; the rest is programmed. And what the kernel
        refused: rules at the last sync, sysctls at start."""
        families = self._families.values()
        lines = [line for each in families for line in each.state.problems]
        refusals = [each.refusal for each in families if each.refusal]
        return tuple(dict.fromkeys([*lines, *refusals, *self._refused_sysctls]))

    def set_service(self, key: NamespacedName, service: Service | None) -> None:
        """Take in a Service, or (None) forget it."""
        for each in self._families.values():
            if service is None:
                each.state.delete_service(key)
            else:
                each.state.update_service(service)

    def set_slice(self, key: NamespacedName, piece: EndpointSlice | None) -> None:
        """Take in an EndpointSlice, or (None) forget it."""
        for each in self._families.values():
            if piece is None:
                each.state.delete_slice(key)
            else:
                each.state.update_slice(piece)

    def set_node(self, node: Node) -> None:
        """Take in the node's own object; a change that matters renders everything anew."""
        if self._node is not None and _essence(node) == _essence(self._node):
            self._node = node
            return
        self._node = node
        self._configure()

    def set_config(self, config: KubeProxyConfiguration) -> None:
        """Change the settings; another mode removes the old one's rules first."""
        try:
            if config.mode != self._config.mode:
                self.cleanup()
        finally:
            self._config = _as_possible(config, self._namespace)
            self._configure()

    def _configure(self) -> None:
        if self._node is None:
            return
        starts = all(each.backend is None for each in self._families.values())
        for family, each in self._families.items():
            local = local_node(self._node, family)
            instance = Instance(local, self._config, self._service_cidrs)
            each.configure(self._config.mode, instance)
        if starts:
            self._refused_sysctls = self._set_sysctls()

    def sync(self) -> list[SyncReport]:
        """Bring the kernel to what the objects ask for.

        Raises the first RuleError, after both families were tried: what was refused keeps its
        previous rules, and is written in full the next time.
        """
        reports: list[SyncReport] = []
        refused: RuleError | None = None
        for each in self._families.values():
            try:
                report = each.sync(self._conntrack)
            except RuleError as error:
                refused = refused or error
                continue
            if report is not None:
                reports.append(report)
        if refused is not None:
            raise refused
        return reports

    def check(self) -> bool:
        """Look whether all rules are still there, and put them back if not; True if they were.

        kube-proxy does so every sync period, by its canary chains.
        """
        backends = [each.backend for each in self._families.values() if each.backend is not None]
        damaged = [backend for backend in backends if not backend.rules_present()]
        if damaged:
            self.sync()
        return not damaged

    def rules_of(self, family: str, table: str, chain: str) -> list[tuple[int, str]]:
        """(handle, text) of a chain's rules as of the last sync; none where it isn't ours."""
        backend = self._families[family].backend
        return [] if backend is None else backend.rules_of(table, chain)

    def _set_sysctls(self) -> tuple[str, ...]:
        """Write kube-proxy's sysctls; return a line for each that the kernel refused.

        Those of conntrack at start (K-68), and route_localnet for localhost node ports (K-46).
        """
        four = self._families[IPV4].instance
        wanted = dict(sysctls(self._config))
        if self.mode == IPTABLES and four is not None and four.localhost_node_ports:
            wanted["net/ipv4/conf/all/route_localnet"] = "1"

        def write() -> tuple[str, ...]:
            refused = []
            for key, value in wanted.items():
                try:
                    Path("/proc/sys", key).write_text(value)
                except OSError as error:
                    refused.append(f"{self._namespace.name}: sysctl {key}: {error.strerror}")
            return tuple(refused)

        return self._namespace.call(write)

    def healths(self) -> dict[str, Mapping[NamespacedName, ServiceHealth]]:
        """By family, what the node's health check node ports answer."""
        return {family: service_healths(each.state) for family, each in self._families.items()}

    def explainers(self) -> list[Explainer]:
        """What the rules of the last sync mean, family by family."""
        return [
            Explainer(each.backend.rules, each.state)
            for each in self._families.values()
            if each.backend is not None and each.backend.rules is not None
        ]

    def wanted(self) -> dict[str, str]:
        """By family, the rules of the last sync as the kernel's tools print them."""
        return {
            family: each.backend.rules.text()
            for family, each in self._families.items()
            if each.backend is not None and each.backend.rules is not None
        }

    def cleanup(self) -> None:
        """Remove every rule of ours from the node; one family's trouble doesn't spare the other."""
        with ExitStack() as stack:
            for each in self._families.values():
                stack.callback(each.stop)

    def close(self) -> None:
        """Give the sockets back; the rules stay."""
        for each in self._families.values():
            if each.backend is not None:
                each.backend.close()
        self._conntrack.close()


def _as_possible(config: KubeProxyConfiguration, namespace: Namespace) -> KubeProxyConfiguration:
    """`config`, without nfacct where the kernel has no such counters."""
    return replace(config, nfacct=False) if config.nfacct and not _counts(namespace) else config


def _counts(namespace: Namespace) -> bool:
    door = Transactions(namespace)
    try:
        make_counter(door, "ct_state_invalid_dropped_pkts")
    except CannotRunError:
        return False
    finally:
        door.close()
    return True


def sysctls(config: KubeProxyConfiguration) -> Iterable[tuple[str, str]]:
    """The conntrack sysctls that a namespace has for itself; nf_conntrack_max is the host's."""
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


def _essence(node: Node) -> tuple[object, ...]:
    """What of a Node the rules depend on."""
    return node.zone, node.addresses, node.pod_cidrs
