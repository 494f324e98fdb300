"""One node's kube-proxy: state, decision, rules and kernel, for both families.

Each family is an instance of its own (`_Family`); `Proxier` hands every object to both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, Protocol, TypeAlias, TypeVar

from testbed.api.objects import IPV4, IPV6, EndpointSlice, NamespacedName, Node, Service
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import IPTABLES, KubeProxyConfiguration
from testbed.proxy.explain import Explainer
from testbed.proxy.health_status import ServiceHealth, service_healths
from testbed.proxy.instance import Instance
from testbed.proxy.iptables.apply import IptablesApplier
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.iptables.ruleset import RuleSet as IptablesRuleSet
from testbed.proxy.kernel.applier import Applier, SyncReport
from testbed.proxy.kernel.transaction import Namespace
from testbed.proxy.nftables.apply import NftablesApplier
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from testbed.proxy.nftables.ruleset import RuleSet as NftablesRuleSet
from testbed.proxy.node import local_node
from testbed.proxy.service_port import ServicePortName

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

    def cleanup(self) -> None:
        self._applier.cleanup()
        self._applier.close()

    def close(self) -> None:
        self._applier.close()


Backend: TypeAlias = _Backend[IptablesRuleSet] | _Backend[NftablesRuleSet]


def _backend(mode: str, namespace: Namespace, instance: Instance) -> Backend:
    family = instance.family
    if mode == IPTABLES:
        return _Backend(IptablesApplier(namespace, family), IptablesRenderer, instance)
    return _Backend(NftablesApplier(namespace, family), NftablesRenderer, instance)


class _Family:
    """One family's instance on one node."""

    def __init__(self, node: str, namespace: Namespace, family: str) -> None:
        self.state = ProxyState(family, node)
        self.backend: Backend | None = None
        self._namespace = namespace

    def configure(self, mode: str, instance: Instance) -> None:
        """Start the backend of `mode`, or have it render everything for a new instance."""
        if self.backend is None:
            self.backend = _backend(mode, self._namespace, instance)
        else:
            self.backend.renew(instance)

    def sync(self) -> SyncReport | None:
        changes = self.state.checkout()
        return None if self.backend is None else self.backend.sync(self.state, changes.ports)

    def stop(self) -> None:
        """Remove this mode's rules."""
        if self.backend is not None:
            self.backend.cleanup()
            self.backend = None


class Proxier:
    """kube-proxy on node `node`, whose network namespace is `namespace`.

    Objects may come in any order; nothing reaches the kernel before `sync`, and nothing at all
    before the node's own object is known. `sync` raises RuleError (see kernel.applier).
    """

    def __init__(
        self,
        node: str,
        namespace: Namespace,
        config: KubeProxyConfiguration,
        service_cidrs: tuple[str, ...],
    ) -> None:
        self._config = config
        self._service_cidrs = service_cidrs
        self._node: Node | None = None
        self._families = {family: _Family(node, namespace, family) for family in FAMILIES}

    @property
    def mode(self) -> str:
        return self._config.mode

    @property
    def problems(self) -> tuple[str, ...]:
        """What was wrong in the objects, one line each; the rest is programmed."""
        return tuple(line for each in self._families.values() for line in each.state.problems)

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
        if config.mode != self._config.mode:
            for each in self._families.values():
                each.stop()
        self._config = config
        self._configure()

    def _configure(self) -> None:
        if self._node is None:
            return
        for family, each in self._families.items():
            local = local_node(self._node, family)
            instance = Instance(local, self._config, self._service_cidrs)
            each.configure(self._config.mode, instance)

    def sync(self) -> list[SyncReport]:
        """Bring the kernel to what the objects ask for."""
        reports = [each.sync() for each in self._families.values()]
        return [report for report in reports if report is not None]

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

    def cleanup(self) -> None:
        """Remove every rule of ours from the node."""
        for each in self._families.values():
            each.stop()

    def close(self) -> None:
        """Give the sockets back; the rules stay."""
        for each in self._families.values():
            if each.backend is not None:
                each.backend.close()


def _essence(node: Node) -> tuple[object, ...]:
    """What of a Node the rules depend on."""
    return node.zone, node.addresses, node.pod_cidrs
