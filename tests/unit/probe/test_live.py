"""Interfaces of a live capture are named before anything is recorded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import pytest

from testbed.errors import UsageError
from testbed.probe.live import namespaces_of
from testbed.probe.namespaces import Namespace

T = TypeVar("T")


class Here:
    """A namespace that is this process's own."""

    name = "w1"

    def call(self, fn: Callable[[], T]) -> T:
        return fn()


KNOWN = cast("Sequence[Namespace]", [Here()])


def test_an_interface_that_is_there_gives_its_namespace() -> None:
    assert [each.name for each in namespaces_of(["w1/lo"], KNOWN)] == ["w1"]


def test_an_interface_that_is_not_there_is_refused_with_near_names() -> None:
    with pytest.raises(UsageError, match=r"no interface w1/loo; did you mean .*w1/lo"):
        namespaces_of(["w1/loo"], KNOWN)
    with pytest.raises(UsageError, match="no NAMESPACE/INTERFACE"):
        namespaces_of(["w2/lo"], KNOWN)
