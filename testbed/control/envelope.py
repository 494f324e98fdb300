"""What surrounds a write: its options, and the checks and fields that every kind shares.

Sources: apiserver pkg/registry/rest/{create,update,delete}.go, pkg/endpoints/handlers/rest.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from testbed.api import object_meta, status
from testbed.api.decoding import json_type
from testbed.api.documents import Document, copy_document, name_of
from testbed.api.identity import check_kind, wrong_metadata
from testbed.api.resources import ResourceType

#: Seconds that a Pod is given to end where it doesn't say.
DEFAULT_GRACE = 30


class Admitted(Protocol):
    """A document as it will be stored, the warnings for its writer, and the way back."""

    @property
    def document(self) -> Document: ...

    @property
    def requested(self) -> Document: ...

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
        gate: Callable[[], None] = ...,
    ) -> Admitted: ...

    def read(
        self, resource: str, document: Document, *, field_validation: str = "Warn"
    ) -> None: ...

    def update(
        self,
        resource: str,
        new: Document,
        old: Document,
        *,
        subresource: str = "",
        dry_run: bool = False,
        field_validation: str = "Warn",
        gate: Callable[[], None] = ...,
    ) -> Admitted: ...

    def stored(self, resource: str, document: Document) -> None: ...

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
    """How an object is deleted; `grace` in seconds, None for the object's own.

    `uid` and `resource_version` are what the object has to have; `cascades` where the client asked
    by orphanDependents that dependents go too.
    """

    grace: int | None = None
    propagation: str = ""
    dry_run: bool = False
    uid: str | None = None
    resource_version: str | None = None
    cascades: bool = False


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
    _settle_namespace(meta, namespace)
    if name is not None:
        check_name(meta, name)
    return new


def _settle_namespace(meta: Document, namespace: str) -> None:
    """What the whole cluster shares is in no namespace, whatever a client says."""
    if not namespace:
        meta.pop("namespace", None)
    elif meta.get("namespace") in (None, "", namespace):
        meta["namespace"] = namespace
    else:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def check_name(meta: Document, name: str) -> None:
    """The object is of the name that its URL has; raises StatusError."""
    found = meta.get("name")
    if found in (None, ""):
        words = f"the name of the object ({name} based on URL) was undeterminable"
        raise status.bad_request(f"{words}: name must be provided")
    if found != name:
        words = f"the name of the object ({found}) does not match the name on the URL ({name})"
        raise status.bad_request(words)


def check_applied(resource: ResourceType, configuration: Any) -> None:
    """Refuse (400) an applied configuration of another kind. Source: versioncheck.go."""
    if not isinstance(configuration, dict):
        kind = json_type(configuration)
        raise status.bad_request(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot "
            f"unmarshal {kind} into Go value of type map[string]interface {{}}"
        )
    api_version, kind = (str(configuration.get(name) or "") for name in ("apiVersion", "kind"))
    if (api_version, kind) == (resource.api_version, resource.kind):
        return
    group, _, version = api_version.rpartition("/")
    if api_version.count("/") > 1:
        group = version = kind = ""
    raise status.bad_request(f"invalid object type: {group}/{version}, Kind={kind}")


def untyped(configuration: Document, error: ValueError) -> status.StatusError:
    """500: an applied configuration doesn't fit its type. Source: structuredmerge.go."""
    meta = configuration["metadata"]
    group, _, version = str(configuration["apiVersion"]).rpartition("/")
    subject = f"{meta.get('namespace') or ''}/{meta.get('name') or ''}"
    return status.plain_failure(
        f"failed to create typed patch object ({subject}; {group}/{version}, "
        f"Kind={configuration['kind']}): {error}"
    )


def stale(resource: ResourceType, name: str) -> status.StatusError:
    return status.conflict(resource.resource, name, resource.group)


def version_missing(resource: ResourceType, name: str) -> status.StatusError:
    error = status.FieldError.invalid(
        "metadata.resourceVersion", 0, "must be specified for an update"
    )
    return status.invalid(resource.resource, resource.group, name, [error])


#: Where the API server keeps what isn't kept under the resource's own name.
_PLACES = {
    "endpoints": "services/endpoints",
    "ingresses": "ingress",
    "nodes": "minions",
    "services": "services/specs",
}


def check_uid(resource: ResourceType, old: Document | None, new: Document) -> None:
    """A PUT that names a uid is for the object of that uid alone.

    Source: apiserver pkg/storage/{interfaces,errors}.go (Preconditions.Check, StorageError).
    """
    wanted, meta = new["metadata"].get("uid"), new["metadata"]
    found = "" if old is None else old["metadata"]["uid"]
    if not wanted or wanted == found:
        return
    place = _PLACES.get(resource.resource, resource.resource)
    key = "/".join(("/registry", place, *filter(None, (meta.get("namespace"), meta["name"]))))
    words = (
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {wanted}, "
        f"UID in object meta: {found}"
    )
    raise status.conflict(resource.resource, meta["name"], resource.group, words)


def check_version(resource: ResourceType, old: Document, new: Document, *, needed: bool) -> None:
    """A write that names a version changes that version alone; some kinds need one (`needed`)."""
    name = name_of(old)
    sent = object_meta.check_version(str(new["metadata"].get("resourceVersion") or ""))
    if not sent and needed:
        raise version_missing(resource, name)
    if sent and sent != int(old["metadata"]["resourceVersion"]):
        raise stale(resource, name)


def check_preconditions(resource: ResourceType, old: Document, options: DeleteOptions) -> None:
    """Sources: apiserver pkg/registry/rest/delete.go BeforeDelete, which names the kind, and
    pkg/registry/core/namespace/storage, which has words of its own.
    """
    meta = old["metadata"]
    if options.uid is not None and options.uid != meta["uid"]:
        part, wanted, found = "UID", options.uid, meta["uid"]
        guess = "deleted and then recreated"
    elif (
        options.resource_version is not None and options.resource_version != meta["resourceVersion"]
    ):
        part, wanted, found = "ResourceVersion", options.resource_version, meta["resourceVersion"]
        guess = "modified"
    else:
        return
    if resource.resource == "namespaces":
        words = (
            f"Precondition failed: {part} in precondition: {wanted}, {part} in object meta: {found}"
        )
        raise status.conflict("namespaces", name_of(old), "", words)
    words = (
        f"the {part} in the precondition ({wanted}) does not match the {part} in record ({found}). "
        f"The object might have been {guess}"
    )
    raise status.conflict(resource.kind, name_of(old), resource.group, words)


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
    if grace is None:
        return DEFAULT_GRACE
    return 1 if int(grace) < 0 else int(grace)
