"""HAProxy where it isn't installed, or where an address can't be had."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.cloud import haproxy
from testbed.cloud.haproxy import Haproxy
from testbed.errors import CannotRunError
from testbed.shell import CommandError
from tests.unit.cloud.test_proxy import HEALTHY, WEB


class Namespace:
    """Its addresses, as `ip address` keeps them: none is added twice."""

    def __init__(self, broken: str = "") -> None:
        self.addresses: list[str] = []
        self.broken = broken

    def run(self, argv: Sequence[str], *, input: str | None = None) -> str:
        _, _, verb, address, *_ = argv
        if address == self.broken or (verb == "add" and address in self.addresses):
            raise CommandError(argv, None, 2, "no")
        (self.addresses.append if verb == "add" else self.addresses.remove)(address)
        return ""


def missing(name: str, package: str | None = None) -> str:
    raise CannotRunError(f"program {name!r} is not installed")


def test_without_the_program_nothing_is_changed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(haproxy, "find_program", missing)
    namespace = Namespace()
    proxy = Haproxy(namespace.run, tmp_path)
    with pytest.raises(CannotRunError):
        proxy.serve([(WEB, HEALTHY)])
    assert namespace.addresses == []
    proxy.serve([])


def test_addresses_that_were_added_before_a_failure_go_again(tmp_path: Path) -> None:
    namespace = Namespace(broken="2001:db8:100::1/128")
    proxy = Haproxy(namespace.run, tmp_path)
    for _ in range(2):
        with pytest.raises(CommandError):
            proxy.serve([(WEB, HEALTHY)])
        assert namespace.addresses == ["198.51.100.1/32"]
    proxy.serve([])
    assert namespace.addresses == []
