"""Pearson's chi-square, against tabulated values."""

from __future__ import annotations

import pytest

from testbed.compare.spread import Spread, chi_square_p


@pytest.mark.parametrize(
    ("statistic", "degrees", "p"),
    [
        (3.841, 1, 0.05),
        (5.991, 2, 0.05),
        (9.210, 2, 0.01),
        (18.307, 10, 0.05),
        (0.103, 2, 0.95),
        (124.342, 100, 0.05),
        (10.828, 1, 0.001),
    ],
)
def test_the_table_of_critical_values_is_met(statistic: float, degrees: int, p: float) -> None:
    assert chi_square_p(statistic, degrees) == pytest.approx(p, rel=0.01)


def test_an_even_spread_agrees_and_a_lopsided_one_does_not() -> None:
    shares = {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}
    assert Spread({"a": 100, "b": 95, "c": 105}, shares, {}).agrees
    assert not Spread({"a": 150, "b": 75, "c": 75}, shares, {}).agrees
    assert not Spread({"a": 300}, shares, {}).agrees


def test_an_unexpected_backend_or_a_failure_never_agrees() -> None:
    assert Spread({"a": 300, "x": 1}, {"a": 1.0}, {}).p == 0
    assert not Spread({"a": 299}, {"a": 1.0}, {"timeout": 1}).agrees


def test_where_nothing_may_be_delivered_failures_are_what_is_expected() -> None:
    assert Spread({}, {}, {"refused": 300}).agrees
    assert not Spread({"a": 1}, {}, {"refused": 299}).agrees


def test_an_unlikely_spread_is_said_to_be_and_still_agrees() -> None:
    spread = Spread({"a": 65, "b": 35}, {"a": 0.5, "b": 0.5}, {})
    assert 1e-5 < spread.p < 0.01
    assert spread.agrees
    assert spread.words.startswith("unlikely")
    assert Spread({"a": 52, "b": 48}, {"a": 0.5, "b": 0.5}, {}).words == "as expected"
    assert Spread({"a": 90, "b": 10}, {"a": 0.5, "b": 0.5}, {}).words == "not as expected"


def test_a_backend_that_gets_nothing_of_ten_differs_whatever_the_probability() -> None:
    shares = dict.fromkeys("abcdefghij", 0.1)
    counts = dict.fromkeys("abcdefghi", 11) | {"a": 12}
    spread = Spread(counts, shares, {})
    assert spread.p > 1e-5
    assert not spread.agrees
    assert spread.words == "not as expected: nothing came to j"
    assert Spread({"a": 5}, {"a": 0.5, "b": 0.5}, {}).agrees
