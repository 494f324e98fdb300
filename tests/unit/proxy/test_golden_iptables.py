"""The rules recorded from kube-proxy 1.36.2 in iptables mode come out of the same objects.

kube-proxy walks Services in random order, so the rules of shared chains are compared Service by
Service, each in order; the way to the node ports must be last. Everything else must be equal.
"""

from __future__ import annotations

import re

import pytest

from testbed.proxy.iptables.render import Renderer
from tests.unit.proxy.worlds import CASES, FAMILIES, GOLDEN, documents, make_instance, make_state

SHARED = {
    ("filter", "KUBE-SERVICES"),
    ("filter", "KUBE-EXTERNAL-SERVICES"),
    ("filter", "KUBE-NODEPORTS"),
    ("filter", "KUBE-PROXY-FIREWALL"),
    ("nat", "KUBE-SERVICES"),
    ("nat", "KUBE-NODEPORTS"),
}


def by_service(lines: list[str]) -> dict[str, list[str]]:
    """The rules of a shared chain by Service; a rule of no Service ends the list under its text."""
    grouped: dict[str, list[str]] = {}
    for line in lines:
        found = re.search(r'-p (\w+) .*--comment "(\S+?/\S+?)[ "]', line)
        grouped.setdefault(":".join(found.groups()) if found else "", []).append(line)
    if "" in grouped:
        assert lines[-len(grouped[""]) :] == grouped[""], "the node ports' rule must be last"
    return grouped


def normal(text: str) -> list[object]:
    """The dump with what has no fixed order in a comparable form."""
    out: list[object] = []
    table = ""
    pending: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        if line.startswith("-A "):
            chain = line.split(" ")[1]
            if (table, chain) in SHARED:
                if (table, chain) not in pending:
                    pending[table, chain] = []
                    out.append(pending[table, chain])
                pending[table, chain].append(line)
                continue
        out.append(line)
    return [by_service(item) if isinstance(item, list) else item for item in out]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("node", ["w1", "w3"])
@pytest.mark.parametrize("case", CASES)
def test_the_recorded_rules_come_out(case: str, node: str, family: str) -> None:
    docs = documents(case)
    instance = make_instance(docs, FAMILIES[family], node)
    rules = Renderer(instance).render(make_state(docs, FAMILIES[family], node))
    recorded = (GOLDEN / case / f"{node}.{family}.iptables").read_text()
    assert normal(rules.text()) == normal(recorded)
