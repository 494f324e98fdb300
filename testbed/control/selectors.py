"""Label and field selectors as they stand in a request's query.

Source: apimachinery pkg/labels/selector.go, pkg/fields/selector.go; the fields to select by
are those of pkg/apis/*/v1/conversion.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeAlias

from testbed.api.documents import Document

Predicate: TypeAlias = Callable[[Document], bool]

#: One requirement of a label selector, in the order in which the forms are tried.
_SET = re.compile(r"\s*([^\s=!,()]+)\s+(in|notin)\s*\(([^()]*)\)\s*")
_EQUAL = re.compile(r"\s*([^\s=!,()]+)\s*(==|=|!=)\s*([^\s=!,()]*)\s*")
_NUMBER = re.compile(r"\s*([^\s=!,()<>]+)\s*(<|>)\s*(-?\d+)\s*")
_EXISTS = re.compile(r"\s*(!?)\s*([^\s=!,()]+)\s*")

#: Fields beyond metadata.name and metadata.namespace that a list can be selected by.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "pods": (
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
    "services": ("spec.clusterIP", "spec.type"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "replicasets": ("status.replicas",),
    "events": (
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
#: Resources whose refusal of an unknown field has the short words.
_SHORT_WORDS = frozenset(FIELDS) - {"replicasets"}


class SelectorError(ValueError):
    """The selector can't be read, or names a field that can't be selected by."""


def label_selector(text: str) -> Predicate:
    """The predicate of label selector `text`; an empty one holds for everything."""
    return _all([_label_requirement(part) for part in _split(text)])


def field_selector(text: str, resource: str) -> Predicate:
    """The predicate of field selector `text` for objects of `resource`."""
    return _all([_field_requirement(part, resource) for part in text.split(",") if part])


def _all(requirements: list[Predicate]) -> Predicate:
    if not requirements:
        return lambda _: True
    if len(requirements) == 1:
        return requirements[0]
    return lambda document: all(holds(document) for holds in requirements)


def _split(text: str) -> list[str]:
    """The requirements between the commas that stand outside parentheses."""
    parts = re.split(r",(?![^(]*\))", text)
    return [] if parts == [""] else parts


def _labels(document: Document) -> Mapping[str, str]:
    return (document.get("metadata") or {}).get("labels") or {}


def _label_requirement(part: str) -> Predicate:
    if match := _SET.fullmatch(part):
        name, operator, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if operator == "in":
            return lambda document: _labels(document).get(name) in values
        return lambda document: _labels(document).get(name) not in values
    if match := _NUMBER.fullmatch(part):
        name, operator, number = match.groups()
        return _number_requirement(name, operator, int(number))
    if match := _EQUAL.fullmatch(part):
        name, operator, value = match.groups()
        if operator == "!=":
            return lambda document: _labels(document).get(name) != value
        return lambda document: _labels(document).get(name) == value
    if match := _EXISTS.fullmatch(part):
        absent, name = match.groups()
        if absent:
            return lambda document: name not in _labels(document)
        return lambda document: name in _labels(document)
    raise SelectorError(f"unable to parse requirement: found {part!r}, expected: identifier")


def _number_requirement(name: str, operator: str, number: int) -> Predicate:
    def holds(document: Document) -> bool:
        value = _labels(document).get(name, "")
        if not re.fullmatch(r"-?\d+", value):
            return False
        return int(value) > number if operator == ">" else int(value) < number

    return holds


def _field_requirement(part: str, resource: str) -> Predicate:
    name, found, value = part.partition("!=")
    negated = bool(found)
    if not negated:
        name, found, value = part.partition("=")
        value = value.removeprefix("=")
    if not found:
        raise SelectorError(f"invalid selector: '{part}'; can't understand '{part}'")
    _check_field(name, resource)
    path = name.split(".")
    return lambda document: (_field_text(document, path) == value) != negated


def _check_field(name: str, resource: str) -> None:
    if name in ("metadata.name", "metadata.namespace") or name in FIELDS.get(resource, ()):
        return
    if resource in _SHORT_WORDS:
        raise SelectorError(f"field label not supported: {name}")
    raise SelectorError(
        f'"{name}" is not a known field selector: only "metadata.name", "metadata.namespace"'
    )


def _field_text(document: Document, path: list[str]) -> str:
    if path == ["source"]:
        path = ["source", "component"]
    value: object = document
    for step in path:
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        return "false" if path[-1] in ("unschedulable", "hostNetwork") else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
