"""The store's files: what is read back is what was stored, wherever the process died."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.clock import ManualClock
from testbed.control.journal import JOURNAL, SNAPSHOT, Journal
from testbed.control.store import Store
from testbed.errors import TestbedError

Document = dict[str, Any]


def thing(name: str, value: int = 0) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "default"},
        "data": {"value": str(value), "text": 'line\nbreak "é"'},
    }


def opened(directory: Path, limit: int = 1 << 20) -> Store:
    return Store(ManualClock(), Journal(directory, limit))


def state(store: Store) -> tuple[int, dict[str, list[Document]]]:
    return store.version, {name: store.list(name) for name in store.resources()}


def churn(store: Store, seed: int, steps: int) -> None:
    """Creates, updates and deletes in some order."""
    source = random.Random(seed)
    for step in range(steps):
        name = f"thing-{source.randrange(5)}"
        held = store.find("configmaps", "default", name)
        if held is None:
            store.create("configmaps", thing(name, step))
        elif source.random() < 0.4:
            store.delete("configmaps", "default", name)
        else:
            store.update("configmaps", thing(name, step))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(), steps=st.integers(0, 60), limit=st.sampled_from([1, 900, 1 << 20]))
def test_a_store_that_is_opened_again_has_the_same_objects_versions_and_uids(
    tmp_path_factory: pytest.TempPathFactory, seed: int, steps: int, limit: int
) -> None:
    directory = tmp_path_factory.mktemp("store")
    store = opened(directory, limit)
    churn(store, seed, steps)
    assert state(opened(directory, limit)) == state(store)


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 10_000), seed=st.integers(0, 50))
def test_a_journal_cut_anywhere_holds_every_change_before_the_cut(
    tmp_path_factory: pytest.TempPathFactory, cut: int, seed: int
) -> None:
    directory = tmp_path_factory.mktemp("store")
    store, states, ends = opened(directory), [], []
    file = directory / JOURNAL
    for step in range(12):
        churn(store, seed * 100 + step, 1)
        states.append(state(store))
        ends.append(file.stat().st_size)
    cut %= ends[-1] + 1
    file.write_bytes(file.read_bytes()[:cut])
    whole = [before for before, end in zip(states, ends, strict=True) if end <= cut]
    again = opened(directory)
    assert again.version == (whole[-1][0] if whole else 0)
    assert again.list("configmaps") == (whole[-1][1]["configmaps"] if whole else [])
    churn(again, seed + 1, 5)
    assert state(opened(directory)) == state(again)


def test_versions_go_on_after_the_last_object_was_deleted(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.create("configmaps", thing("a"))
    store.delete("configmaps", "default", "a")
    again = opened(tmp_path)
    assert again.version == 2
    assert again.create("configmaps", thing("a"))["metadata"]["resourceVersion"] == "3"


def test_a_journal_that_was_not_emptied_after_its_snapshot_changes_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    churn(store, 1, 40)
    old_journal = (tmp_path / JOURNAL).read_bytes()
    journal = Journal(tmp_path)
    version, objects = journal.load()
    journal.compact(version, objects)
    assert (tmp_path / JOURNAL).read_bytes() == b""
    (tmp_path / JOURNAL).write_bytes(old_journal)
    assert state(opened(tmp_path)) == state(store)


def test_an_unfinished_snapshot_is_not_looked_at(tmp_path: Path) -> None:
    store = opened(tmp_path)
    churn(store, 2, 10)
    (tmp_path / f"{SNAPSHOT}.new").write_text('[7,"configm')
    assert state(opened(tmp_path)) == state(store)


def test_damage_before_the_end_is_refused(tmp_path: Path) -> None:
    store = opened(tmp_path)
    churn(store, 3, 10)
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    lines[2] = b"{nonsense\n"
    (tmp_path / JOURNAL).write_bytes(b"".join(lines))
    with pytest.raises(TestbedError, match="line 3"):
        opened(tmp_path)


def test_what_is_stored_is_its_owners_alone(tmp_path: Path) -> None:
    store = opened(tmp_path, limit=1)
    churn(store, 4, 10)
    for name in (JOURNAL, SNAPSHOT):
        assert (tmp_path / name).stat().st_mode & 0o077 == 0


def test_an_entry_that_does_not_fit_leaves_store_and_journal_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    store = opened(tmp_path)
    store.create("configmaps", thing("a"))
    before, real = state(store), os.write

    def short(descriptor: int, data: bytes) -> int:
        return real(descriptor, data[:10])

    monkeypatch.setattr(os, "write", short)
    with pytest.raises(OSError, match="only a part"):
        store.create("configmaps", thing("b"))
    monkeypatch.undo()
    assert state(store) == before
    assert state(opened(tmp_path)) == before
