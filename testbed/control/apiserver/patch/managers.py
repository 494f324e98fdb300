"""The entries of metadata.managedFields: who owns which fields of an object.

Source: apimachinery pkg/util/managedfields/internal/{managedfields,capmanagers}.go.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from testbed.api.documents import Document
from testbed.control.apiserver.patch.fields import FieldSet, decode, encode

#: Update managers kept apart; older ones are merged. Source: DefaultMaxUpdateManagers.
UPDATE_MANAGERS = 10
ANCIENT = "ancient-changes"


@dataclass(frozen=True, slots=True)
class Manager:
    """One entry of metadata.managedFields; `time` may be "" for an entry without one."""

    name: str
    operation: str
    api_version: str
    subresource: str
    time: str
    fields: FieldSet

    @property
    def key(self) -> str:
        """What tells managers apart, in the order in which Go sorts them."""
        members = {"manager": self.name, "operation": self.operation}
        if self.operation == "Update":
            members["apiVersion"] = self.api_version
        if self.subresource:
            members["subresource"] = self.subresource
        return json.dumps(members, separators=(",", ":"))

    def __str__(self) -> str:
        text = f'"{self.name}"'
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.api_version}" if self.operation == "Update" else text


def managers_of(entries: Any) -> list[Manager] | None:
    """The managers in metadata.managedFields; None where an entry is malformed."""
    if not isinstance(entries, list):
        return [] if entries is None else None
    found: dict[str, Manager] = {}
    for entry in entries:
        if (
            not isinstance(entry, dict)
            or entry.get("operation") not in ("Apply", "Update")
            or not entry.get("apiVersion")
            or entry.get("fieldsType") != "FieldsV1"
        ):
            return None
        manager = Manager(
            entry.get("manager") or "",
            str(entry["operation"]),
            str(entry["apiVersion"]),
            entry.get("subresource") or "",
            entry.get("time") or "",
            decode(entry.get("fieldsV1")),
        )
        found[manager.key] = manager
    return list(found.values())


def write_managers(document: Document, managers: Iterable[Manager]) -> None:
    """Set metadata.managedFields of `document`, in Go's order."""
    entries = []
    for manager in sorted(
        managers, key=lambda m: (m.operation, m.time, m.name, m.api_version, m.subresource)
    ):
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


def capped(managers: dict[str, Manager]) -> dict[str, Manager]:
    """`managers` with the oldest updates of an API version in one entry, if there are too many."""
    updates = [m for m in managers.values() if m.operation == "Update"]
    count = len(updates)
    kept = dict(managers)
    first: dict[str, str] = {}
    for manager in sorted(updates, key=lambda m: (m.time, m.key)):
        if count <= UPDATE_MANAGERS:
            break
        version = manager.api_version
        if version not in first:
            first[version] = manager.key
            continue
        empty: FieldSet = frozenset()
        bucket = Manager(ANCIENT, "Update", version, "", manager.time, empty)
        gathered = kept[bucket.key] if bucket.key in kept else kept.pop(first[version])
        fields = manager.fields | gathered.fields
        kept.pop(manager.key, None)
        kept[bucket.key] = replace(bucket, fields=fields)
        count -= 1
    return kept
