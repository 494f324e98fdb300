"""The cluster's objects as a client sees them: every write is admitted, every refusal is a Status.

The API server and `testbed apply` both call it. It is synchronous and does no I/O; what it decides
goes into the store. Sources: apiserver pkg/registry/generic/registry/store.go, pkg/registry/rest,
pkg/endpoints/handlers/{create,update,patch,delete}.go.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.resources import RESOURCES, ResourceType, by_kind
from testbed.clock import Clock
from testbed.control import envelope, ip_addresses, scale, selectors
from testbed.control.apiserver.patch import apply as server_side
from testbed.control.apiserver.patch.typed import TypedError
from testbed.control.envelope import Admitter, DeleteOptions, Outcome, WriteOptions
from testbed.control.patching import APPLY_PATCH, patched
from testbed.control.store import Event, EventType, Store
from testbed.control.storing import Storing, reset_fields, shape

#: Kinds that an update of a missing object creates. Source: AllowCreateOnUpdate of the strategies.
CREATED_ON_UPDATE = frozenset({"services", "endpoints", "leases", "events"})
#: Namespaces that stay. Source: plugin/pkg/admission/namespace/lifecycle.
LASTING_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})

Documents: TypeAlias = list[Document]
DEFAULTS = WriteOptions()
DELETE_DEFAULTS = DeleteOptions()


class Registry:
    """Reads and writes of every kind in RESOURCES, as the API server does them.

    All methods raise StatusError. Documents that come out are the stored ones: never change them.
    """

    def __init__(
        self,
        store: Store,
        admission: Admitter,
        clock: Clock,
        source: random.Random | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        #: By resource: what brings its objects up to date before a client reads them.
        self.before_reading: dict[str, Callable[[], None]] = {}
        self._admission = admission
        self._storing = Storing(store, admission, source or random.Random())
        for name in {resource.resource for resource in RESOURCES}:
            store.watch(name, self._follow)

    # reading

    def get(self, resource: ResourceType, namespace: str, name: str) -> Document:
        found = self.store.find(resource.resource, namespace, name)
        if found is None:
            raise status.not_found(resource.resource, name, resource.group)
        return found

    def list(
        self,
        resource: ResourceType,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
    ) -> Documents:
        """Objects that both selectors choose, in order of namespace and name."""
        chosen = self.selector(resource, labels, fields)
        found = self.store.list(resource.resource, namespace)
        return [document for document in found if chosen(document)] if chosen else found

    def selector(
        self, resource: ResourceType, labels: str, fields: str
    ) -> selectors.Predicate | None:
        """The predicate of both selectors; None where they are empty."""
        if not labels and not fields:
            return None
        try:
            by_label = selectors.label_selector(labels)
            by_field = selectors.field_selector(fields, resource.resource)
        except selectors.SelectorError as error:
            raise status.bad_request(str(error)) from None
        return lambda document: by_label(document) and by_field(document)

    def scale_of(self, resource: ResourceType, namespace: str, name: str) -> Document:
        """The autoscaling/v1 Scale of an object."""
        return scale.scale_of(self.get(resource, namespace, name))

    # writing

    def create(
        self,
        resource: ResourceType,
        document: Document,
        *,
        namespace: str = "",
        options: WriteOptions = DEFAULTS,
    ) -> Outcome:
        """Admit and store a new object; a missing name is made from generateName."""
        return self._storing.create(
            resource, envelope.prepared(resource, document, namespace), namespace, options
        )

    def update(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        document: Document,
        *,
        subresource: str = "",
        options: WriteOptions = DEFAULTS,
    ) -> Outcome:
        """Replace an object, its status or its scale; a stale resourceVersion is a conflict."""
        old = self.store.find(resource.resource, namespace, name)
        if subresource == "scale":
            current = self.get(resource, namespace, name)
            document = scale.with_scale(resource, namespace, current, document)
        new = envelope.prepared(resource, document, namespace, name)
        if old is not None:
            return self._storing.replace(resource, old, new, subresource, options, whole=True)
        if resource.resource not in CREATED_ON_UPDATE or subresource:
            self._admission.read(
                resource.resource,
                new,
                field_validation=options.field_validation,
            )
            raise status.not_found(resource.resource, name, resource.group)
        return self._storing.create(resource, new, namespace, options, put=True)

    def patch(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        kind: str,
        patch: Any,
        *,
        subresource: str = "",
        options: WriteOptions = DEFAULTS,
    ) -> Outcome:
        """Patch an object; `kind` is the patch's content type. An apply makes a missing object."""
        if kind == APPLY_PATCH:
            return self._apply(resource, namespace, name, patch, subresource, options)
        old = self.get(resource, namespace, name)
        target = scale.scale_of(old) if subresource == "scale" else old
        written = scale.RESOURCE if subresource == "scale" else resource
        new, warnings = patched(target, kind, patch, written, options.field_validation)
        options = replace(options, warnings=(*options.warnings, *warnings))
        if subresource == "scale":
            new = scale.with_scale(resource, namespace, old, new)
        new = envelope.prepared(resource, new, namespace, name)
        return self._storing.replace(resource, old, new, subresource, options)

    def apply(
        self, document: Document, *, options: WriteOptions | None = None
    ) -> tuple[str, Outcome]:
        """Server-side apply of a manifest: `created`, `configured` or `unchanged`, and the outcome.

        Raises StatusError, also for a kind that the server doesn't have.
        """
        resource = by_kind(str(document.get("apiVersion")), str(document.get("kind")))
        if resource is None:
            raise status.bad_request(
                f'no matches for kind "{document.get("kind")}" in version '
                f'"{document.get("apiVersion")}"'
            )
        namespace = (namespace_of(document) or "default") if resource.namespaced else ""
        options = options or WriteOptions(manager="testbed", force=True)
        outcome = self._apply(resource, namespace, name_of(document), document, "", options)
        word = "created" if outcome.created else "configured" if outcome.changed else "unchanged"
        return word, outcome

    # deleting

    def delete(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        options: DeleteOptions = DELETE_DEFAULTS,
    ) -> tuple[Document, bool]:
        """Delete an object, or mark it while grace or finalizers hold it: (last state, gone)."""
        if resource.resource == "namespaces" and name in LASTING_NAMESPACES:
            raise status.forbidden("namespaces", name, "", "this namespace may not be deleted")
        old = self.get(resource, namespace, name)
        envelope.check_preconditions(resource, old, options)
        grace = envelope.grace_of(resource, old, options)
        finalizers = envelope.FINALIZERS.get(options.propagation, ())
        if options.dry_run:
            return old, not grace and not finalizers and not old["metadata"].get("finalizers")
        gone = self.store.delete(
            resource.resource, namespace, name, grace=grace, finalizers=finalizers
        )
        return gone, self.store.find(resource.resource, namespace, name) is None

    def delete_collection(
        self,
        resource: ResourceType,
        namespace: str | None,
        options: DeleteOptions = DELETE_DEFAULTS,
        *,
        labels: str = "",
        fields: str = "",
    ) -> Documents:
        """Delete what the selectors choose; returns the last states."""
        return [
            self.delete(resource, namespace_of(document), name_of(document), options)[0]
            for document in self.list(resource, namespace, labels=labels, fields=fields)
        ]

    # the steps

    def _apply(
        self,
        resource: ResourceType,
        namespace: str,
        name: str,
        configuration: Any,
        subresource: str,
        options: WriteOptions,
    ) -> Outcome:
        envelope.check_applied(resource, configuration)
        configuration = envelope.prepared(resource, configuration, namespace)
        configuration["metadata"].setdefault("name", name)
        envelope.check_name(configuration["metadata"], name)
        if configuration["metadata"].get("managedFields") is not None:
            raise status.bad_request("metadata.managedFields must be nil")
        old = self.store.find(resource.resource, namespace, name)
        sent = configuration["metadata"].pop("resourceVersion", None)
        if old is None and (subresource or sent):
            raise status.not_found(resource.resource, name, resource.group)
        if old is not None and sent and sent != old["metadata"]["resourceVersion"]:
            raise envelope.stale(resource, name)
        writer = replace(self._storing.writer(resource, options, "Apply"), subresource=subresource)
        merging = shape(resource)
        try:
            new = server_side.apply(
                old,
                configuration,
                writer,
                merging,
                force=options.force,
                reset=reset_fields(resource, subresource),
            )
        except TypedError as error:
            raise envelope.untyped(configuration, error) from None
        except server_side.ApplyConflictError as error:
            details = {"causes": error.causes()}
            raise status.StatusError(409, "Conflict", str(error), details) from None
        if old is None:
            return self._storing.create(resource, new, namespace, options, applied=True)
        return self._storing.replace(resource, old, new, subresource, options, applied=True)

    def _follow(self, event: Event) -> None:
        """What goes with an object: its allocations, a Service's IPAddresses and Endpoints."""
        if event.resource == "services":
            ip_addresses.follow_service(self.store, event)
        if event.type is not EventType.DELETED:
            self._admission.stored(event.resource, event.object)
            return
        self._admission.released(event.resource, event.object)
        if event.resource == "services":
            key = namespace_of(event.object), name_of(event.object)
            if self.store.find("endpoints", *key) is not None:
                self.store.delete("endpoints", *key)
