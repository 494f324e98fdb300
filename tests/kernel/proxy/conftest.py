"""Namespaces for the proxy's kernel tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.proxy.scratch import ScratchNamespace


@pytest.fixture
def namespace() -> Iterator[ScratchNamespace]:
    made = ScratchNamespace("w1")
    yield made
    made.close()
