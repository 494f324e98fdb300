"""The service controller: Services of type LoadBalancer get a load balancer from the cloud.

Source: cloud-provider controllers/service (syncLoadBalancerIfNeeded, needsUpdate, the node
predicates); catalogue L-01…L-14.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import LoadBalancerIngress, NamespacedName, Node, Service
from testbed.cloud.balancer import Target, is_target, targets
from testbed.cloud.interface import Cloud, CloudError
from testbed.control.controllers.base import ClusterApi, Controller, Key, RetryError
from testbed.control.store import Event

FINALIZER = "service.kubernetes.io/load-balancer-cleanup"
#: Seconds until a failed sync is tried again: doubled from the first to the second (L-07).
RETRY_FIRST, RETRY_LAST = 5.0, 300.0
#: Nodes that an Event names. Source: maxNodeNamesToLog.
SHOWN_NODES = 20


@dataclass(slots=True)
class _Applied:
    """What the cloud was last told about a Service, and what it answered."""

    document: Document
    #: None: the cloud couldn't keep them, it has to be told again.
    targets: tuple[Target, ...] | None
    ingress: tuple[LoadBalancerIngress, ...]


class ServiceController(Controller):
    """Keeps each Service's load balancer, finalizer and status as its spec asks.

    `cloud` None is a cluster without a cloud: Services stay pending, and an Event says why.
    """

    resources = ("services", "nodes")

    def __init__(self, api: ClusterApi, cloud: Cloud | None) -> None:
        super().__init__(api)
        self._cloud = cloud
        self._applied: dict[Key, _Applied] = {}
        self._delays: dict[Key, float] = {}
        self._pending: dict[Key, str] = {}
        #: Changes of type that are to be told of.
        self._turned: dict[Key, str] = {}
        if cloud is not None:
            cloud.refused = self._tell_again

    def keys_for(self, event: Event) -> Iterable[Key]:
        """A Service's own key; every load balancer's where the set of target nodes may differ."""
        if event.resource == "nodes":
            before = _target_of(event.old) if event.old else None
            after = _target_of(event.object) if event.type.value != "DELETED" else None
            return tuple(self._applied) if before != after else ()
        key = namespace_of(event.object), name_of(event.object)
        if event.old is not None and _wants(event.old) != _wants(event.object):
            types = (state["spec"].get("type") for state in (event.old, event.object))
            self._turned[key] = " -> ".join(map(str, types))
        concerned = key in self._applied or key in self._pending
        return (key,) if concerned or _is_ours(event.object) else ()

    def reconcile(self, key: Key) -> None:
        """Make, change or remove the load balancer of one Service. Raises RetryError."""
        document = self.store.find("services", *key)
        turned = self._turned.pop(key, None)
        if self._cloud is None:
            self._explain(key, document)
            return
        if turned is not None and document is not None:
            self._event(document, "Type", turned)
        try:
            if document is None:
                self._forget(key)
            elif _wants(document) and not _deleting(document):
                self._ensure(self._cloud, key, document)
            elif FINALIZER in _finalizers(document) or key in self._applied:
                self._remove(self._cloud, key, document)
        except CloudError as error:
            raise self._failed(key, document, error) from None
        self._delays.pop(key, None)

    def _tell_again(self, name: NamespacedName) -> None:
        """The cloud couldn't keep a load balancer's targets; from here on it is a failed sync."""
        key = name.namespace, name.name
        if (applied := self._applied.get(key)) is not None:
            applied.targets = None
            self.requeue(key)

    def _ensure(self, cloud: Cloud, key: Key, document: Document) -> None:
        service = Service.from_document(document)
        nodes = [Node.from_document(n) for n in self.store.list("nodes")]
        applied = self._applied.get(key)
        wanted = targets(nodes)
        if applied is None or _differs(applied.document, document):
            if applied is not None:
                self._tell_changes(applied.document, document)
            self._event(document, "EnsuringLoadBalancer", "Ensuring load balancer")
            document = self._with_finalizer(document, present=True)
            if not wanted:
                self._warn_no_nodes(document)
            try:
                ingress = cloud.ensure(service, nodes)
            except CloudError as error:
                raise CloudError(f"failed to ensure load balancer: {error}") from None
            self._applied[key] = applied = _Applied(document, wanted, ingress)
            self._event(document, "EnsuredLoadBalancer", "Ensured load balancer")
        elif wanted != applied.targets:
            self._update_nodes(cloud, document, service, nodes)
            applied.targets = wanted
        self._write_status(document, applied.ingress)

    def _update_nodes(
        self, cloud: Cloud, document: Document, service: Service, nodes: list[Node]
    ) -> None:
        try:
            cloud.update_nodes(service, nodes)
        except CloudError as error:
            names = [target.name for target in targets(nodes)]
            message = (
                f"Error updating load balancer with new hosts {_printed(names[:SHOWN_NODES])} "
                f"[node names limited, total number of nodes: {len(names)}], error: {error}"
            )
            self.api.event(document, "Warning", "UpdateLoadBalancerFailed", message)
            raise _NodesNotUpdatedError(str(error)) from None
        if targets(nodes):
            self._event(document, "UpdatedLoadBalancer", "Updated load balancer with new hosts")
        else:
            self._warn_no_nodes(document)

    def _remove(self, cloud: Cloud, key: Key, document: Document) -> None:
        name = NamespacedName(*key)
        if cloud.exists(name):
            self._event(document, "DeletingLoadBalancer", "Deleting load balancer")
            try:
                cloud.delete(name)
            except CloudError as error:
                raise CloudError(f"failed to delete load balancer: {error}") from None
        self._applied.pop(key, None)
        self._event(document, "DeletedLoadBalancer", "Deleted load balancer")
        if not _deleting(document):
            document = self._write_status(document, ())
        self._with_finalizer(document, present=False)

    def _forget(self, key: Key) -> None:
        """The object is gone without having waited for the finalizer."""
        assert self._cloud is not None
        self._cloud.delete(NamespacedName(*key))
        self._applied.pop(key, None)

    def _explain(self, key: Key, document: Document | None) -> None:
        """Say once per object why it stays pending."""
        if document is None or not _wants(document):
            self._pending.pop(key, None)
        elif self._pending.get(key) != document["metadata"]["uid"]:
            self._pending[key] = document["metadata"]["uid"]
            message = "this lab has no cloud: no external address; the node ports work"
            self.api.event(document, "Warning", "NoCloudProvider", message)

    def _failed(self, key: Key, document: Document | None, error: CloudError) -> RetryError:
        delay = min(2 * self._delays.get(key, RETRY_FIRST / 2), RETRY_LAST)
        self._delays[key] = delay
        if document is not None and not isinstance(error, _NodesNotUpdatedError):
            message = f"Error syncing load balancer: {error}"
            self.api.event(document, "Warning", "SyncLoadBalancerFailed", message)
        return RetryError(delay, str(error))

    # writing

    def _with_finalizer(self, document: Document, *, present: bool) -> Document:
        held = _finalizers(document)
        if (FINALIZER in held) == present:
            return document
        changed = copy.deepcopy(document)
        others = [f for f in held if f != FINALIZER]
        changed["metadata"]["finalizers"] = [*others, FINALIZER] if present else others
        if not changed["metadata"]["finalizers"]:
            del changed["metadata"]["finalizers"]
        return self.api.update("services", changed)

    def _write_status(
        self, document: Document, ingress: tuple[LoadBalancerIngress, ...]
    ) -> Document:
        wanted: Document = {"ingress": [_entry(i) for i in ingress]} if ingress else {}
        status = document.get("status") or {}
        if (status.get("loadBalancer") or {}) == wanted:
            return document
        changed = copy.deepcopy(document)
        changed["status"] = {**status, "loadBalancer": wanted}
        return self.api.update("services", changed, status=True)

    # telling

    def _event(self, document: Document, reason: str, message: str) -> None:
        self.api.event(document, "Normal", reason, message)

    def _warn_no_nodes(self, document: Document) -> None:
        message = "There are no available nodes for LoadBalancer"
        self.api.event(document, "Warning", "UnAvailableLoadBalancer", message)

    def _tell_changes(self, old: Document, new: Document) -> None:
        """The Event that names the first difference, if it is one that has a name. needsUpdate."""
        for reason, read in _LOOKED_AT:
            before, after = read(old), read(new)
            if before != after:
                if reason:
                    self._event(new, reason, _difference(reason, before, after))
                return


class _NodesNotUpdatedError(CloudError):
    """The cloud didn't take another set of nodes: that was told already."""


def _spec(name: str, default: Any) -> Callable[[Document], Any]:
    return lambda document: document["spec"].get(name) or default


#: What is compared, in upstream's order, and the reason of the Event; "" is a change without one.
_LOOKED_AT: tuple[tuple[str, Callable[[Document], Any]], ...] = (
    ("LoadBalancerSourceRanges", _spec("loadBalancerSourceRanges", [])),
    ("", lambda document: _ports(document)),
    ("", _spec("sessionAffinity", "None")),
    ("", _spec("sessionAffinityConfig", None)),
    ("LoadbalancerIP", _spec("loadBalancerIP", "")),
    ("ExternalIP", _spec("externalIPs", [])),
    ("", lambda document: document["metadata"].get("annotations") or {}),
    ("UID", lambda document: document["metadata"].get("uid")),
    ("ExternalTrafficPolicy", _spec("externalTrafficPolicy", "")),
    ("HealthCheckNodePort", _spec("healthCheckNodePort", 0)),
)


def _difference(reason: str, before: Any, after: Any) -> str:
    if reason != "ExternalIP":
        return f"{_printed(before)} -> {_printed(after)}"
    if len(before) != len(after):
        return f"Count: {len(before)} -> {len(after)}"
    added = next(new for old, new in zip(before, after, strict=True) if old != new)
    return f"Added: {added}"


def _printed(value: Any) -> str:
    """A value as Go prints it."""
    return f"[{' '.join(value)}]" if isinstance(value, list) else str(value)


def _differs(old: Document, new: Document) -> bool:
    """Whether the load balancer itself must be looked at again (L-05)."""
    return _essence(old) != _essence(new)


_ESSENCE = (
    "loadBalancerSourceRanges",
    "sessionAffinity",
    "sessionAffinityConfig",
    "loadBalancerIP",
    "externalIPs",
    "externalTrafficPolicy",
    "healthCheckNodePort",
    "ipFamilies",
)
_PORT_ESSENCE = ("name", "protocol", "port", "nodePort", "targetPort", "appProtocol")


def _essence(document: Document) -> tuple[Any, ...]:
    spec, meta = document["spec"], document["metadata"]
    return (
        meta.get("uid"),
        meta.get("annotations") or {},
        _ports(document),
        *(spec.get(name) for name in _ESSENCE),
    )


def _ports(document: Document) -> list[list[Any]]:
    """What of the ports a load balancer needs to know."""
    ports = document["spec"].get("ports") or ()
    return [[port.get(name) for name in _PORT_ESSENCE] for port in ports]


def _is_ours(document: Document) -> bool:
    return _wants(document) or FINALIZER in _finalizers(document)


def _wants(document: Document) -> bool:
    """L-01: the type, and no class of another controller's."""
    spec = document.get("spec") or {}
    return spec.get("type") == "LoadBalancer" and spec.get("loadBalancerClass") is None


def _deleting(document: Document) -> bool:
    return bool(document["metadata"].get("deletionTimestamp"))


def _finalizers(document: Document) -> list[str]:
    return list(document["metadata"].get("finalizers") or ())


def _target_of(document: Document) -> Target | None:
    node = Node.from_document(document)
    return targets([node])[0] if is_target(node) else None


def _entry(ingress: LoadBalancerIngress) -> Document:
    entry: Document = {}
    if ingress.ip:
        entry = {"ip": ingress.ip, "ipMode": ingress.ip_mode}
    if ingress.hostname:
        entry["hostname"] = ingress.hostname
    return entry
