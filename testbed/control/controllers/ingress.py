"""The Ingress controller: Ingresses of its class become the configuration of its proxies.

It looks at all of them at once. One that the proxy refuses gets an Event, and what it said before
goes on; statuses and public names follow the controller's own load balancer. Source: ingress-nginx
internal/ingress (controller, status).
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Protocol

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.cloud.balancer import ANNOTATION_PROXY_PROTOCOL
from testbed.control.controllers.base import ClusterApi, Controller, Key
from testbed.control.store import Event
from testbed.ingress import manifests
from testbed.ingress.build import World, age, build
from testbed.ingress.model import Configuration

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_EVERYTHING: Key = ("", "")
#: Whose public names the hosts are: a load balancer may have one of the same name.
_OWNER = "ingress"


class Proxies(Protocol):
    """What serves the configuration (ingress.server.Fleet)."""

    def check(self, configuration: Configuration) -> str:
        """What speaks against a configuration, or ""."""

    def apply(self, configuration: Configuration) -> None:
        """Serve it from now on."""


class PublicNames(Protocol):
    """The public DNS in which hosts are named."""

    def set_addresses(self, name: str, addresses: Sequence[str], owner: str = "") -> None:
        """`name` has exactly these addresses of an owner's; none removes them."""


class IngressController(Controller):
    resources = ("ingresses", "ingressclasses", "services", "endpointslices", "secrets")

    def __init__(self, api: ClusterApi, proxies: Proxies, names: PublicNames) -> None:
        super().__init__(api)
        self._proxies = proxies
        self._names = names
        #: What is served of each Ingress: the last document that was taken.
        self._taken: dict[str, Document] = {}
        #: Those that the proxy refused, out of the Ingresses and Secrets as `_tried` has them.
        self._refused: set[str] = set()
        self._tried = ""
        self._served: Configuration | None = None
        self._told: set[tuple[str, int, str, str]] = set()
        self._named: set[str] = set()

    def keys_for(self, event: Event) -> Iterable[Key]:
        return (_EVERYTHING,)

    def reconcile(self, key: Key) -> None:
        """Bring proxies, statuses and names to what all Ingresses say."""
        ours = {d["metadata"]["uid"]: d for d in self.store.list("ingresses") if self._is_ours(d)}
        self._taken = {uid: d for uid, d in self._taken.items() if uid in ours}
        world = self._world()
        essence = self._essence(ours.values(), world)
        if essence != self._tried:
            self._tried = essence
            self._refused.clear()
        wanted = {uid: d for uid, d in ours.items() if uid not in self._refused}
        wanted |= {uid: d for uid, d in self._taken.items() if uid in self._refused}
        configuration = self._build(wanted.values(), world)
        if configuration != self._served and self._proxies.check(configuration):
            wanted = self._without_culprits(wanted, world)
            configuration = self._build(wanted.values(), world)
        if self._serve(configuration):
            for uid, document in wanted.items():
                if _generation(self._taken.get(uid)) != _generation(document):
                    self.api.event(document, "Normal", "Sync", "Scheduled for sync")
            self._taken = wanted
        self._publish(ours.values())

    def _serve(self, configuration: Configuration) -> bool:
        """Whether the proxies serve a configuration from now on: those that they take."""
        if configuration != self._served:
            if self._proxies.check(configuration):
                return False
            self._proxies.apply(configuration)
            self._served = configuration
        return True

    def _is_ours(self, document: Document) -> bool:
        name = document["spec"].get("ingressClassName")
        annotations = document["metadata"].get("annotations") or {}
        found = self.store.find(
            "ingressclasses", "", name or annotations.get(_CLASS_ANNOTATION, "")
        )
        return found is not None and found["spec"].get("controller") == manifests.CONTROLLER

    def _without_culprits(self, wanted: dict[str, Document], world: World) -> dict[str, Document]:
        """Oldest first, those that the proxy takes beside the ones before them.

        One that it doesn't take goes back to what was taken of it before, if that still does.
        """
        kept: dict[str, Document] = {}
        for uid, document in sorted(wanted.items(), key=lambda item: age(item[1])):
            problem = self._proxies.check(self._build([*kept.values(), document], world))
            if not problem:
                kept[uid] = document
                continue
            self._refused.add(uid)
            self._tell(document, "Rejected", f"the proxy refuses it: {problem}")
            before = self._taken.get(uid)
            if before is None or before == document:
                continue
            if not self._proxies.check(self._build([*kept.values(), before], world)):
                kept[uid] = before
        return kept

    def _essence(self, documents: Iterable[Document], world: World) -> str:
        """What decides whether an Ingress is refused: it, its Secrets, and the others."""
        parts: list[object] = []
        for document in sorted(documents, key=age):
            meta, spec = document["metadata"], document["spec"]
            parts += [meta["uid"], meta.get("annotations"), spec]
            for entry in spec.get("tls") or ():
                key = NamespacedName(namespace_of(document), entry.get("secretName") or "")
                parts.append((world.secrets.get(key) or {}).get("data"))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _build(self, documents: Iterable[Document], world: World) -> Configuration:
        service = self.store.find("services", manifests.NAMESPACE, manifests.SERVICE)
        annotations = ((service or {}).get("metadata") or {}).get("annotations") or {}
        balancer = ((service or {}).get("status") or {}).get("loadBalancer") or {}
        proxied = any(e.get("ipMode") == "Proxy" for e in balancer.get("ingress") or ())
        with_header = proxied and annotations.get(ANNOTATION_PROXY_PROTOCOL) != "none"
        return build(documents, world, self._tell, proxy_protocol=with_header)

    def _world(self) -> World:
        slices: dict[NamespacedName, tuple[EndpointSlice, ...]] = {}
        for document in self.store.list("endpointslices"):
            part = EndpointSlice.from_document(document)
            if part.service is not None:
                slices[part.service] = (*slices.get(part.service, ()), part)
        services = (Service.from_document(d) for d in self.store.list("services"))
        secrets = self.store.list("secrets")
        return World(
            {service.key: service for service in services},
            slices,
            {NamespacedName(namespace_of(d), name_of(d)): d for d in secrets},
        )

    def _tell(self, document: Document, reason: str, message: str) -> None:
        """Say once per version of an Ingress what can't be done as it is written."""
        meta = document["metadata"]
        key = meta["uid"], _generation(document), reason, message
        if key not in self._told:
            self._told.add(key)
            self.api.event(document, "Warning", reason, message)

    # outside

    def _publish(self, ingresses: Iterable[Document]) -> None:
        """Statuses and public names: where the controller's load balancer is."""
        service = self.store.find("services", manifests.NAMESPACE, manifests.SERVICE) or {}
        balancer = (service.get("status") or {}).get("loadBalancer") or {}
        entries = [
            {name: entry[name] for name in ("ip", "hostname") if entry.get(name)}
            for entry in balancer.get("ingress") or ()
        ]
        addresses = [entry["ip"] for entry in entries if "ip" in entry]
        hosts: set[str] = set()
        for document in sorted(ingresses, key=age):
            hosts |= {r["host"] for r in document["spec"].get("rules") or () if r.get("host")}
            self._write_status(document, entries)
        for host in self._named - hosts:
            self._names.set_addresses(host, (), _OWNER)
        for host in hosts:
            self._names.set_addresses(host, addresses, _OWNER)
        self._named = hosts

    def _write_status(self, document: Document, entries: list[dict[str, str]]) -> None:
        wanted: Document = {"ingress": entries} if entries else {}
        if ((document.get("status") or {}).get("loadBalancer") or {}) != wanted:
            changed = copy.deepcopy(document)
            changed["status"] = {"loadBalancer": wanted}
            self.api.update("ingresses", changed, status=True)


def _generation(document: Document | None) -> int:
    return int((document or {"metadata": {}})["metadata"].get("generation") or 0)
