"""Ephemeral containers come by their subresource alone: they are added, and stay as they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import admission, create, obj, trimmed

DEBUG: Document = {"name": "debug", "image": "busybox", "targetContainerName": "c"}


def stored(*ephemeral: Document) -> Document:
    """A Pod as it is stored, with these ephemeral containers."""
    document = create(obj("Pod", "p", {"containers": [{"name": "c", "image": "x"}]}))[0]
    return write(document, *ephemeral) if ephemeral else document


def write(old: Document, *ephemeral: Document, **spec: Any) -> Document:
    """The Pod after a write of the subresource; raises StatusError."""
    new = copy.deepcopy(old)
    new["spec"] |= {"ephemeralContainers": [copy.deepcopy(each) for each in ephemeral], **spec}
    made = admission().update("pods", new, old, subresource="ephemeralcontainers")
    return made.document


def refused(old: Document, *ephemeral: Document) -> str:
    with pytest.raises(StatusError) as caught:
        write(old, *ephemeral)
    return trimmed(caught.value)


def test_an_added_container_gets_its_defaults() -> None:
    (added,) = stored(DEBUG)["spec"]["ephemeralContainers"]
    assert added == {
        **DEBUG,
        "resources": {},
        "terminationMessagePath": "/dev/termination-log",
        "terminationMessagePolicy": "File",
        "imagePullPolicy": "Always",
    }


def test_nothing_else_changes_with_it() -> None:
    old = stored()
    new = write(old, DEBUG, containers=[{"name": "other", "image": "y"}], nodeName="w9")
    assert new["spec"].pop("ephemeralContainers")
    assert new["spec"] == old["spec"]
    assert new["metadata"] == old["metadata"]


def test_those_that_are_there_stay_as_they_are() -> None:
    old = stored(DEBUG)
    assert refused(old) == (
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" '
        "may not be removed\n"
    )
    there = old["spec"]["ephemeralContainers"][0]
    changed = refused(old, {**there, "image": "alpine"})
    assert changed.startswith(
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debug" '
        "may not be changed\n"
    )
    more = {**DEBUG, "name": "more"}
    names = [each["name"] for each in write(old, there, more)["spec"]["ephemeralContainers"]]
    assert names == ["debug", "more"]


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ({"name": "debug"}, "spec.ephemeralContainers[0].image: Required value"),
        (
            {**DEBUG, "name": "c"},
            'spec.ephemeralContainers[0].name: Duplicate value: "c"',
        ),
        (
            {**DEBUG, "targetContainerName": "none"},
            'spec.ephemeralContainers[0].targetContainerName: Not found: "none"',
        ),
        (
            {**DEBUG, "livenessProbe": {"exec": {"command": ["true"]}}},
            "spec.ephemeralContainers[0].livenessProbe: Forbidden: "
            "cannot be set for an Ephemeral Container",
        ),
    ],
)
def test_what_is_added_is_validated(entry: Document, problem: str) -> None:
    assert refused(stored(), entry) == problem
