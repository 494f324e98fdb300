"""events.k8s.io/v1: the same Events as the core group's, under other field names.

Source: pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.api.documents import Document

GROUP = "events.k8s.io"
_TO_CORE = {
    "note": "message",
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_FROM_CORE = {core: name for name, core in _TO_CORE.items()}


def to_core(document: Document) -> Document:
    """An event (or a merge patch of one) as core/v1."""
    return _renamed(document, _TO_CORE, "v1")


def from_core(document: Document) -> Document:
    """A core/v1 event as events.k8s.io/v1."""
    return _renamed(document, _FROM_CORE, f"{GROUP}/v1")


def _renamed(document: Document, names: Mapping[str, str], api_version: str) -> Document:
    renamed = {names.get(field, field): value for field, value in document.items()}
    if "apiVersion" in renamed:
        renamed["apiVersion"] = api_version
    return renamed
