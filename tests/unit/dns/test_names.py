from __future__ import annotations

import pytest

from testbed.dns.names import check
from testbed.errors import UsageError


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("x..y", "empty label"),
        ("x..", "empty label"),
        (".x", "empty label"),
        ("a" * 64, "too long"),
        (".".join(["a" * 60] * 5), "too long"),
    ],
)
def test_a_name_that_no_message_carries_is_the_users_mistake(name: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        check(name)


@pytest.mark.parametrize("name", [".", "x", "x.y.", "a" * 63, "_http._tcp.web"])
def test_other_names_can_be_asked_for(name: str) -> None:
    check(name)
