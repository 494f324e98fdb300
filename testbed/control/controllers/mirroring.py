"""EndpointSliceMirroring: hand-made Endpoints of Services without a selector, as EndpointSlices.

There is one slice for each set of ports and family. Source: pkg/controller/endpointslicemirroring
(controller, reconciler, utils).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import IPV4, IPV6, LABEL_SERVICE_NAME, family_of
from testbed.api.subsets import repack
from testbed.control.controllers.addresses import canonical
from testbed.control.controllers.base import ClusterApi, Controller, Key, owner_reference
from testbed.control.controllers.packing import LABEL_MANAGED_BY, Identity, alike, identity
from testbed.control.controllers.port_map import PortMap, port_documents, port_map, ports_of
from testbed.control.controllers.triggers import TRIGGER_TIME
from testbed.control.pods import is_terminating, key_of
from testbed.control.store import Event

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
MAX_PER_SUBSET = 1000


class EndpointSliceMirroringController(Controller):
    resources = ("endpoints", "services", "endpointslices")

    def __init__(self, api: ClusterApi) -> None:
        super().__init__(api)
        #: The version of the Endpoints that was last complained about.
        self._told: dict[Key, str] = {}

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource != "endpointslices":
            yield from super().keys_for(event)
            return
        for state in (event.old, event.object):
            labels = ((state or {}).get("metadata") or {}).get("labels") or {}
            if labels.get(LABEL_MANAGED_BY) == MANAGER and LABEL_SERVICE_NAME in labels:
                yield namespace_of(event.object), labels[LABEL_SERVICE_NAME]

    def reconcile(self, key: Key) -> None:
        endpoints = self.store.find("endpoints", *key)
        service = self.store.find("services", *key)
        existing = [
            slice_
            for slice_ in self.store.list("endpointslices", key[0])
            if (labels := slice_["metadata"].get("labels") or {}).get(LABEL_MANAGED_BY) == MANAGER
            and labels.get(LABEL_SERVICE_NAME) == key[1]
        ]
        if endpoints is None or service is None or not is_mirrored(endpoints, service):
            self._delete(existing)
            self._told.pop(key, None)
            return
        wanted = self._wanted(endpoints)
        for family in (IPV4, IPV6):
            mine = [slice_ for slice_ in existing if slice_["addressType"] == family]
            groups = {ports: found for (kind, ports), found in wanted.items() if kind == family}
            self._write(endpoints, family, groups, mine)

    def _write(
        self,
        endpoints: Document,
        family: str,
        groups: Mapping[PortMap, Mapping[Identity, Document]],
        existing: Iterable[Document],
    ) -> None:
        """One slice for each set of ports; a spare slice is made into one that is missing."""
        by_ports: dict[PortMap, list[Document]] = {}
        for slice_ in existing:
            by_ports.setdefault(ports_of(slice_), []).append(slice_)
        missing: list[PortMap] = []
        spare: list[Document] = []
        for ports, wanted in groups.items():
            found = by_ports.pop(ports, [])
            spare += found[1:]
            if not found:
                missing.append(ports)
            elif not _holds(found[0], wanted, endpoints):
                self._update(endpoints, found[0], ports, wanted)
        spare += [slice_ for slices in by_ports.values() for slice_ in slices]
        for ports in missing:
            if spare:
                self._update(endpoints, spare.pop(0), ports, groups[ports])
            elif not is_terminating(endpoints):
                contents = _contents(ports, groups[ports])
                meta = {**_meta(endpoints), "generateName": f"{name_of(endpoints)}-"}
                kind = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice"}
                document = {**kind, "metadata": meta, "addressType": family, **contents}
                self.api.create("endpointslices", document)
        self._delete(spare)

    def _update(
        self,
        endpoints: Document,
        slice_: Document,
        ports: PortMap,
        wanted: Mapping[Identity, Document],
    ) -> None:
        kept = {k: v for k, v in slice_["metadata"].items() if k != "annotations"}
        meta = {**kept, **_meta(endpoints)}
        self.api.update("endpointslices", {**slice_, "metadata": meta, **_contents(ports, wanted)})

    def _delete(self, slices: Iterable[Document]) -> None:
        for slice_ in slices:
            self.api.delete("endpointslices", namespace_of(slice_), name_of(slice_))

    def _wanted(self, endpoints: Document) -> dict[tuple[str, PortMap], dict[Identity, Document]]:
        """(family, ports) → identity → endpoint; Events tell of addresses that are passed over."""
        wanted: dict[tuple[str, PortMap], dict[Identity, Document]] = {}
        skipped = invalid = 0
        for subset in repack(endpoints.get("subsets") or []):
            ports = port_map(map(_port, subset.get("ports") or ()))
            addresses = [(a, True) for a in subset.get("addresses") or ()]
            addresses += [(a, False) for a in subset.get("notReadyAddresses") or ()]
            added = 0
            for address, ready in addresses:
                if added >= MAX_PER_SUBSET:
                    break
                ip = canonical(address["ip"])
                if ip is None:
                    invalid += 1
                    continue
                added += 1
                endpoint = _endpoint(address, ip, ready)
                group = wanted.setdefault((family_of(ip), ports), {})
                if len(group) < MAX_PER_SUBSET or identity(endpoint) in group:
                    group[identity(endpoint)] = endpoint
            skipped += len(addresses) - added
        self._warn(endpoints, skipped, invalid)
        return wanted

    def _warn(self, endpoints: Document, skipped: int, invalid: int) -> None:
        key, version = key_of(endpoints), endpoints["metadata"].get("resourceVersion", "")
        if not skipped or self._told.get(key) == version:
            return
        self._told[key] = version
        if invalid:
            message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
            self.api.event(endpoints, "Warning", "InvalidIPAddress", message)
        if skipped > invalid:
            message = (
                "A max of 1000 addresses can be mirrored to EndpointSlices per Endpoints subset. "
                f"{skipped} addresses were skipped"
            )
            self.api.event(endpoints, "Warning", "TooManyAddressesToMirror", message)


def is_mirrored(endpoints: Document, service: Document) -> bool:
    """Whether the Endpoints of a Service are copied into slices (catalogue E-21)."""
    meta = endpoints["metadata"]
    return (
        not service["spec"].get("selector")
        and (meta.get("labels") or {}).get(SKIP) != "true"
        and LEADER not in (meta.get("annotations") or {})
    )


def _holds(slice_: Document, wanted: Mapping[Identity, Document], endpoints: Document) -> bool:
    """Whether a slice needs no write."""
    found = {identity(endpoint): endpoint for endpoint in slice_.get("endpoints") or ()}
    meta, target = slice_["metadata"], _meta(endpoints)
    return (
        found.keys() == wanted.keys()
        and all(alike(wanted[each], found[each]) for each in found)
        and meta.get("labels") == target["labels"]
        and (meta.get("annotations") or {}) == target.get("annotations", {})
    )


def _meta(endpoints: Document) -> Document:
    """What the metadata of a mirror has from its Endpoints."""
    name, meta = name_of(endpoints), endpoints["metadata"]
    own = {LABEL_SERVICE_NAME: name, LABEL_MANAGED_BY: MANAGER}
    annotations = {
        key: value
        for key, value in (meta.get("annotations") or {}).items()
        if key not in (LAST_APPLIED, TRIGGER_TIME)
    }
    return {
        "namespace": namespace_of(endpoints),
        "labels": {**(meta.get("labels") or {}), **own},
        "ownerReferences": [owner_reference(endpoints)],
        **({"annotations": annotations} if annotations else {}),
    }


def _contents(ports: PortMap, wanted: Mapping[Identity, Document]) -> Document:
    return {"ports": port_documents(ports), "endpoints": list(wanted.values())}


def _port(port: Document) -> tuple[str, int, str, str | None]:
    protocol = port.get("protocol") or "TCP"
    return port.get("name") or "", int(port["port"]), protocol, port.get("appProtocol")


def _endpoint(address: Document, ip: str, ready: bool) -> Document:
    endpoint: Document = {"addresses": [ip], "conditions": {"ready": ready}}
    for name in ("hostname", "nodeName", "targetRef"):
        if address.get(name):
            endpoint[name] = address[name]
    return endpoint
