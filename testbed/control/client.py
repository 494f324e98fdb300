"""How controllers write: new objects are admitted like a user's, changes go straight to the store.

A controller changes only what it has read and computed, so defaults and validation would find
nothing; a new Pod or slice, though, must get the same defaults as one that a user makes.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.resources import ResourceType, by_name
from testbed.clock import Clock
from testbed.control.envelope import DeleteOptions, WriteOptions
from testbed.control.registry import Registry
from testbed.control.store import NotFoundError, Store

#: What makes two Events the same: the object's kind and uid, then type, reason and message.
_Told: TypeAlias = tuple[str, ...]
#: How many Events are known as told. Source: client-go events_cache.go maxLruCacheEntries.
_REMEMBERED = 4096
#: The components that run on every node: the source of their Events has the node as its host.
_ON_NODES = frozenset({"kubelet", "kube-proxy"})


class RegistryClient:
    """The ClusterApi of a running lab (see control.controllers.base).

    `component` is the source of its Events.
    """

    def __init__(self, registry: Registry, clock: Clock, component: str = "testbed") -> None:
        self._registry = registry
        self._clock = clock
        self._component = component
        #: The (namespace, name) of the Event that told this last.
        self._told: OrderedDict[_Told, tuple[str, str]] = OrderedDict()
        self._options = WriteOptions(manager="kube-controller-manager")

    def acting_as(self, component: str) -> RegistryClient:
        """The same cluster, for another component."""
        return RegistryClient(self._registry, self._clock, component)

    @property
    def store(self) -> Store:
        return self._registry.store

    @property
    def clock(self) -> Clock:
        return self._clock

    def create(self, resource: str, document: Document) -> Document:
        outcome = self._registry.create(
            _type(resource), document, namespace=namespace_of(document), options=self._options
        )
        return outcome.document

    def update(self, resource: str, document: Document, *, status: bool = False) -> Document:
        return self.store.update(resource, document, status=status)

    def delete(
        self,
        resource: str,
        namespace: str,
        name: str,
        *,
        grace: int | None = None,
        propagation: str = "",
    ) -> None:
        if self.store.find(resource, namespace, name) is None:
            raise NotFoundError(resource, namespace, name)
        options = DeleteOptions(grace=grace, propagation=propagation)
        self._registry.delete(_type(resource), namespace, name, options)

    def bind(self, pod: Document, node: str) -> Document:
        bound = copy.deepcopy(pod)
        bound["spec"]["nodeName"] = node
        return self.store.update("pods", bound, status=True)  # no new generation

    def event(self, involved: Document, kind: str, reason: str, message: str) -> None:
        """Record an Event; one that repeats is counted.

        Source: client-go tools/record (event.go, events_cache.go).
        """
        meta = involved["metadata"]
        namespace = meta.get("namespace") or "default"
        told = str(involved.get("kind")), str(meta.get("uid")), kind, reason, message
        now = self.store.timestamp()
        before = self._told.get(told)
        old = self.store.find("events", *before) if before else None
        if old is not None:
            again = copy.deepcopy(old)
            again["count"] += 1
            again["lastTimestamp"] = now
            self.store.update("events", again)
            self._told.move_to_end(told)
            return
        name = self._event_name(namespace, meta["name"])
        self._told[told] = namespace, name
        if len(self._told) > _REMEMBERED:
            self._told.popitem(last=False)
        host = _node_of(involved) if self._component in _ON_NODES else ""
        reference = {
            "apiVersion": involved.get("apiVersion"),
            "kind": involved.get("kind"),
            "name": name_of(involved),
            "namespace": meta.get("namespace"),
            "uid": meta.get("uid"),
            "resourceVersion": meta.get("resourceVersion"),
        }
        document: Document = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {k: v for k, v in reference.items() if v},
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._component, **({"host": host} if host else {})},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "reportingComponent": self._component,
            "reportingInstance": host,
        }
        self.store.create("events", document)

    def _event_name(self, namespace: str, involved: str) -> str:
        """A name that sorts by time: it ends in nanoseconds, in hex."""
        moment = int(self._clock.wall() * 1e9)
        while self.store.find("events", namespace, f"{involved}.{moment:x}") is not None:
            moment += 1
        return f"{involved}.{moment:x}"


def _node_of(involved: Document) -> str:
    """The node that an object is about, or ""."""
    if involved.get("kind") == "Node":
        return name_of(involved)
    return str(involved.get("spec", {}).get("nodeName") or "")


def _type(resource: str) -> ResourceType:
    found = by_name(resource)
    assert found is not None, f"no resource {resource}"
    return found
