"""Which endpoints a node's clients may get: readiness, locality, hints."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.oracle.choice import Choice, Usable, choose


def usable(
    name: str, *, ready: bool = True, fallback: bool = False, node: str = "n0", hints: str = ""
) -> Usable:
    """`hints` is written `node/n0 zone/a`."""
    words = [h.split("/") for h in hints.split()]
    return Usable(
        ip=name,
        port=80,
        node=node,
        pod=None,
        ready=ready,
        fallback=fallback,
        for_nodes=tuple(v for k, v in words if k == "node"),
        for_zones=tuple(v for k, v in words if k == "zone"),
    )


def chosen(choice: Choice) -> str:
    names = ["".join(e.ip for e in part) or "-" for part in (choice.cluster, choice.local)]
    return f"{names[0]} {names[1]} {'some' if choice.anywhere else 'none'}"


@pytest.mark.parametrize(
    ("endpoints", "result"),
    [
        ([], "- - none"),
        ([usable("a"), usable("b", node="n1")], "ab a some"),
        ([usable("a", node="n1")], "a - some"),
        ([usable("a", ready=False)], "- - none"),
        ([usable("a", ready=False), usable("b", node="n1")], "b - some"),
        # a local terminating endpoint serves policy Local even though others are ready elsewhere
        ([usable("a", ready=False, fallback=True), usable("b", node="n1")], "b a some"),
        ([usable("a"), usable("b", ready=False, fallback=True)], "a a some"),
        ([usable("a", ready=False, fallback=True)], "a a some"),
        ([usable("a", ready=False, fallback=True, node="n1")], "a - some"),
        # hints
        ([usable("a", hints="zone/a"), usable("b", node="n1", hints="zone/b")], "a a some"),
        ([usable("a", hints="zone/b"), usable("b", node="n1", hints="zone/a")], "b a some"),
        ([usable("a", hints="zone/a"), usable("b", node="n1")], "ab a some"),
        ([usable("a", hints="zone/b"), usable("b", node="n1", hints="zone/c")], "ab a some"),
        (
            [
                usable("a", hints="zone/a node/n0"),
                usable("b", node="n1", hints="zone/a node/n1"),
            ],
            "a a some",
        ),
        (
            [
                usable("a", node="n2", hints="zone/a node/n2"),
                usable("b", node="n1", hints="zone/b node/n1"),
            ],
            "a - some",
        ),
        (
            [usable("a", hints="zone/a node/n0"), usable("b", node="n1", hints="zone/a")],
            "ab a some",
        ),
        # hints of endpoints that aren't ready count neither for nor against
        (
            [usable("a", hints="zone/a"), usable("b", hints="zone/b"), usable("c", ready=False)],
            "a ab some",
        ),
        (
            [usable("a", hints="zone/b"), usable("b", ready=False, fallback=True, hints="zone/a")],
            "a a some",
        ),
    ],
)
def test_node_gets(endpoints: list[Usable], result: str) -> None:
    assert chosen(choose(tuple(endpoints), "n0", "a")) == result


def test_hints_for_zones_need_a_zone() -> None:
    endpoints = (usable("a", hints="zone/a"), usable("b", hints="zone/b"))
    assert chosen(choose(endpoints, "n0", "")) == "ab ab some"


ENDPOINTS = st.lists(
    st.builds(
        Usable,
        ip=st.sampled_from(["a", "b", "c", "d"]),
        port=st.just(80),
        node=st.sampled_from(["n0", "n1", ""]),
        pod=st.none(),
        ready=st.booleans(),
        fallback=st.booleans(),
        for_nodes=st.sampled_from([(), ("n0",), ("n1",)]),
        for_zones=st.sampled_from([(), ("a",), ("b",)]),
    ),
    max_size=6,
).map(tuple)


@settings(deadline=None)
@given(ENDPOINTS)
def test_nothing_unusable_is_ever_chosen(endpoints: tuple[Usable, ...]) -> None:
    choice = choose(endpoints, "n0", "a")
    for endpoint in (*choice.cluster, *choice.local):
        assert endpoint.ready or endpoint.fallback
    assert all(e.node == "n0" for e in choice.local)
    assert choice.anywhere == bool(choice.cluster)
    if any(e.ready for e in endpoints):
        assert all(e.ready for e in choice.cluster)
