"""Programs that a lab needs are looked for before it is built."""

from __future__ import annotations

import pytest

from testbed.errors import CannotRunError, UsageError
from testbed.lab import options
from testbed.lab.options import LabOptions


@pytest.mark.parametrize("command", ["/nonexist", "'unclosed", " "])
def test_a_dns_command_without_a_program_is_refused(command: str) -> None:
    with pytest.raises(UsageError, match="--dns-command: "):
        LabOptions(dns=True, api=True, dns_command=command)


def test_a_cloud_of_kind_proxy_needs_haproxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str, package: str | None = None) -> str:
        raise CannotRunError(f"program {name!r} is not installed")

    monkeypatch.setattr(options, "find_program", missing)
    LabOptions().check_programs()
    with pytest.raises(CannotRunError, match="haproxy"):
        LabOptions(cloud="proxy").check_programs()
