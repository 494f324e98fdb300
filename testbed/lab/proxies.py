"""The proxies of a lab's nodes: fed from the store, brought to rest after every change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

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


#: Told of a problem: resource, the object's name (`namespace/name`), reason, message.
Reporter: TypeAlias = Callable[[str, str, str, str], None]


class NodeProxies:
    """Feeds every node's proxy with what kube-proxy watches.

    Source: cmd/kube-proxy: Services without label service-proxy-name and not headless, slices
    without the headless label, the own Node. `wake` is called when a sync is due: after a change,
    and once every sync period, when rules that were refused are tried again and lost ones put
    back. `report` is told what a proxy can't do: (resource, object, reason, message), once for
    each message.
    """

    def __init__(
        self, store: Store, clock: Clock, wake: Callable[[], None], report: Reporter
    ) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._report = report
        self._reported: set[tuple[str, str]] = set()
        #: Since when a change waits for a sync, by node (the clock's `now`).
        self._since: dict[str, float] = {}
        self._refused: set[str] = set()
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
        self._change(node)
        self._look_again(node)

    def _change(self, node: str) -> None:
        if not self._changed:
            # The change may be no controller's business: nobody else would see to it.
            self._wake()
        self._changed.add(node)
        self._since.setdefault(node, self._clock.now())

    def remove(self, node: str) -> None:
        """Take a node's proxy away, with its rules and health ports."""
        proxy = self._proxies.pop(node, None)
        self._changed.discard(node)
        self._to_check.discard(node)
        self._refused.discard(node)
        self._since.pop(node, None)
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
            (self._changed if node in self._refused else self._to_check).add(node)
            self._health[node].retry()
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
            if isinstance(outcome, BaseException) and not isinstance(outcome, RuleError):
                raise outcome
            if node in self._proxies:
                self._conclude(node, refused=isinstance(outcome, RuleError))
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            change()

    def _conclude(self, node: str, *, refused: bool) -> None:
        """After a node's sync: its health, and what it could not do."""
        health = self._health[node]
        if refused:
            self._refused.add(node)
        else:
            self._refused.discard(node)
            self._since.pop(node, None)
            for family, services in self._proxies[node].healths().items():
                health.synced(family, services)
        health.waiting(self._since.get(node))
        for line in self._proxies[node].problems:
            self._tell_once(("nodes", node), "ProxyProblem", line)
        for (_, service), line in health.problems.items():
            self._tell_once(("services", str(service)), "FailedToStartServiceHealthcheck", line)

    def _tell_once(self, about: tuple[str, str], reason: str, line: str) -> None:
        if (about[1], line) not in self._reported:
            self._reported.add((about[1], line))
            log.warning("%s: %s", about[1], line)
            self._report(*about, reason, line)

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
                    self._change(node)

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
