"""Writes as the API server admits them: defaults, allocation, validation, in its order.

The order of work is Kubernetes' (catalogue 1.8): decoding, defaults, allocation, preparation,
validation. A refused write raises StatusError and leaves the allocators as they were. Sources:
apiserver pkg/registry/generic/registry/store.go, pkg/registry/rest/{create,update}.go.
"""

from __future__ import annotations

import copy
import ipaddress
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from testbed.api import object_meta, schema, status
from testbed.api.allocate import AddressPool, PortPool, Transaction, family_name
from testbed.api.bodies import typed
from testbed.api.decoding import decode
from testbed.api.documents import Document
from testbed.api.encoding import encode
from testbed.api.resources import ResourceType, by_kind, by_name, by_resource
from testbed.api.service_strategy import begin_create, begin_update, held_addresses, held_ports
from testbed.api.strategies import STRATEGIES, Strategy, keep_status
from testbed.api.validation.addresses import Network, parse_ip
from testbed.api.validation.meta import common, common_update

#: ServiceCIDR object that stands for the server's own ranges.
DEFAULT_CIDR = "kubernetes"


@dataclass(frozen=True, slots=True)
class Settings:
    """The server's flags that admission depends on; the first CIDR's family is the default one."""

    service_cidrs: tuple[str, ...] = ("10.96.0.0/16", "fd00:10:96::/112")
    node_ports: tuple[int, int] = (30000, 32767)


def _nothing() -> None:
    """Nothing to undo, nothing to refuse."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A write that may be stored.

    `requested` is what the writer asked for, with defaults, before the server's own decisions.
    `undo` gives back what was allocated for it; call it where storing fails after all.
    """

    document: Document
    requested: Document
    warnings: tuple[str, ...] = ()
    undo: Callable[[], None] = field(default=_nothing, compare=False)


class Admission:
    """Admits writes; holds the allocators of ClusterIPs and node ports."""

    def __init__(
        self, settings: Settings | None = None, *, rng: random.Random | None = None
    ) -> None:
        self.settings = settings or Settings()
        self._rng = rng or random.Random()
        self.addresses = AddressPool(self._rng)
        self.ports = PortPool(*self.settings.node_ports, self._rng)
        networks = [ipaddress.ip_network(cidr) for cidr in self.settings.service_cidrs]
        self._families = tuple(dict.fromkeys(family_name(network) for network in networks))
        self.addresses.set_range(DEFAULT_CIDR, networks)

    def create(
        self,
        resource: str,
        document: Document,
        *,
        namespace: str,
        dry_run: bool = False,
        field_validation: str = "Warn",
        gate: Callable[[], None] = _nothing,
    ) -> Admitted:
        """A new object, ready for the store; raises StatusError.

        `namespace` is the request's ("" for a cluster-wide resource). `field_validation` is Warn,
        Strict or Ignore. `gate` is called once the object can be read, before anything else is
        asked of it: it may refuse the write.
        """
        kind, strategy = self._find(resource, document)
        new, warnings = typed(document, kind, field_validation)
        self._check_namespace(new, kind, namespace)
        gate()
        warnings += object_meta.fill(new, kind, self._rng)
        strategy.defaults(new)
        requested = self._encode(kind, new)
        return self._create(kind, strategy, new, requested, warnings, dry_run=dry_run)

    def _create(
        self,
        kind: ResourceType,
        strategy: Strategy,
        new: Document,
        requested: Document,
        warnings: list[str],
        *,
        dry_run: bool,
    ) -> Admitted:
        transaction = Transaction(self.addresses, self.ports, dry_run)
        try:
            if kind.resource == "services":
                begin_create(new, transaction, self._families)
            if strategy.update_status is not None and not strategy.status_on_create:
                keep_status(new, None)
            strategy.prepare(new, None)
            self._refuse(kind, new, strategy.create(new))
            self._refuse(kind, new, common(new["metadata"], namespaced=kind.namespaced))
            strategy.canonicalize(new, None)
            if not dry_run:
                object_meta.refuse_version(new)
        except BaseException:
            transaction.rollback()
            raise
        transaction.commit()
        new["metadata"].pop("resourceVersion", None)
        encoded = self._encode(kind, new)
        undo = self._note(kind, encoded, transaction, dry_run=dry_run)
        warnings += strategy.warnings(new, None)
        return Admitted(encoded, requested, tuple(warnings), undo)

    def read(self, resource: str, document: Document, *, field_validation: str = "Warn") -> None:
        """Raises StatusError (400) where the object can't be read at all."""
        kind, _ = self._find(resource, document)
        typed(document, kind, field_validation)

    def update(
        self,
        resource: str,
        new: Document,
        old: Document,
        *,
        subresource: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        gate: Callable[[], None] = _nothing,
    ) -> Admitted:
        """A changed object, ready for the store; `old` is the stored one. Raises StatusError.

        With subresource "status" only status (and metadata) is taken from `new`; without one,
        status is the stored object's, where the kind has a status subresource. Another subresource
        (binding, finalize …) is checked for its form alone: what it may change is its writer's.
        """
        kind, strategy = self._find(resource, new)
        changed, warnings = typed(new, kind, field_validation)
        self._check_namespace(changed, kind, old["metadata"].get("namespace", ""))
        gate()
        stored = decode(old, self._definition(kind))[0]
        strategy.defaults(changed)
        warnings += object_meta.keep(changed, stored)
        requested = self._encode(kind, changed)
        transaction = Transaction(self.addresses, self.ports, dry_run)
        try:
            if subresource == "status":
                self._update_status(kind, strategy, changed, stored)
            elif part := strategy.subresources.get(subresource):
                part.keep(changed, stored)
                self._refuse_change(kind, changed, stored, part.validate)
            elif subresource:
                self._refuse(kind, changed, strategy.create(changed))
            else:
                self._update_object(kind, strategy, changed, stored, transaction)
        except BaseException:
            transaction.rollback()
            raise
        transaction.commit()
        encoded = self._encode(kind, changed)
        undo = self._note(kind, encoded, transaction, dry_run=dry_run)
        warn = strategy.status_warnings if subresource == "status" else strategy.warnings
        warnings += warn(changed, stored)
        return Admitted(encoded, requested, tuple(warnings), undo)

    def _update_object(
        self,
        kind: ResourceType,
        strategy: Strategy,
        changed: Document,
        stored: Document,
        transaction: Transaction,
    ) -> None:
        if kind.resource == "services":
            begin_update(changed, stored, transaction, self._families)
        if strategy.update_status is not None:
            keep_status(changed, stored)
        strategy.prepare(changed, stored)
        self._refuse_change(kind, changed, stored, strategy.update)
        strategy.canonicalize(changed, stored)

    def _update_status(
        self, kind: ResourceType, strategy: Strategy, changed: Document, stored: Document
    ) -> None:
        for member in set(stored) | set(changed):
            if member in ("apiVersion", "kind", "metadata", "status"):
                continue
            if member in stored:
                changed[member] = copy.deepcopy(stored[member])
            else:
                changed.pop(member)
        if strategy.status_alone:
            object_meta.reset_for_status(changed, stored)
        strategy.prepare_status(changed, stored)
        self._refuse_change(kind, changed, stored, strategy.update_status or strategy.update)

    def stored(self, resource: str, document: Document) -> None:
        """An object is in the store as it is now: a ServiceCIDR gives addresses out or doesn't."""
        if resource == "servicecidrs":
            self.addresses.set_range(document["metadata"]["name"], _ready_networks(document))

    def released(self, resource: str, document: Document) -> None:
        """An object is finally gone: free what it held."""
        if resource == "services":
            for address in held_addresses(document):
                self.addresses.give_back(address)
            for port in held_ports(document):
                self.ports.give_back(port)
        elif resource == "servicecidrs":
            self.addresses.drop_range(document["metadata"]["name"])
        elif resource == "ipaddresses":
            freed = parse_ip(document["metadata"]["name"])
            if freed is not None:
                self.addresses.drop_object(freed)

    def restore(self, documents: Iterable[Document]) -> None:
        """Take the allocations of stored objects over, after a restart."""
        for document in documents:
            kind = by_kind(document.get("apiVersion", ""), document.get("kind", ""))
            if kind is None:
                continue
            if kind.resource == "services":
                for address in held_addresses(document):
                    self.addresses.restore(address)
                for port in held_ports(document):
                    self.ports.restore(port)
            else:
                self._note_object(kind, document)

    # the parts of a write

    def _find(self, resource: str, document: Document) -> tuple[ResourceType, Strategy]:
        group = str(document.get("apiVersion") or "").rpartition("/")[0]
        kind = by_resource(group, resource) or by_name(resource)
        if kind is None:
            raise status.not_found(resource, "")
        return kind, STRATEGIES[kind.group, kind.resource]

    def _check_namespace(self, document: Document, kind: ResourceType, namespace: str) -> None:
        meta = document["metadata"]
        wanted = namespace if kind.namespaced else ""
        if not meta.get("namespace"):
            meta.pop("namespace", None)
            if wanted:
                meta["namespace"] = wanted
        elif not wanted:
            meta.pop("namespace")
        elif meta["namespace"] != wanted:
            raise status.bad_request(
                "the namespace of the provided object does not match "
                "the namespace sent on the request"
            )

    def _refuse(
        self, kind: ResourceType, document: Document, errors: list[status.FieldError]
    ) -> None:
        if errors:
            name = document["metadata"].get("name", "")
            raise status.invalid(kind.kind, kind.group, name, errors)

    def _refuse_change(
        self,
        kind: ResourceType,
        changed: Document,
        stored: Document,
        check: Callable[[Document, Document], list[status.FieldError]],
    ) -> None:
        after, before = changed["metadata"], stored["metadata"]
        errors = common_update(after, before, namespaced=kind.namespaced)
        self._refuse(kind, changed, errors + check(changed, stored))

    def _definition(self, kind: ResourceType) -> schema.StructType:
        definition = schema.kind_struct(kind.api_version, kind.kind)
        if definition is None:
            raise AssertionError(f"schema.json has no {kind.kind}: run tools/build_schema.py")
        return definition

    def _encode(self, kind: ResourceType, document: Document) -> Document:
        return encode(document, self._definition(kind))

    # ServiceCIDR and IPAddress objects are the allocators' state

    def _note(
        self, kind: ResourceType, document: Document, transaction: Transaction, *, dry_run: bool
    ) -> Callable[[], None]:
        if dry_run:
            return _nothing
        if kind.resource == "services":
            return transaction.rollback
        self._note_object(kind, document)
        return _nothing

    def _note_object(self, kind: ResourceType, document: Document) -> None:
        name = document["metadata"].get("name", "")
        if kind.resource == "ipaddresses":
            address = parse_ip(name)
            if address is not None:
                self.addresses.add_object(address)
        else:
            self.stored(kind.resource, document)


def _ready_networks(service_cidr: Document) -> list[Network]:
    """The ranges that a ServiceCIDR gives out: none while it is deleted or not ready."""
    if service_cidr["metadata"].get("deletionTimestamp"):
        return []
    for condition in service_cidr.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Ready" and condition.get("status") != "True":
            return []
    return [ipaddress.ip_network(cidr) for cidr in service_cidr.get("spec", {}).get("cidrs", ())]
