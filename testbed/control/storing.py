"""Storing what a client sent, once it is admitted: the steps that every kind of write shares.

Sources: apiserver pkg/registry/generic/registry/store.go, pkg/registry/rest/{create,update}.go,
plugin/pkg/admission/namespace/lifecycle.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from testbed.api import object_meta, status
from testbed.api.documents import Document, name_of
from testbed.api.resources import ResourceType
from testbed.control import envelope, plugins
from testbed.control.apiserver.patch import apply as server_side
from testbed.control.apiserver.patch.fields import FieldSet, Path
from testbed.control.apiserver.patch.managers import Manager
from testbed.control.apiserver.patch.shape import Shape, shape_of
from testbed.control.envelope import Admitted, Admitter, Outcome, WriteOptions
from testbed.control.names import generate
from testbed.control.store import Store

#: Kinds whose update must name the version it changes. Source: AllowUnconditionalUpdate.
VERSION_NEEDED = frozenset({"leases"})
#: Metadata that a write of the status leaves alone.
_RESET_WITH_STATUS: dict[str, tuple[Path, ...]] = {
    "deployments": (("f:metadata", "f:labels"),),
    "pods": (("f:metadata", "f:deletionTimestamp"), ("f:metadata", "f:ownerReferences")),
}
#: Tries to find a free generated name. Source: maxNameGenerationCreateAttempts.
NAME_ATTEMPTS = 8


class Storing:
    """Puts new and changed objects into a store. All methods raise StatusError."""

    def __init__(self, store: Store, admission: Admitter, source: random.Random) -> None:
        self.store = store
        self._admission = admission
        self._random = source

    def create(
        self,
        resource: ResourceType,
        new: Document,
        namespace: str,
        options: WriteOptions,
        *,
        applied: bool = False,
        put: bool = False,
    ) -> Outcome:
        """Admit and store a new object; `applied` by server-side apply or `put` at its name."""

        def gate() -> None:
            if put:
                envelope.check_uid(resource, None, new)
            self._check_namespace(resource, namespace, asked)
            if put:
                object_meta.check_version(str(new["metadata"].get("resourceVersion") or ""))

        given = new["metadata"]
        asked = given.get("name") or given.get("generateName") or "Unknown"
        self._name(resource, namespace, given)
        sent = plugins.fill_in(self.store, resource, new)
        if put:
            sent = {**sent, "metadata": {**new["metadata"], "resourceVersion": ""}}
        admitted = self._admission.create(
            resource.resource,
            sent,
            namespace=namespace,
            dry_run=options.dry_run,
            field_validation=options.field_validation,
            gate=gate,
        )
        stored = admitted.document
        with self._undone(admitted, resource, namespace):
            name = name_of(stored)
            found = self.store.find(resource.resource, namespace, name)
            if found is not None:
                raise status.already_exists(
                    resource.resource,
                    name,
                    resource.group,
                    generated=bool(stored["metadata"].get("generateName")),
                    deleting=bool(found["metadata"].get("deletionTimestamp")),
                )
            if not applied:
                writer = self.writer(resource, options, "Update")
                server_side.record_update(
                    None,
                    admitted.requested,
                    stored,
                    writer,
                    shape(resource),
                    reset_fields(resource),
                )
            if options.dry_run:
                stored["metadata"].update(
                    uid=str(uuid.uuid4()), creationTimestamp=self.store.timestamp()
                )
            else:
                stored = self.store.create(resource.resource, stored)
        return Outcome(stored, (*options.warnings, *admitted.warnings), created=True)

    def replace(
        self,
        resource: ResourceType,
        old: Document,
        new: Document,
        subresource: str,
        options: WriteOptions,
        *,
        applied: bool = False,
        whole: bool = False,
    ) -> Outcome:
        """Put `new` in `old`'s place once it is admitted; a `whole` object was sent by a PUT."""

        def gate() -> None:
            if whole:
                envelope.check_uid(resource, old, sent)
            needed = resource.resource in VERSION_NEEDED
            envelope.check_version(resource, old, sent, needed=needed)

        sent = {"metadata": dict(new["metadata"])}
        new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
        admitted = self._admission.update(
            resource.resource,
            new,
            old,
            subresource=subresource,
            dry_run=options.dry_run,
            field_validation=options.field_validation,
            gate=gate,
        )
        stored = admitted.document
        with self._undone(admitted, resource, str(old["metadata"].get("namespace") or "")):
            if not applied:
                writer = replace(self.writer(resource, options, "Update"), subresource=subresource)
                server_side.record_update(
                    old,
                    admitted.requested,
                    stored,
                    writer,
                    shape(resource),
                    reset_fields(resource, subresource),
                )
            warnings = (*options.warnings, *admitted.warnings)
            changed = not server_side.same_but_for_times(stored, old)
            if not changed and not options.dry_run:
                stored = old
            if options.dry_run or not changed:
                return Outcome(stored, warnings, changed=changed)
            stored = self.store.update(resource.resource, stored, status=subresource == "status")
            return Outcome(stored, warnings)

    @contextmanager
    def _undone(self, admitted: Admitted, resource: ResourceType, namespace: str) -> Iterator[None]:
        """Give back what was allocated for a write that isn't stored after all."""
        key = resource.resource, namespace, name_of(admitted.document)
        before = self.store.find(*key)
        try:
            yield
        except BaseException:
            if self.store.find(*key) is before:  # a write that is stored may fail in what follows
                admitted.undo()
            raise

    def writer(self, resource: ResourceType, options: WriteOptions, operation: str) -> Manager:
        return Manager(
            options.manager,
            operation,
            resource.api_version,
            "",
            self.store.timestamp(),
            frozenset(),
        )

    def _name(self, resource: ResourceType, namespace: str, meta: Document) -> None:
        """Fill in a name made from generateName that is free."""
        if meta.get("name") or not meta.get("generateName"):
            return
        if resource.resource in object_meta.NAMED_BY_CLIENTS:
            return
        for _ in range(NAME_ATTEMPTS):
            meta["name"] = generate(str(meta["generateName"]), self._random)
            if self.store.find(resource.resource, namespace, meta["name"]) is None:
                return

    def _check_namespace(self, resource: ResourceType, namespace: str, asked: str) -> None:
        """The namespace exists and isn't being deleted; `asked` is the name, or its beginning.

        Sources: plugin/pkg/admission/namespace/lifecycle, apiserver pkg/admission/errors.go.
        """
        if not resource.namespaced:
            return
        found = self.store.find("namespaces", "", namespace)
        if found is None:
            raise status.not_found("namespaces", namespace)
        if found["metadata"].get("deletionTimestamp"):
            refusal = status.forbidden(
                resource.resource,
                asked,
                resource.group,
                f"unable to create new content in namespace {namespace} "
                "because it is being terminated",
            )
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            refusal.details["causes"] = [cause]
            raise refusal


def reset_fields(resource: ResourceType, subresource: str = "") -> FieldSet:
    """Fields that a write of the (sub)resource doesn't set, whatever it holds.

    Source: GetResetFields of the strategies in pkg/registry.
    """
    if subresource == "status":
        return frozenset({("f:spec",), *_RESET_WITH_STATUS.get(resource.resource, ())})
    return frozenset({("f:status",)} if "status" in resource.subresources else ())


def shape(resource: ResourceType) -> Shape:
    """How lists and maps of a kind merge."""
    return shape_of(resource.api_version, resource.kind)
