"""Validation of claims of storage that a Pod or a StatefulSet brings along.

Source: pkg/apis/core/validation/validation.go (ValidatePersistentVolumeClaimSpec,
ValidatePersistentVolumeClaimTemplate).
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.names import NOT_POSITIVE, dns_label, dns_subdomain, each

_ONCE_PER_POD = "ReadWriteOncePod"
_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", _ONCE_PER_POD)
_VOLUME_MODES = ("Block", "Filesystem")
#: Metadata that a claim doesn't take over from its template, in the order of Go's ObjectMeta.
_OTHER_METADATA = (
    "name",
    "generateName",
    "namespace",
    "selfLink",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


def claim_template(template: Document, path: str) -> list[FieldError]:
    """The template of an ephemeral volume's claim: labels, annotations and a spec."""
    metadata: Document = template.get("metadata", {})
    where = f"{path}.metadata"
    errors = meta.annotation_map(metadata.get("annotations", {}), f"{where}.annotations")
    errors += meta.labels(metadata.get("labels", {}), f"{where}.labels")
    errors += [
        FieldError.forbidden(f"{where}.{'uID' if name == 'uid' else name}", "cannot be set")
        for name in _OTHER_METADATA
        if metadata.get(name)
    ]
    return errors + claim_spec(template.get("spec", {}), f"{path}.spec")


def claim_spec(spec: Document, path: str) -> list[FieldError]:
    """The spec of a PersistentVolumeClaim."""
    modes: Sequence[str] = spec.get("accessModes", ())
    errors: list[FieldError] = []
    if not modes:
        words = "at least 1 access mode is required"
        errors.append(FieldError.required(f"{path}.accessModes", words))
    errors += meta.label_selector(spec.get("selector", {}), f"{path}.selector")
    errors += _access_modes(modes, f"{path}.accessModes")
    errors += _storage(spec, f"{path}.resources[storage]")
    if spec.get("storageClassName"):
        errors += each(f"{path}.storageClassName", spec["storageClassName"], dns_subdomain)
    mode = spec.get("volumeMode")
    if mode is not None and mode not in _VOLUME_MODES:
        errors.append(FieldError.not_supported(f"{path}.volumeMode", mode, _VOLUME_MODES))
    for name in ("dataSource", "dataSourceRef"):
        if name in spec:
            errors += _data_source(spec[name], f"{path}.{name}")
    if spec.get("volumeAttributesClassName"):
        where = f"{path}.volumeAttributesClassName"
        errors += each(where, spec["volumeAttributesClassName"], dns_subdomain)
    return errors


def _access_modes(modes: Sequence[str], path: str) -> list[FieldError]:
    errors = [FieldError.not_supported(path, mode, _MODES) for mode in modes if mode not in _MODES]
    others = [mode for mode in modes if mode in _MODES and mode != _ONCE_PER_POD]
    if _ONCE_PER_POD in modes and others:
        words = "may not use ReadWriteOncePod with other access modes"
        errors.append(FieldError.forbidden(path, words))
    return errors


def _storage(spec: Document, path: str) -> list[FieldError]:
    size = spec.get("resources", {}).get("requests", {}).get("storage")
    if size is None:
        return [FieldError.required(path)]
    if quantity.parse(size)[0] <= 0:
        return [FieldError.invalid(path, size, NOT_POSITIVE)]
    return []


def _data_source(source: Document, path: str) -> list[FieldError]:
    errors = [
        FieldError.required(f"{path}.{name}") for name in ("name", "kind") if not source.get(name)
    ]
    group, kind = source.get("apiGroup", ""), source.get("kind", "")
    if not group and kind != "PersistentVolumeClaim":
        words = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(FieldError.invalid(path, kind, words))
    return errors + (each(f"{path}.apiGroup", group, dns_subdomain) if group else [])


def resource_claims(entries: Sequence[Document], path: str) -> list[FieldError]:
    """A Pod's claims of devices: each has a name, and one source."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    sources = ("resourceClaimName", "resourceClaimTemplateName")
    for i, entry in enumerate(entries):
        where, name = f"{path}[{i}]", entry.get("name", "")
        if not name:
            errors.append(FieldError.required(f"{where}.name"))
        elif name in seen:
            errors.append(FieldError.duplicate(f"{where}.name", name))
        else:
            errors += each(f"{where}.name", name, dns_label)
            seen.add(name)
        present = [source for source in sources if source in entry]
        shown = GoStruct(
            Name=name,
            ResourceClaimName=entry.get(sources[0]),
            ResourceClaimTemplateName=entry.get(sources[1]),
        )
        if len(present) > 1:
            words = f"at most one of `{sources[0]}` or `{sources[1]}` may be specified"
            errors.append(FieldError.invalid(where, shown, words))
        if not present:
            words = f"must specify one of: `{sources[0]}`, `{sources[1]}`"
            errors.append(FieldError.invalid(where, shown, words))
        for source in present:
            errors += each(f"{where}.{source}", entry[source], dns_subdomain)
    return errors
