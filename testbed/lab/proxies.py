"""The proxies of a lab's nodes: fed from the store, brought to rest after every change."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from testbed.api.documents import name_of, namespace_of
from testbed.api.objects import (
    LABEL_HEADLESS,
    LABEL_PROXY_NAME,
    EndpointSlice,
    NamespacedName,
    Node,
    Service,
)
from testbed.control.store import Event, EventType, Store
from testbed.proxy.explain import Explainer
from testbed.proxy.health import NodeHealth
from testbed.proxy.proxier import Proxier


class NodeProxies:
    """Feeds every node's proxy with what kube-proxy watches.

    Source: cmd/kube-proxy: Services without label service-proxy-name and not headless, slices
    without the headless label, the own Node.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
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

    def remove(self, node: str) -> None:
        """Take a node's proxy away, with its rules."""
        proxy = self._proxies.pop(node, None)
        self._changed.discard(node)
        self._explainers = []
        if proxy is not None:
            proxy.cleanup()

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

    @property
    def idle(self) -> bool:
        return not self._changed

    async def sync(self) -> None:
        """Write the rules of every node whose input changed; nodes in parallel."""
        nodes, self._changed = sorted(self._changed), set()
        if nodes:
            self._explainers = []
        await asyncio.gather(*(asyncio.to_thread(self._proxies[n].sync) for n in nodes))
        for node in nodes:
            for family, services in self._proxies[node].healths().items():
                self._health[node].synced(family, services)

    def close(self) -> None:
        """Close the proxies' health ports."""
        for health in self._health.values():
            health.close()

    def _tell(self, tell: Callable[[Proxier], None], nodes: Iterable[str] | None = None) -> None:
        for node in self._proxies if nodes is None else nodes:
            tell(self._proxies[node])
            self._changed.add(node)

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
