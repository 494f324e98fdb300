"""Evidence says what made it."""

from __future__ import annotations

import testbed
from testbed.probe.evidence import versions


def test_the_testbed_and_the_kernel_are_named() -> None:
    found = versions()
    assert found["testbed"] == testbed.__version__
    assert found["kernel"]
