"""Who asks: certificates and bearer tokens."""

from __future__ import annotations

import pytest

from testbed.control.apiserver.auth import ADMINISTRATOR, authenticate, bearer_of


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("Bearer secret", True),
        ("bearer  secret ", True),
        ("Bearer other", False),
        ("Basic secret", False),
        ("", False),
        ("Bearer \udcff\udcfe", False),  # bytes that are no text, as the HTTP parser hands them on
    ],
)
def test_a_bearer_token_is_the_administrators_or_nobodys(header: str, known: bool) -> None:
    user = authenticate(None, header, bearer_of("secret", lambda sent: None))
    assert user == (ADMINISTRATOR if known else None)
