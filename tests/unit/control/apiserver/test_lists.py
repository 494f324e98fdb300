"""Tokens that continue a list."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.status import StatusError
from testbed.control.apiserver.lists import Pages

FOUND: list[Any] = [{"metadata": {"name": name}} for name in "abc"]


def test_a_token_goes_on_with_its_list() -> None:
    pages = Pages()
    _, meta = pages.first(FOUND, 1, 7, "/pods")
    assert pages.next(meta["continue"], 0, "/pods")[0] == FOUND[1:]


def test_a_token_of_a_server_before_is_expired_though_a_list_like_it_is_open() -> None:
    _, meta = Pages().first(FOUND, 1, 7, "/pods")
    after = Pages()
    after.first(FOUND, 1, 7, "/pods")
    with pytest.raises(StatusError) as caught:
        after.next(meta["continue"], 1, "/pods")
    assert (caught.value.code, caught.value.reason) == (410, "Expired")
