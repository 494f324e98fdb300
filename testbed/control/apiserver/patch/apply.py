"""Server-side apply and the bookkeeping of field managers.

Source: apimachinery pkg/util/managedfields, structured-merge-diff v6 merge/update.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from testbed.api.documents import Document, copy_value
from testbed.control.apiserver.patch.fields import (
    FieldSet,
    Path,
    compare,
    decode,
    encode,
    field_set,
    granular,
    holds,
    item_step,
    parts,
    path_text,
)
from testbed.control.apiserver.patch.shape import Shape
from testbed.control.apiserver.patch.strategic import interleave

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: Update managers kept apart; older ones are merged. Source: DefaultMaxUpdateManagers.
UPDATE_MANAGERS = 10
#: Fields of a Service that the server fills in after the writer's fields have been recorded.
ALLOCATED = frozenset(
    f"f:{name}"
    for name in (
        "clusterIP",
        "clusterIPs",
        "healthCheckNodePort",
        "ipFamilies",
        "ipFamilyPolicy",
        "nodePort",
    )
)


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of metadata.managedFields."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def key(self) -> tuple[str, str, str, str]:
        return self.name, self.operation, self.api_version, self.subresource

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        if self.operation == "Update":
            text += f" using {self.api_version}" + (f" at {self.time}" if self.time else "")
        return text


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


def managers_of(document: Document) -> list[Manager]:
    """The entries of metadata.managedFields; malformed ones are left out."""
    entries = (document.get("metadata") or {}).get("managedFields")
    return [
        Manager(
            entry.get("manager") or "",
            str(entry["operation"]),
            entry.get("apiVersion") or "",
            entry.get("subresource") or "",
            entry.get("time") or "",
            decode(entry.get("fieldsV1")),
        )
        for entry in (entries if isinstance(entries, list) else ())
        if isinstance(entry, dict) and entry.get("operation") in ("Apply", "Update")
    ]


def write_managers(document: Document, managers: Iterable[Manager]) -> None:
    """Set metadata.managedFields of `document`."""
    kept = sorted(
        (m for m in managers if m.fields),
        key=lambda m: (m.operation, m.time, m.name, m.subresource),
    )
    entries = []
    for manager in _capped(kept):
        entry: Document = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
        }
        if manager.time:
            entry["time"] = manager.time
        entry["fieldsType"] = "FieldsV1"
        entry["fieldsV1"] = encode(manager.fields)
        if manager.subresource:
            entry["subresource"] = manager.subresource
        entries.append(entry)
    if entries:
        document["metadata"]["managedFields"] = entries
    else:
        document["metadata"].pop("managedFields", None)


def record_update(
    old: Document | None, sent: Document, new: Document, writer: Manager, shape: Shape
) -> None:
    """Record in `new` that `writer` (its fields empty) made it out of `old` (None: created it).

    `sent` is what the writer sent: what the server allocated for it has no manager.
    """
    entries = new["metadata"].get("managedFields")
    if entries == [] or entries == [{}]:
        managers: list[Manager] = []
    else:
        managers = managers_of(new) if entries else managers_of(old or {})
    changes = compare(old or {}, new, shape)
    changes.changed -= {
        path for path in changes.changed if path[-1] in ALLOCATED and not holds(sent, shape, path)
    }
    changed = _within(changes.changed, writer.subresource)
    removed = _within(changes.removed, writer.subresource)
    result = []
    own: FieldSet = frozenset()
    for manager in managers:
        if manager.key == writer.key:
            own = manager.fields
            writer = writer if changed else replace(writer, time=manager.time)
        else:
            # What an update changes belongs to its writer alone.
            result.append(replace(manager, fields=manager.fields - changed - removed))
    result.append(replace(writer, fields=(own | changed) - removed))
    write_managers(new, result)


def apply(
    live: Document | None, configuration: Document, writer: Manager, shape: Shape, *, force: bool
) -> Document:
    """`live` with `configuration` applied by `writer`; raises ApplyConflictError.

    Fields that the writer applied before and now leaves out go, unless someone else owns them.
    """
    configuration = _without_nulls(configuration)
    current = live or {}
    merged: Document = merge(current, configuration, shape)
    wanted = _within(field_set(configuration, shape), writer.subresource)
    before = managers_of(current)
    others = [
        m for m in before if m.key[:2] != writer.key[:2] or m.subresource != writer.subresource
    ]
    own = frozenset().union(*(m.fields for m in before if m not in others))
    owned = frozenset().union(*(m.fields for m in others))
    gone = [p for p in own - wanted if not _holds_below(owned, p) and not _holds_below(wanted, p)]
    if gone:
        merged = copy_value(merged)  # it shares parts with `live`, which stays as it is
    for path in _outermost(gone):
        _remove(merged, shape, path)
    changes = compare(current, merged, shape)
    conflicts = [(m, path) for m in others for path in sorted(m.fields & changes.changed)]
    if conflicts and not force and not _settled_by_last_applied(current, writer, conflicts, shape):
        raise ApplyConflictError(conflicts)
    kept = [replace(m, fields=m.fields - changes.changed - changes.removed) for m in others]
    same = [m for m in before if m not in others and m.fields == wanted]
    write_managers(merged, [*kept, same[0] if same else replace(writer, fields=wanted)])
    if writer.name == "kubectl" and live is not None:
        _renew_last_applied(live, merged, configuration)
    return merged


def merge(live: Any, applied: Any, shape: Shape) -> Any:
    """`live` with `applied` laid over it, list items matched by their keys."""
    if type(live) is not type(applied) or not granular(applied, shape):
        return copy_value(applied)
    if isinstance(applied, dict):
        merged = dict(live)
        for name, value in applied.items():
            merged[name] = merge(live.get(name), value, shape.field(name))
        return merged
    item_shape = shape.item()
    items = {item_step(item, shape): item for item in live}
    for item in applied:
        step = item_step(item, shape)
        items[step] = merge(items.get(step), item, item_shape)
    steps = interleave(
        list(items), [item_step(i, shape) for i in applied], [item_step(i, shape) for i in live]
    )
    return [items[step] for step in steps]


def _within(paths: Iterable[Path], subresource: str) -> FieldSet:
    """Of the fields that were written, those that the (sub)resource lets a client set."""
    if subresource == "status":
        return frozenset(path for path in paths if path[0] == "f:status")
    return frozenset(path for path in paths if path[0] != "f:status")


def _holds_below(paths: FieldSet, path: Path) -> bool:
    return any(other[: len(path)] == path for other in paths)


def _outermost(paths: Iterable[Path]) -> list[Path]:
    """`paths`, innermost first, without the fields of list items that go whole, nor items' keys."""
    chosen = frozenset(paths)

    def stays(path: Path) -> bool:
        if any(path[:end] in chosen and path[end - 1][0] == "k" for end in range(1, len(path))):
            return False
        item = path[-2] if len(path) > 1 else ""
        return not (item[:1] == "k" and path[-1][2:] in json.loads(item[2:]))

    return sorted(filter(stays, chosen), key=lambda path: (-len(path), path))


def _remove(document: Any, shape: Shape, path: Path) -> None:
    """Take the field at `path` out, and the object around it where that leaves it empty.

    A map or list that isn't empty stays: its parts that were owned go by their own paths.
    """
    if not isinstance(document, dict | list):
        return
    for step, value, item_shape in parts(document, shape):
        if step != path[0]:
            continue
        if len(path) > 1:
            _remove(value, item_shape, path[1:])
            if value not in ({}, []):
                return
        elif step[0] == "f" and value and granular(value, item_shape):
            return
        if isinstance(document, dict):
            del document[step[2:]]
        else:
            document.remove(value)
        return


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _settled_by_last_applied(
    live: Document, writer: Manager, conflicts: list[tuple[Manager, Path]], shape: Shape
) -> bool:
    """Whether kubectl set the fields in conflict itself, by client-side apply.

    Source: managedfields/internal/lastappliedmanager.go.
    """
    annotation = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    if writer.name != "kubectl" or not annotation:
        return False
    try:
        last = json.loads(annotation)
    except ValueError:
        return False
    changed = compare(live, merge(live, last, shape), shape).changed
    return {path for _, path in conflicts} <= field_set(last, shape) - changed


def _renew_last_applied(live: Document, merged: Document, configuration: Document) -> None:
    """Keep the annotation of client-side apply true. Source: lastappliedupdater.go."""
    if LAST_APPLIED in ((live.get("metadata") or {}).get("annotations") or {}):
        meta = merged["metadata"]
        text = json.dumps(configuration, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        meta["annotations"] = {**(meta.get("annotations") or {}), LAST_APPLIED: text + "\n"}


def _capped(managers: list[Manager]) -> list[Manager]:
    updates = [m for m in managers if m.operation == "Update" and not m.subresource]
    surplus = updates[: max(0, len(updates) - UPDATE_MANAGERS)]
    if not surplus:
        return managers
    merged = replace(
        surplus[-1],
        name="ancient-changes",
        fields=frozenset().union(*(m.fields for m in surplus)),
    )
    return [merged, *(m for m in managers if m not in surplus)]


def _conflict_message(conflicts: list[tuple[Manager, Path]]) -> str:
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        return f"Apply failed with 1 conflict: conflict with {manager}: {path_text(path)}"
    lines: list[str] = []
    for text in sorted({str(manager) for manager, _ in conflicts}):
        lines.append(f"conflicts with {text}:")
        lines += [f"- {path_text(path)}" for manager, path in conflicts if str(manager) == text]
    return f"Apply failed with {len(conflicts)} conflicts: " + "\n".join(lines)
