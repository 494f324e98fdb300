"""Which files a container's logs leave."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.runtime import logs
from testbed.runtime.logbook import Logbook


def test_a_container_that_goes_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "SIZE_LIMIT", 100)
    book, key = Logbook(tmp_path / "logs", outlive=False), ("default", "web")
    for run in range(3):
        log = book.begin(key, "c")
        for _ in range(1 + 10 * run):
            log.append_line("x" * 20)
        book.end(key, "c")
    assert len(list((tmp_path / "logs").iterdir())) == 4
    book.remove(key, "c")
    assert list((tmp_path / "logs").iterdir()) == []
