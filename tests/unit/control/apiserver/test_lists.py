"""Tokens that continue a list."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.status import StatusError
from testbed.control.apiserver.lists import Pages

FOUND: list[Any] = [{"metadata": {"name": name}} for name in "abc"]


def now() -> tuple[list[Any], int]:
    """What there is by the time a list has expired."""
    return [{"metadata": {"name": name}} for name in "abbcd"], 9


def test_a_token_goes_on_with_its_list() -> None:
    pages = Pages()
    _, meta = pages.first(FOUND, 1, 7, "/pods")
    assert pages.next(meta["continue"], 0, "/pods", now)[0] == FOUND[1:]


def test_a_token_of_a_server_before_is_expired_though_a_list_like_it_is_open() -> None:
    _, meta = Pages().first(FOUND, 1, 7, "/pods")
    after = Pages()
    after.first(FOUND, 1, 7, "/pods")
    with pytest.raises(StatusError) as caught:
        after.next(meta["continue"], 1, "/pods", now)
    assert (caught.value.code, caught.value.reason) == (410, "Expired")


def test_an_expired_list_goes_on_by_the_token_of_the_refusal() -> None:
    _, meta = Pages().first(FOUND, 2, 7, "/pods")
    after = Pages()
    with pytest.raises(StatusError) as caught:
        after.next(meta["continue"], 1, "/pods", now)
    offered = caught.value.document()["metadata"]["continue"]
    rest, meta = after.next(offered, 1, "/pods", now)
    assert [item["metadata"]["name"] for item in rest] == ["c"]
    assert meta["resourceVersion"] == "9"
    rest, meta = after.next(meta["continue"], 1, "/pods", now)
    assert [item["metadata"]["name"] for item in rest] == ["d"]
    assert "continue" not in meta
