"""Label and field selectors as they stand in a request's query.

Source: apimachinery pkg/fields/selector.go; the fields to select by are those of
pkg/apis/*/v1/conversion.go, their values those of the strategies' ToSelectableFields.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.control import label_selectors
from testbed.control.label_selectors import SelectorError

__all__ = ["FIELDS", "Predicate", "SelectorError", "field_selector", "label_selector"]

Predicate: TypeAlias = Callable[[Document], bool]

_NAMED = ("metadata.name", "metadata.namespace")
#: Fields that a list can be selected by, where they aren't just name and namespace.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": (
        *_NAMED,
        "spec.host",
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "services": (*_NAMED, "spec.clusterIP", "spec.type"),
    "nodes": ("metadata.name", "spec.unschedulable"),
    "namespaces": ("metadata.name", "status.phase"),
    "secrets": (*_NAMED, "type"),
    "events": (
        *_NAMED,
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}
#: ReplicaSets can be selected by one more field, but are refused in the common words.
_MORE = {"replicasets": ("status.replicas",)}


def label_selector(text: str) -> Predicate:
    """The predicate of label selector `text`; an empty one holds for everything."""
    requirements = label_selectors.parse(text)

    def chosen(document: Document) -> bool:
        labels = (document.get("metadata") or {}).get("labels") or {}
        return all(requirement.holds(labels) for requirement in requirements)

    return chosen


def field_selector(text: str, resource: str) -> Predicate:
    """The predicate of field selector `text` for objects of `resource`."""
    parts = sorted(_terms(text))
    terms = [_term(part, text) for part in parts if part]
    for name, _, _ in terms:
        _check_field(name, resource)
    predicates = [_predicate(*term) for term in terms]
    return lambda document: all(holds(document) for holds in predicates)


def _terms(text: str) -> list[str]:
    """What stands between commas; a backslash takes the meaning off what follows it."""
    return re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL)


def _term(part: str, selector: str) -> tuple[str, bool, str]:
    """Field, whether it must differ, value."""
    found = re.search("!=|==|=", part)
    if found is None:
        raise SelectorError(f"invalid selector: '{selector}'; can't understand '{part}'")
    return part[: found.start()], found[0] == "!=", _unescaped(part[found.end() :])


def _unescaped(text: str) -> str:
    out, characters = "", iter(text)
    for char in characters:
        if char == "\\":
            escaped = next(characters, "")
            if escaped not in ("\\", ",", "=") or not escaped:
                raise SelectorError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            out += escaped
        elif char in ",=":
            raise SelectorError(
                f"invalid field selector: unescaped character in value: {ord(char)}"
            )
        else:
            out += char
    return out


def _predicate(name: str, negated: bool, value: str) -> Predicate:
    path = name.split(".")
    return lambda document: (_field_text(document, path) == value) != negated


def _check_field(name: str, resource: str) -> None:
    known = FIELDS.get(resource)
    if name in (known or (*_NAMED, *_MORE.get(resource, ()))):
        return
    if known:
        raise SelectorError(f"field label not supported: {name}")
    raise SelectorError(
        f'{quote(name)} is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def _field_text(document: Document, path: list[str]) -> str:
    if path == ["source"]:
        component = (document.get("source") or {}).get("component")
        return str(component or document.get("reportingComponent") or "")
    if path == ["spec", "host"]:
        path = ["spec", "nodeName"]
    value: object = document
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if path[-1] in ("unschedulable", "hostNetwork"):
        return "true" if value else "false"
    # A list isn't among the values that Pods are selected by, whatever it holds.
    return "" if value is None or isinstance(value, dict | list) else str(value)
