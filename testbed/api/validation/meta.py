"""Validation of metadata and label selectors.

Sources: apimachinery pkg/api/validation/objectmeta.go, pkg/apis/meta/v1/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation.names import (
    IMMUTABLE,
    NOT_NEGATIVE,
    Check,
    as_prefix,
    dns_label,
    each,
    label_key,
    label_value,
    path_prefix,
    path_segment,
)

#: Size of all annotations together, in bytes.
ANNOTATIONS_LIMIT = 256 * 1024
#: Lengths of a field manager's name and of its subresource, in bytes.
MANAGER_LIMIT = 128
MANAGED_SUBRESOURCE_LIMIT = 256

_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
#: Finalizers that need no domain.
STANDARD_FINALIZERS = ("kubernetes", _ORPHAN, _FOREGROUND)
#: Fields of metadata that an update can't change.
_FIXED = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)


def labels(value: Mapping[str, str], path: str) -> list[FieldError]:
    """Keys and values of a label map; the path is the map's own for both."""
    found: list[FieldError] = []
    for key in sorted(value):
        found += each(path, key, label_key)
        found += each(path, value[key], label_value)
    return found


def annotation_map(value: Mapping[str, str], path: str) -> list[FieldError]:
    """Keys of an annotation map, in any case, and its size."""
    found = [
        FieldError.invalid(path, key, message)
        for key in sorted(value)
        for message in label_key(key.lower())
    ]
    if sum(len(k.encode()) + len(v.encode()) for k, v in value.items()) > ANNOTATIONS_LIMIT:
        found.append(FieldError.too_long(path, ANNOTATIONS_LIMIT))
    return found


def owner_references(value: Iterable[Document], path: str) -> list[FieldError]:
    """Every part of a reference is there, and one owner at most is the controller."""
    found: list[FieldError] = []
    controller = ""
    references = list(value)
    for reference in references:
        found += _owner_reference(reference, path)
        if reference.get("controller"):
            current = f"{reference.get('kind', '')}/{reference.get('name', '')}"
            if controller:
                words = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {current}'
                )
                shown = [_go_owner(entry) for entry in references]
                found.append(FieldError.invalid(path, shown, words))
            else:
                controller = current
    return found


def _owner_reference(reference: Document, path: str) -> list[FieldError]:
    found = []
    version = reference.get("apiVersion", "")
    if not version.rpartition("/")[2] or version.count("/") > 1:
        words = "version must not be empty"
        found.append(FieldError.invalid(f"{path}.apiVersion", version, words))
    for name in ("kind", "name", "uid"):
        if not reference.get(name):
            found.append(FieldError.invalid(f"{path}.{name}", "", "must not be empty"))
    if (version, reference.get("kind")) == ("v1", "Event"):
        words = "/v1, Kind=Event is disallowed from being an owner"
        found.append(FieldError.invalid(path, _go_owner(reference), words))
    return found


def _go_owner(reference: Document) -> GoStruct:
    """A metav1.OwnerReference as messages print it."""
    always = {name: reference.get(name, "") for name in ("apiVersion", "kind", "name", "uid")}
    flags = ("controller", "blockOwnerDeletion")
    return GoStruct(always | {name: reference[name] for name in flags if name in reference})


def finalizers(value: list[str], path: str) -> list[FieldError]:
    """Names of finalizers; deletion can't be both orphaning and in the foreground."""
    found = [error for name in value for error in each(path, name, label_key)]
    if _ORPHAN in value and _FOREGROUND in value:
        words = f"finalizer {_ORPHAN} and {_FOREGROUND} cannot be both set"
        found.append(FieldError.invalid(path, value, words))
    return found


def object_meta(
    meta: Document,
    *,
    namespaced: bool,
    name: Check,
    prefix: Check | None = None,
    path: str = "metadata",
) -> list[FieldError]:
    """Metadata of a new object; `name` checks names of its kind, `prefix` a generateName."""
    errors = any_meta(meta, namespaced=namespaced, name=name, prefix=prefix, path=path)
    return errors + _plain_finalizers(meta, path)


def object_meta_update(meta: Document, old: Document, path: str = "metadata") -> list[FieldError]:
    """Metadata of an update against the stored object's."""
    return any_meta_update(meta, old, path) + _plain_finalizers(meta, path)


def common(meta: Document, *, namespaced: bool) -> list[FieldError]:
    """What every new object's metadata is checked for after its kind's own rules."""
    return any_meta(meta, namespaced=namespaced, name=path_segment, prefix=path_prefix)


def common_update(meta: Document, old: Document, *, namespaced: bool) -> list[FieldError]:
    """What every update's metadata is checked for before its kind's own rules.

    They check the same once more, so that a wrong label is among the causes four times.
    """
    return common(meta, namespaced=namespaced) + any_meta_update(meta, old)


def any_meta(
    meta: Document,
    *,
    namespaced: bool,
    name: Check,
    prefix: Check | None = None,
    path: str = "metadata",
) -> list[FieldError]:
    """Metadata of a new object, finalizers without a domain included."""
    found: list[FieldError] = []
    if generate := meta.get("generateName", ""):
        found += each(f"{path}.generateName", generate, prefix or as_prefix(name))
    if not meta.get("name"):
        words = "name or generateName is required"
        found.append(FieldError.required(f"{path}.name", words))
    else:
        found += each(f"{path}.name", meta["name"], name)
    namespace = meta.get("namespace", "")
    if namespaced and not namespace:
        found.append(FieldError.required(f"{path}.namespace"))
    elif namespaced:
        found += each(f"{path}.namespace", namespace, dns_label)
    elif namespace:
        found.append(FieldError.forbidden(f"{path}.namespace", "not allowed on this type"))
    found += not_negative(meta.get("generation", 0), f"{path}.generation")
    found += _labels_and_owners(meta, path)
    found += finalizers(meta.get("finalizers", []), f"{path}.finalizers")
    return found + managed_fields(meta.get("managedFields", ()), f"{path}.managedFields")


def any_meta_update(meta: Document, old: Document, path: str = "metadata") -> list[FieldError]:
    """Metadata of a changed object, finalizers without a domain included."""
    found: list[FieldError] = []
    if old.get("deletionTimestamp"):
        extra = sorted(set(meta.get("finalizers", ())) - set(old.get("finalizers", ())))
        if extra:
            shown = "[]string{" + ", ".join(f'"{name}"' for name in extra) + "}"
            words = (
                "no new finalizers can be added if the object is being deleted, "
                f"found new finalizers {shown}"
            )
            found.append(FieldError.forbidden(f"{path}.finalizers", words))
    for name in _FIXED:
        if meta.get(name) != old.get(name):
            found.append(FieldError.invalid(f"{path}.{name}", meta.get(name, ""), IMMUTABLE))
    found += _labels_and_owners(meta, path)
    return found + managed_fields(meta.get("managedFields", ()), f"{path}.managedFields")


def managed_fields(value: Iterable[Document], path: str) -> list[FieldError]:
    """Who manages which field, as a client says it."""
    found: list[FieldError] = []
    for i, entry in enumerate(value):
        where = f"{path}[{i}]"
        operation, kind = entry.get("operation", ""), entry.get("fieldsType", "")
        if operation not in ("Apply", "Update"):
            words = "must be `Apply` or `Update`"
            found.append(FieldError.invalid(f"{where}.operation", operation, words))
        if kind not in ("", "FieldsV1"):
            found.append(FieldError.invalid(f"{where}.fieldsType", kind, "must be `FieldsV1`"))
        found += _manager(entry.get("manager", ""), f"{where}.manager")
        if len(entry.get("subresource", "").encode()) > MANAGED_SUBRESOURCE_LIMIT:
            found.append(FieldError.too_long(f"{where}.subresource", MANAGED_SUBRESOURCE_LIMIT))
    return found


def _manager(name: str, path: str) -> list[FieldError]:
    found = []
    if len(name.encode()) > MANAGER_LIMIT:
        found.append(FieldError.too_long(path, MANAGER_LIMIT))
    for i, char in enumerate(name):
        if not char.isprintable():
            place = len(name[:i].encode())
            words = f"invalid character U+{ord(char):04X} (at position {place})"
            found.append(FieldError.invalid(path, name, words))
    return found


def _labels_and_owners(meta: Document, path: str) -> list[FieldError]:
    found = labels(meta.get("labels", {}), f"{path}.labels")
    found += annotation_map(meta.get("annotations", {}), f"{path}.annotations")
    return found + owner_references(meta.get("ownerReferences", ()), f"{path}.ownerReferences")


def _plain_finalizers(meta: Document, path: str) -> list[FieldError]:
    """A finalizer without a domain must be one of Kubernetes' own."""
    words = "name is neither a standard finalizer name nor is it fully qualified"
    return [
        FieldError.invalid(f"{path}.finalizers[{i}]", name, words)
        for i, name in enumerate(meta.get("finalizers", ()))
        if "/" not in name and name not in STANDARD_FINALIZERS
    ]


def not_negative(value: int, path: str) -> list[FieldError]:
    return [FieldError.invalid(path, value, NOT_NEGATIVE)] if value < 0 else []


def immutable(value: Any, old: Any, path: str) -> list[FieldError]:
    """Refuse a changed value."""
    return [] if value == old else [FieldError.invalid(path, value, IMMUTABLE)]


def label_selector(selector: Document, path: str) -> list[FieldError]:
    """A metav1.LabelSelector."""
    found = labels(selector.get("matchLabels", {}), f"{path}.matchLabels")
    for i, requirement in enumerate(selector.get("matchExpressions", ())):
        found += _requirement(requirement, f"{path}.matchExpressions[{i}]")
    return found


def go_selector(selector: Document) -> GoStruct:
    """A metav1.LabelSelector as messages print it."""
    names = ("matchLabels", "matchExpressions")
    return GoStruct({name: selector[name] for name in names if selector.get(name)})


def _requirement(requirement: Document, path: str) -> list[FieldError]:
    operator, values = requirement.get("operator", ""), requirement.get("values", [])
    found: list[FieldError] = []
    if operator in ("In", "NotIn"):
        if not values:
            words = "must be specified when `operator` is 'In' or 'NotIn'"
            found.append(FieldError.required(f"{path}.values", words))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            found.append(FieldError.forbidden(f"{path}.values", words))
    else:
        words = "not a valid selector operator"
        found.append(FieldError.invalid(f"{path}.operator", operator, words))
    found += each(f"{path}.key", requirement.get("key", ""), label_key)
    for i, value in enumerate(values):
        found += each(f"{path}.values[{i}]", value, label_value)
    return found


def selector_matches(selector: Document, value: Mapping[str, str]) -> bool:
    """True where labels `value` are selected; an empty selector selects everything."""
    for key, wanted in selector.get("matchLabels", {}).items():
        if value.get(key) != wanted:
            return False
    return all(_holds(item, value) for item in selector.get("matchExpressions", ()))


def _holds(requirement: Document, value: Mapping[str, str]) -> bool:
    key, values = requirement.get("key", ""), requirement.get("values", ())
    match requirement.get("operator"):
        case "In":
            return key in value and value[key] in values
        case "NotIn":
            return key not in value or value[key] not in values
        case "Exists":
            return key in value
    return key not in value


def empty_selector(selector: Document) -> bool:
    """True for a selector that selects everything."""
    return not selector.get("matchLabels") and not selector.get("matchExpressions")
