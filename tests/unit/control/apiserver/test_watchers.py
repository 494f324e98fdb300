"""Which watches are open, and have been told everything."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from testbed.control.apiserver.watchers import Watchers

NODE = ("172.18.0.11", "fd00:172:18::11")


def watch(*, up_to_date: bool) -> Any:
    return SimpleNamespace(up_to_date=up_to_date)


def test_watches_count_by_the_address_they_come_from() -> None:
    watchers = Watchers()
    with (
        watchers.entered(NODE[0], "services", watch(up_to_date=True)),
        watchers.entered("172.18.0.12", "endpointslices", watch(up_to_date=True)),
    ):
        assert watchers.told(NODE) == {"services"}
    assert watchers.told(NODE) == set()


def test_one_watch_that_lags_behind_is_enough() -> None:
    watchers = Watchers()
    with (
        watchers.entered(NODE[0], "services", watch(up_to_date=True)),
        watchers.entered(NODE[1], "services", watch(up_to_date=False)),
    ):
        assert watchers.told(NODE) == set()
