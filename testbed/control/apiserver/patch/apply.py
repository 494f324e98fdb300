"""Server-side apply and the bookkeeping of field managers.

Sources: apimachinery pkg/util/managedfields/internal (a manager around a manager, here as steps),
structured-merge-diff v6 merge/update.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from testbed.api import schema
from testbed.api.documents import Document
from testbed.api.encoding import encode as encode_document
from testbed.api.gojson import marshal
from testbed.control.apiserver.patch.fields import (
    FieldSet,
    Path,
    compare,
    field_set,
    managed,
    ordered,
    outside,
    path_text,
)
from testbed.control.apiserver.patch.managers import (
    Manager,
    capped,
    managers_of,
    write_managers,
)
from testbed.control.apiserver.patch.shape import Shape
from testbed.control.apiserver.patch.typed import (
    TypedError,
    check,
    merge,
    remove,
    with_named_fields,
)

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: Bytes that an object's annotations may have together.
ANNOTATIONS_LIMIT = 256 * 1024
#: Who owns what was there before the first apply, where nobody kept account.
BEFORE = "before-first-apply"


class ApplyConflictError(ValueError):
    """Other managers own fields that the applied configuration changes."""

    def __init__(self, conflicts: list[tuple[Manager, Path]]) -> None:
        self.conflicts = conflicts
        super().__init__(_conflict_message(conflicts))

    def causes(self) -> list[Document]:
        """The conflicts as `details.causes` of a Status."""
        return [
            {
                "reason": "FieldManagerConflict",
                "message": f"conflict with {manager}",
                "field": path_text(path),
            }
            for manager, path in self.conflicts
        ]


def record_update(
    old: Document | None,
    requested: Document,
    new: Document,
    writer: Manager,
    shape: Shape,
    reset: FieldSet = frozenset(),
) -> None:
    """Record in `new` that `writer` (its fields empty) made it out of `old` (None: created it).

    `requested` is what the writer asked for, with defaults: what the server decided for itself has
    no manager. `reset` are the fields that this writer can't set.
    """
    managers = _managers_before(old, requested, subresource=bool(writer.subresource))
    if managers or old is None:
        managers = _updated(old or empty(new), requested, managers, writer, shape, reset)
    write_managers(new, capped(managers).values())


def _managers_before(
    old: Document | None, requested: Document, *, subresource: bool
) -> dict[str, Manager]:
    """The managers that a write starts from: the request's, or else the stored object's."""
    entries = requested["metadata"].get("managedFields")
    found: list[Manager] | None = None
    if not subresource:
        if entries in ([], [{}]):
            return {}
        found = managers_of(entries)
    if not found:
        found = managers_of(((old or {}).get("metadata") or {}).get("managedFields"))
    return {manager.key: manager for manager in found or ()}


def _updated(
    old: Document,
    new: Document,
    managers: dict[str, Manager],
    writer: Manager,
    shape: Shape,
    reset: Iterable[Path],
) -> dict[str, Manager]:
    """`managers` after `writer` made `new` out of `old`."""
    changes = compare(old, new, shape).without(reset)
    gone = changes.changed | changes.removed
    result = {
        key: replace(manager, fields=manager.fields - gone) for key, manager in managers.items()
    }
    result = {key: manager for key, manager in result.items() if manager.fields}
    fields = managed(changes.changed)
    if fields:
        before = result.get(writer.key)
        result[writer.key] = replace(writer, fields=fields | (before.fields if before else fields))
    return result


def apply(
    live: Document | None,
    configuration: Document,
    writer: Manager,
    shape: Shape,
    *,
    force: bool,
    reset: FieldSet = frozenset(),
) -> Document:
    """`live` with `configuration` applied by `writer`.

    Fields that the writer applied before and now leaves out go, unless someone else owns them.
    Raises ApplyConflictError, and TypedError for a configuration that doesn't fit the type.
    """
    check(configuration, shape)
    current = live or empty(configuration)
    found = managers_of(current["metadata"].get("managedFields")) or []
    managers = {manager.key: manager for manager in found}
    if not managers:
        before = replace(writer, name=BEFORE, operation="Update")
        managers = _updated(empty(current), current, {}, before, shape, reset)
    try:
        merged = _apply(current, configuration, managers, writer, shape, force=force, reset=reset)
    except ApplyConflictError as error:
        if writer.name != "kubectl":
            raise
        allowed = _allowed_by_last_applied(current, shape)
        left = [(who, path) for who, path in error.conflicts if path not in allowed]
        if left:
            raise ApplyConflictError(left) from None
        merged = _apply(current, configuration, managers, writer, shape, force=True, reset=reset)
    if writer.name == "kubectl":
        _renew_last_applied(merged, configuration)
    return merged


def _apply(
    current: Document,
    configuration: Document,
    managers: dict[str, Manager],
    writer: Manager,
    shape: Shape,
    *,
    force: bool,
    reset: Iterable[Path],
) -> Document:
    merged: Document = merge(current, configuration, shape)
    wanted = outside(field_set(configuration, shape), reset)
    last = managers.get(writer.key)
    claims = {**managers, writer.key: replace(writer, fields=frozenset(wanted))}
    if last is not None and last.fields:
        sets = [manager.fields for manager in claims.values()]
        merged = _pruned(merged, [*sets, _ownerless(current, managers, shape)], last.fields, shape)
    changes = compare(current, merged, shape).without(reset)
    others = [manager for key, manager in claims.items() if key != writer.key]
    conflicts = [
        (manager, path)
        for manager in sorted(others, key=lambda m: m.key)
        for path in ordered(manager.fields & changes.changed)
    ]
    if conflicts and not force:
        raise ApplyConflictError(conflicts)
    gone = changes.changed | changes.removed
    kept = [replace(manager, fields=manager.fields - gone) for manager in others]
    mine = replace(writer, fields=managed(wanted))
    if merged == current:
        # Nothing is written: the entry keeps the time of the apply that was.
        mine = replace(mine, time=last.time if last else "")
    else:
        merged = dict(merged)
    result = {**merged, "metadata": {**(merged.get("metadata") or {})}}
    write_managers(result, [manager for manager in (*kept, mine) if manager.fields])
    return result


def _ownerless(current: Document, managers: dict[str, Manager], shape: Shape) -> FieldSet:
    """Labels and annotations without a manager: our controllers' own, which keep no account."""
    owned: set[Path] = set().union(*(manager.fields for manager in managers.values()))
    meta = {name: current["metadata"].get(name) or {} for name in ("annotations", "labels")}
    return managed(field_set({"metadata": meta}, shape) - owned)


def _pruned(merged: Document, claims: Iterable[FieldSet], last: FieldSet, shape: Shape) -> Document:
    """`merged` without what the writer applied `last` and nobody claims now."""
    owned = with_named_fields(frozenset().union(*claims), shape)
    everything = with_named_fields(field_set(merged, shape), shape)
    dropped = with_named_fields(last, shape)
    rest = field_set(remove(merged, dropped, shape), shape)
    rest = with_named_fields(rest, shape)
    pruned = remove(merged, everything - (rest | owned), shape)
    # What is below something that was dropped, and neither owned nor applied, stays.
    left = with_named_fields(field_set(pruned, shape), shape)
    result: Document = remove(merged, (everything - left) & dropped, shape)
    return result


def same_but_for_times(new: Document, old: Document) -> bool:
    """Whether only times of managers differ, which is no reason to write anything.

    Source: apiserver fieldmanager/equality.go.
    """
    return new == old or _timeless(new) == _timeless(old)


def _timeless(document: Document) -> Document:
    meta = document["metadata"]
    entries = [{**entry, "time": ""} for entry in meta.get("managedFields") or ()]
    return {**document, "metadata": {**meta, "managedFields": entries}}


@cache
def _empty(api_version: str, kind: str) -> str:
    definition = schema.kind_struct(api_version, kind)
    return json.dumps({} if definition is None else encode_document({}, definition))


def empty(document: Document) -> Document:
    """An object of the kind of `document` in which nothing is set."""
    head = {"apiVersion": document.get("apiVersion", ""), "kind": document.get("kind", "")}
    bare: Document = json.loads(_empty(head["apiVersion"], head["kind"]))
    return {"metadata": {}, **bare, **head}


def _allowed_by_last_applied(live: Document, shape: Shape) -> set[Path]:
    """The fields that kubectl set itself, by client-side apply.

    Source: managedfields/internal/lastappliedmanager.go.
    """
    annotation = (live["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        last = json.loads(annotation) if annotation else None
        if not isinstance(last, dict) or last.get("apiVersion") != live.get("apiVersion"):
            return set()
        check(last, shape)
    except (ValueError, TypedError):
        return set()
    changes = compare(last, live, shape)
    return field_set(last, shape) - changes.changed - changes.removed


def _renew_last_applied(merged: Document, configuration: Document) -> None:
    """Keep the annotation of client-side apply true. Source: lastappliedupdater.go."""
    annotations = merged["metadata"].get("annotations") or {}
    if not annotations.get(LAST_APPLIED):
        return
    metadata = dict(configuration.get("metadata") or {})
    if isinstance(metadata.get("annotations"), dict):
        own = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
        metadata["annotations"] = own
    text = marshal({**configuration, "metadata": metadata}) + "\n"
    annotations = {**annotations, LAST_APPLIED: text}
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS_LIMIT:
        del annotations[LAST_APPLIED]
    merged["metadata"]["annotations"] = annotations


def _conflict_message(conflicts: list[tuple[Manager, Path]]) -> str:
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {manager}: {path_text(path)}"
    lines: list[str] = []
    for key in sorted({manager.key for manager, _ in conflicts}):
        paths = [(manager, path) for manager, path in conflicts if manager.key == key]
        lines.append(f"conflicts with {paths[0][0]}:")
        lines += [f"- {path_text(path)}" for _, path in paths]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
