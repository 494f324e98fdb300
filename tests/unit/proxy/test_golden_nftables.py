"""The tables recorded from kube-proxy 1.36.2 in nftables mode come out of the same objects.

kube-proxy walks Services in random order, so their sets and chains are compared by name, elements
as sets; the shared part, and the blocks of one Service among themselves, in order. It empties the
chains of a Service that is gone a while before it deletes them (catalogue N-35): such remains of an
earlier world are in a few recordings, and left out.
"""

from __future__ import annotations

import pytest

from testbed.proxy.nftables.render import Renderer
from tests.unit.proxy.worlds import CASES, FAMILIES, GOLDEN, documents, make_instance, make_state


def blocks(text: str) -> dict[str, list[str]]:
    """The table's head, and every set, map and chain by name, in the order of the dump."""
    found: dict[str, list[str]] = {"": []}
    current = found[""]
    for line in text.splitlines():
        if line.startswith(("\tset ", "\tmap ", "\tchain ")):
            current = found[line.split()[1]] = []
        current.append(line)
        if line == "\t}":
            current = found[""]
    found[""] = [line for line in found[""] if line]
    return {name: block for name, block in found.items() if not ("/" in name and len(block) == 2)}


def normal(block: list[str]) -> list[object]:
    """A block with its elements as a set."""
    if "\t\telements = {" not in block:
        return list(block)
    start = block.index("\t\telements = {") + 1
    end = block.index("\t\t}")
    return [*block[:start], frozenset(block[start:end]), *block[end:]]


def order(names: list[str]) -> dict[str, list[str]]:
    """Names of blocks in order: the shared ones, and those of each Service."""
    grouped: dict[str, list[str]] = {}
    for name in names:
        owner = name.split("-", 2)[2].split("__")[0] if "/" in name else ""
        grouped.setdefault(owner, []).append(name)
    return grouped


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", ["w1", "w3"])
@pytest.mark.parametrize("case", CASES)
def test_the_recorded_table_comes_out(case: str, node: str, family: str) -> None:
    docs = documents(case)
    instance = make_instance(docs, FAMILIES[family], node)
    rules = Renderer(instance).render(make_state(docs, FAMILIES[family], node))
    recorded = blocks((GOLDEN / case / f"{node}.{family}.nft").read_text())
    rendered = blocks(rules.text())
    for name, block in recorded.items():
        assert normal(rendered[name]) == normal(block), name
    assert rendered.keys() == recorded.keys()
    assert order(list(rendered)) == order(list(recorded))
