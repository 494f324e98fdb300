"""Selectors: what Kubernetes 1.36 chose by them and said about them, the fields of each kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from testbed.control.selectors import SelectorError, field_selector, label_selector

LABELED: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "golden" / "selectors.json").read_text()
)
#: The labels of the objects that each recorded selector was tried on.
LABELS: list[dict[str, str]] = [
    {},
    {"app": "web"},
    {"a": "1"},
    {"a": "5", "tier": "a"},
    {"app": "", "in": "in"},
    {"notin": "x", "x.y/z": "web"},
]


@pytest.mark.parametrize("case", LABELED, ids=[case["text"] for case in LABELED])
def test_label_selector_is_read_as_recorded(case: dict[str, Any]) -> None:
    answer: dict[str, Any] = {}
    try:
        chosen = label_selector(case["text"])
        answer["match"] = [chosen({"metadata": {"labels": labels}}) for labels in LABELS]
    except SelectorError as error:
        answer["error"] = str(error)
    assert answer == {key: case[key] for key in ("match", "error") if key in case}


REFUSED = [
    ("pods", "spec.foo=a", "field label not supported: spec.foo"),
    ("nodes", "metadata.namespace=a", "field label not supported: metadata.namespace"),
    ("namespaces", "metadata.namespace=a", "field label not supported: metadata.namespace"),
    (
        "configmaps",
        "data=a",
        '"data" is not a known field selector: only "metadata.name", "metadata.namespace"',
    ),
    (
        "pods",
        "metadata.name=a\\b",
        "invalid field selector: invalid escape sequence: \\b",
    ),
    ("pods", "metadata.name=a=b", "invalid field selector: unescaped character in value: 61"),
]


@pytest.mark.parametrize(("resource", "text", "expected"), REFUSED)
def test_field_selector_is_refused(resource: str, text: str, expected: str) -> None:
    with pytest.raises(SelectorError) as caught:
        field_selector(text, resource)
    assert str(caught.value) == expected


CHOSEN = [
    ("pods", {"spec": {"nodeName": "w1"}}, "spec.nodeName=w1,spec.host==w1"),
    ("pods", {"spec": {}}, "spec.hostNetwork=false"),
    ("pods", {"status": {"podIPs": [{"ip": "10.0.0.1"}]}}, "status.podIPs="),
    ("nodes", {"spec": {"unschedulable": True}}, "spec.unschedulable!=false"),
    ("events", {"reportingComponent": "kubelet", "source": {}}, "source=kubelet"),
    ("configmaps", {"metadata": {"name": "a,b"}}, "metadata.name=a\\,b"),
]


@pytest.mark.parametrize(("resource", "document", "text"), CHOSEN)
def test_field_selector_chooses(resource: str, document: dict[str, Any], text: str) -> None:
    assert field_selector(text, resource)(document)
