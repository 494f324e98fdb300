"""What surrounds a write: its options, and the checks and fields that every kind shares.

Sources: apiserver pkg/registry/rest/{create,update,delete}.go, pkg/endpoints/handlers/rest.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from testbed.api import status
from testbed.api.documents import Document, copy_document, copy_value, name_of
from testbed.api.identity import check_kind, wrong_metadata
from testbed.api.resources import ResourceType
from testbed.control.apiserver.patch.json import PatchError

#: Seconds that a Pod is given to end where it doesn't say.
DEFAULT_GRACE = 30


class Admitted(Protocol):
    """A document as it will be stored, the warnings for its writer, and the way back."""

    @property
    def document(self) -> Document: ...

    @property
    def warnings(self) -> Sequence[str]: ...

    @property
    def undo(self) -> Callable[[], None]: ...


class Admitter(Protocol):
    """Defaults, allocation and validation; raises StatusError. See testbed.api.admission."""

    def create(
        self,
        resource: str,
        document: Document,
        *,
        namespace: str,
        dry_run: bool = False,
        field_validation: str = "Warn",
    ) -> Admitted: ...

    def update(
        self,
        resource: str,
        new: Document,
        old: Document,
        *,
        subresource: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
    ) -> Admitted: ...

    def released(self, resource: str, document: Document) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a write left: the object, the warnings, and whether it was made or changed by it."""

    document: Document
    warnings: tuple[str, ...] = ()
    created: bool = False
    changed: bool = True


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a create, update or patch is done. `manager` is the field manager.

    `warnings` are what reading the document gave.
    """

    manager: str = "unknown"
    dry_run: bool = False
    field_validation: str = "Warn"
    force: bool = False
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How an object is deleted; `grace` in seconds, None for the object's own."""

    grace: int | None = None
    propagation: str = ""
    dry_run: bool = False
    uid: str = ""
    resource_version: str = ""


def prepared(
    resource: ResourceType, document: Any, namespace: str, name: str | None = None
) -> Document:
    """A copy of what a client sent, checked against the URL it was sent to.

    Source: apiserver pkg/endpoints/handlers/rest.go checkName, rest.EnsureObjectNamespaceMatches.
    """
    if not isinstance(document, dict):
        raise status.bad_request("the object provided is unrecognized (must be of type Object)")
    new: Document = copy_document(document)
    check_kind(new, resource)
    new["kind"] = new.get("kind") or resource.kind
    new["apiVersion"] = new.get("apiVersion") or resource.api_version
    meta = new.get("metadata")
    if meta is None:
        meta = new["metadata"] = {}
    if not isinstance(meta, dict):
        raise wrong_metadata(meta, resource)
    if name is not None:
        if meta.get("name") in (None, ""):
            meta["name"] = name
        elif meta["name"] != name:
            raise status.bad_request(
                f"the name of the object ({meta['name']}) does not match "
                f"the name on the URL ({name})"
            )
    sent = meta.get("namespace") or namespace
    if sent != namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if namespace:
        meta["namespace"] = namespace
    return new


def keep_server_fields(
    resource: ResourceType, old: Document, new: Document, subresource: str
) -> None:
    """Metadata that only the server sets, and the half that the (sub)resource doesn't write.

    Source: rest.BeforeUpdate, PrepareForUpdate of the strategies.
    """
    meta, before = new["metadata"], old["metadata"]
    if meta.get("uid") and meta["uid"] != before["uid"]:
        raise status.conflict(
            resource.resource,
            before["name"],
            resource.group,
            f"Precondition failed: UID in precondition: {meta['uid']}, "
            f"UID in object meta: {before['uid']}",
        )
    for field in (
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "generateName",
        "selfLink",
    ):
        if field in before:
            meta[field] = before[field]
        else:
            meta.pop(field, None)
    if subresource == "status":
        for field in {*old, *new} - {"metadata", "status"}:
            _take_over(field, old, new)
    elif "status" in resource.subresources:
        _take_over("status", old, new)


def _take_over(field: str, old: Document, new: Document) -> None:
    if field in old:
        new[field] = copy_value(old[field])
    else:
        new.pop(field, None)


def patch_refused(error: PatchError) -> status.StatusError:
    """Source: apiserver patch.go applyJSPatch, interpretStrategicMergePatchError."""
    if error.malformed:
        return status.bad_request(str(error))
    message = "the server rejected our request due to an error in our request"
    # Details, though empty: kubectl prints the message only where there are some.
    return status.StatusError(422, "Invalid", message, {})


def stale(resource: ResourceType, name: str) -> status.StatusError:
    return status.conflict(resource.resource, name, resource.group)


def version_missing(resource: ResourceType, name: str) -> status.StatusError:
    error = status.FieldError.invalid(
        "metadata.resourceVersion", 0, "must be specified for an update"
    )
    return status.invalid(resource.kind, resource.group, name, [error])


def check_preconditions(resource: ResourceType, old: Document, options: DeleteOptions) -> None:
    for word, field, wanted in (
        ("UID", "uid", options.uid),
        ("ResourceVersion", "resourceVersion", options.resource_version),
    ):
        found = old["metadata"].get(field)
        if wanted and wanted != found:
            raise status.conflict(
                resource.resource,
                name_of(old),
                resource.group,
                f"Precondition failed: {word} in precondition: {wanted}, "
                f"{word} in object meta: {found}",
            )


#: What holds a deleted object until the garbage collector has dealt with its dependents.
FINALIZERS = {"Orphan": ("orphan",), "Foreground": ("foregroundDeletion",)}


def grace_of(resource: ResourceType, old: Document, options: DeleteOptions) -> int | None:
    """Seconds that a Pod is given to end; nothing else is given any.

    Source: pkg/registry/core/pod/strategy.go CheckGracefulDelete.
    """
    if resource.resource != "pods":
        return None
    spec = old.get("spec") or {}
    ended = (old.get("status") or {}).get("phase") in ("Succeeded", "Failed")
    if not spec.get("nodeName") or ended:
        return 0
    grace = options.grace
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds")
    return DEFAULT_GRACE if grace is None else max(0, int(grace))
