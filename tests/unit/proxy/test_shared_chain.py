"""Single rules of a chain that many owners fill, against a model of the chain."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from testbed.proxy.kernel.shared_chain import Owner, SharedChain

OWNERS: list[Owner] = [(0, ()), *((1, (name,)) for name in "abcdef"), (2, ())]
CONTENTS = st.dictionaries(
    st.sampled_from(OWNERS), st.lists(st.sampled_from("xyz"), max_size=3).map(tuple)
)


class ModelChain:
    """A kernel's chain: rules with handles, inserted after a handle or at the start."""

    def __init__(self) -> None:
        self.rules: list[tuple[int, str]] = []
        self.next = 1

    def add(self, line: str, after: int) -> int:
        places = [handle for handle, _ in self.rules]
        place = places.index(after) + 1 if after else 0
        self.rules.insert(place, (self.next, line))
        self.next += 1
        return self.next - 1

    def delete(self, handle: int) -> None:
        self.rules = [rule for rule in self.rules if rule[0] != handle]


def expected(contents: dict[Owner, tuple[str, ...]]) -> list[str]:
    return [line for owner in sorted(contents) for line in contents[owner]]


@given(CONTENTS, st.lists(CONTENTS, max_size=4))
def test_changes_end_in_the_order_of_the_owners(
    start: dict[Owner, tuple[str, ...]], changes: list[dict[Owner, tuple[str, ...]]]
) -> None:
    kernel = ModelChain()
    entries = sorted(start.items())
    handles: list[int] = []
    for line in expected(start):
        handles.append(kernel.add(line, handles[-1] if handles else 0))
    chain = SharedChain(entries, handles)
    contents = dict(start)
    for wanted in changes:
        change = chain.change(wanted)
        for handle, _ in change.deleted:
            kernel.delete(handle)
        given_handles = [kernel.add(line, after) for line, after in change.inserted]
        chain.done(wanted, change, given_handles)
        contents.update(wanted)
        assert [line for _, line in kernel.rules] == expected(contents)
        assert chain.rules() == kernel.rules


def test_a_change_touches_only_its_owners_rules() -> None:
    chain = SharedChain([((1, ("a",)), ("1",)), ((1, ("b",)), ("2",))], [10, 11])
    change = chain.change({(1, ("b",)): ("3",), (1, ("a",)): ("1",)})
    assert change.deleted == ((11, "2"),)
    assert change.inserted == (("3", 10),)
