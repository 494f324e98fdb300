"""The recorded worlds in a real kernel: its own tools print what kube-proxy 1.36.2 had made."""

from __future__ import annotations

import pytest

from testbed.netlink import NETLINK_NETFILTER, attributes
from testbed.proxy.iptables.apply import IptablesApplier
from testbed.proxy.iptables.counters import counters_used, make_counter
from testbed.proxy.iptables.encode import encode
from testbed.proxy.iptables.render import Renderer as IptablesRenderer
from testbed.proxy.kernel import dump
from testbed.proxy.kernel.transaction import Transactions
from testbed.proxy.nftables.apply import NftablesApplier
from testbed.proxy.nftables.render import Renderer as NftablesRenderer
from tests.kernel.proxy.scratch import ScratchNamespace, iptables_save, nft_list, normal_table
from tests.unit.proxy import test_golden_iptables, test_golden_nftables
from tests.unit.proxy.worlds import CASES, FAMILIES, GOLDEN, documents, make_instance, make_state

pytestmark = pytest.mark.kernel

worlds = pytest.mark.parametrize("case", CASES)
nodes = pytest.mark.parametrize("node", ["w1", "w3"])
families = pytest.mark.parametrize("family", FAMILIES)


@families
@nodes
@worlds
def test_iptables_save_prints_the_recorded_rules(
    namespace: ScratchNamespace, case: str, node: str, family: str
) -> None:
    docs = documents(case)
    rules = IptablesRenderer(make_instance(docs, FAMILIES[family], node)).render(
        make_state(docs, FAMILIES[family], node)
    )
    applier = IptablesApplier(namespace, FAMILIES[family])
    applier.sync(rules)
    printed = iptables_save(namespace, FAMILIES[family])
    assert printed == rules.text().splitlines()
    recorded = (GOLDEN / case / f"{node}.{family}.iptables").read_text()
    normal = test_golden_iptables.normal
    assert normal("\n".join(printed) + "\n") == normal(recorded)
    applier.close()


@families
@nodes
@worlds
def test_nft_lists_the_recorded_table(
    namespace: ScratchNamespace, case: str, node: str, family: str
) -> None:
    docs = documents(case)
    rules = NftablesRenderer(make_instance(docs, FAMILIES[family], node)).render(
        make_state(docs, FAMILIES[family], node)
    )
    applier = NftablesApplier(namespace, FAMILIES[family])
    applier.sync(rules)
    assert nft_list(namespace, FAMILIES[family]) == normal_table(rules.text())
    recorded = test_golden_nftables.blocks((GOLDEN / case / f"{node}.{family}.nft").read_text())
    rendered = test_golden_nftables.blocks(rules.text())
    normal = test_golden_nftables.normal
    assert {n: normal(b) for n, b in rendered.items()} == {
        n: normal(b) for n, b in recorded.items()
    }
    applier.close()


@families
@worlds
def test_expressions_are_those_of_iptables(
    namespace: ScratchNamespace, case: str, family: str
) -> None:
    """Every recorded rule, loaded by iptables-restore, is in the kernel what `encode` makes."""
    text = (GOLDEN / case / f"w3.{family}.iptables").read_text()
    door = Transactions(namespace)
    for counter in counters_used(text.splitlines()):
        make_counter(door, counter)
    namespace.run(["iptables-restore" if family == "ipv4" else "ip6tables-restore"], input=text)
    netlink = namespace.netlink(NETLINK_NETFILTER)
    table = ""
    chains: dict[tuple[str, str], list[str]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            _, chain, rule = line.split(" ", 2)
            chains.setdefault((table, chain), []).append(rule)
    for (table, chain), lines in chains.items():
        loaded = [rule.expressions for rule in dump.rules(netlink, FAMILIES[family], table, chain)]
        encoded = [dump.canonical(attributes(encode(FAMILIES[family], line))[4]) for line in lines]
        assert encoded == loaded
    netlink.close()
    door.close()
