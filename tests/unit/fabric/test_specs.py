"""Plans add up, and say what is wrong with them."""

from __future__ import annotations

from testbed.fabric.specs import Bridge, End, NamespaceSpec, Plan, Route, Veth, faults


def cable(left: str, right: str) -> Plan:
    return Plan(veths=(Veth(End(left, "eth0"), End(right, "eth0")),))


def test_plans_add_up_kind_by_kind() -> None:
    first = Plan(namespaces=(NamespaceSpec("a"),), routes=(Route("a", "::/0", via="fe80::1"),))
    second = Plan(namespaces=(NamespaceSpec("b"),), bridges=(Bridge("b", "br0"),))
    assert first + second == Plan(
        namespaces=(NamespaceSpec("a"), NamespaceSpec("b")),
        bridges=(Bridge("b", "br0"),),
        routes=(Route("a", "::/0", via="fe80::1"),),
    )
    assert Plan.total([first, second, Plan()]) == first + second


def test_all_faults_are_told_not_the_first() -> None:
    plan = Plan(
        namespaces=(NamespaceSpec("a/b"),),
        bridges=(Bridge("a", "a-name-that-is-too-long"),),
        veths=(*cable("a", "b").veths, *cable("a", "c").veths),
    )
    assert faults(plan) == [
        "namespace 'a/b': use letters, digits, '-', '_' and '.'",
        "interface 'a-name-that-is-too-long' in a: a name has 1 to 15 letters and digits",
        "interface 'eth0' in a: named twice",
    ]


def test_a_sound_plan_has_no_faults() -> None:
    assert faults(cable("a", "b")) == []
