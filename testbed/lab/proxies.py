"""The proxies of a lab's nodes: fed from the store, brought to rest after every change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from testbed.api.documents import name_of, namespace_of
from testbed.api.objects import (
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    EndpointSlice,
    NamespacedName,
    Node,
    Service,
)
from testbed.clock import Clock, Timer
from testbed.control.store import Event, EventType, Store
from testbed.errors import UsageError
from testbed.proxy.explain import Explainer
from testbed.proxy.health import NodeHealth
from testbed.proxy.kernel.transaction import RuleError
from testbed.proxy.proxier import Proxier

log = logging.getLogger(__name__)

#: Seconds between two looks at a node's rules. Source: kube-proxy's syncPeriod.
SYNC_PERIOD = 30.0


class NodeProxies:
    """Feeds every node's proxy with what kube-proxy watches.

    Source: cmd/kube-proxy: Services without label service-proxy-name and not headless, slices
    without the headless label, the own Node. `wake` is called when a sync is due by itself: rules
    that were refused are tried again, and lost ones put back, once every sync period.
    """

    def __init__(self, store: Store, clock: Clock, wake: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._timers: dict[str, Timer] = {}
        self._to_check: set[str] = set()
        self._syncing = False
        self._waiting: list[Callable[[], None]] = []
        self._proxies: dict[str, Proxier] = {}
        self._health: dict[str, NodeHealth] = {}
        self._changed: set[str] = set()
        self._explainers: list[Explainer] = []
        store.watch("services", self._on_service)
        store.watch("endpointslices", self._on_slice)
        store.watch("nodes", self._on_node)

    def add(self, node: str, proxy: Proxier, health: NodeHealth) -> None:
        """Give a node its proxy, filled with all that exists, and its health ports."""
        self._proxies[node] = proxy
        self._health[node] = health
        for document in self._store.list("services"):
            service = Service.from_document(document)
            if _is_watched(service):
                proxy.set_service(service.key, service)
        for document in self._store.list("endpointslices"):
            slice_ = EndpointSlice.from_document(document)
            if LABEL_HEADLESS not in slice_.labels:
                proxy.set_slice(slice_.key, slice_)
        own = self._store.find("nodes", "", node)
        if own is not None:
            proxy.set_node(Node.from_document(own))
            health.set_node(Node.from_document(own))
        self._changed.add(node)
        self._look_again(node)

    def remove(self, node: str) -> None:
        """Take a node's proxy away, with its rules and health ports."""
        proxy = self._proxies.pop(node, None)
        self._changed.discard(node)
        self._to_check.discard(node)
        self._explainers = []
        if proxy is not None:
            self._timers.pop(node).cancel()
            self._health.pop(node).close()
            try:
                proxy.cleanup()
            finally:
                proxy.close()

    def _look_again(self, node: str) -> None:
        """Check the node's rules after a sync period. Source: canary chains, K-69."""

        def due() -> None:
            self._look_again(node)
            self._to_check.add(node)
            self._wake()

        self._timers[node] = self._clock.call_later(SYNC_PERIOD, due)

    @property
    def problems(self) -> list[str]:
        """What the nodes' proxies could not do, one line each."""
        return [
            f"{node}: {line}"
            for node in sorted(self._proxies)
            for line in self._proxies[node].problems
        ]

    def get(self, node: str) -> Proxier | None:
        """The node's proxy, if it has one."""
        return self._proxies.get(node)

    def wanted(self, node: str) -> dict[str, str]:
        """By family, the rules that the node's kernel should hold; {} without a proxy."""
        proxy = self._proxies.get(node)
        return {} if proxy is None else proxy.wanted()

    def meaning(self, chain: str, text: str) -> str:
        """What a rule of some node's kube-proxy is for; "" for other rules."""
        if not self._explainers:
            proxies = self._proxies.values()
            self._explainers = [e for proxy in proxies for e in proxy.explainers()]
        for explainer in self._explainers:
            if words := explainer.meaning(text, chain):
                return words
        return ""

    def find(self, name: str, nodes: Sequence[str] | None) -> list[str]:
        """What `name` (chain, set, element, address) is in the rules of `nodes` (None: of all)."""
        chosen = sorted(self._proxies) if nodes is None else nodes
        found = []
        for node in chosen:
            proxy = self._proxies.get(node)
            if proxy is None:
                known = ", ".join(sorted(self._proxies)) or "none"
                raise UsageError(f"no proxy on node {node!r}; there are: {known}")
            for explainer in proxy.explainers():
                label = f"{node} {explainer.family.lower()} {proxy.mode}"
                found += [f"{label}: {each}" for each in explainer.find(name)]
        return found

    @property
    def idle(self) -> bool:
        return not self._changed and not self._to_check

    async def sync(self) -> None:
        """Write the rules of every node whose input changed; nodes in parallel.

        A node whose kernel refuses a rule keeps the previous ones: `problems` names the rule, and
        the next check tries again.
        """
        nodes, self._changed = sorted(self._changed), set()
        checks, self._to_check = sorted(self._to_check), set()
        if not nodes and not checks:
            return
        self._explainers = []
        self._syncing = True
        try:
            outcomes = await asyncio.gather(
                *(asyncio.to_thread(self._proxies[node].sync) for node in nodes),
                *(asyncio.to_thread(self._proxies[node].check) for node in checks),
                return_exceptions=True,
            )
        finally:
            self._syncing = False
        for node, outcome in zip([*nodes, *checks], outcomes, strict=True):
            if isinstance(outcome, RuleError):
                log.warning("%s: %s", node, outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif node in self._proxies:
                for family, services in self._proxies[node].healths().items():
                    self._health[node].synced(family, services)
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            change()

    def close(self) -> None:
        """Close the proxies' health ports and sockets; the rules stay."""
        for timer in self._timers.values():
            timer.cancel()
        for health in self._health.values():
            health.close()
        for proxy in self._proxies.values():
            proxy.close()

    def _tell(self, tell: Callable[[Proxier], None], nodes: Iterable[str] | None = None) -> None:
        """Tell proxies of a change: at once, or after the sync that is reading their state."""

        def change() -> None:
            for node in list(self._proxies) if nodes is None else nodes:
                if node in self._proxies:
                    tell(self._proxies[node])
                    self._changed.add(node)

        if self._syncing:
            self._waiting.append(change)
        else:
            change()

    def _on_service(self, event: Event) -> None:
        service = Service.from_document(event.object)
        there = event.type is not EventType.DELETED and _is_watched(service)
        self._tell(lambda proxy: proxy.set_service(service.key, service if there else None))

    def _on_slice(self, event: Event) -> None:
        slice_ = EndpointSlice.from_document(event.object)
        there = event.type is not EventType.DELETED and LABEL_HEADLESS not in slice_.labels
        key = NamespacedName(namespace_of(event.object), name_of(event.object))
        self._tell(lambda proxy: proxy.set_slice(key, slice_ if there else None))

    def _on_node(self, event: Event) -> None:
        node = Node.from_document(event.object)
        if event.type is not EventType.DELETED and node.name in self._proxies:
            self._tell(lambda proxy: proxy.set_node(node), [node.name])
            self._health[node.name].set_node(node)


def _is_watched(service: Service) -> bool:
    return LABEL_PROXY_NAME not in service.labels and not service.headless
