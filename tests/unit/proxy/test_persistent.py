from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.proxy.persistent import PersistentMap

KEYS = st.text(max_size=3)
CONTENTS = st.dictionaries(KEYS, st.integers())


@settings(deadline=None)
@given(CONTENTS, CONTENTS, st.lists(KEYS))
def test_a_change_gives_the_same_as_a_dict_and_leaves_the_old_version_alone(
    start: dict[str, int], put: dict[str, int], drop: list[str]
) -> None:
    before = PersistentMap(start.items())
    after = before.with_changes(put.items(), drop)
    expected = {key: value for key, value in start.items() if key not in drop} | put
    assert dict(after) == expected
    assert len(after) == len(expected)
    assert dict(before) == start


@settings(deadline=None)
@given(CONTENTS, CONTENTS)
def test_difference_names_every_key_whose_value_differs(
    old: dict[str, int], new: dict[str, int]
) -> None:
    changed = PersistentMap(new.items()).difference(PersistentMap(old.items()))
    assert changed == {
        key: (old.get(key), new.get(key))
        for key in old.keys() | new.keys()
        if old.get(key) != new.get(key)
    }
