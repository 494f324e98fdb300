"""Syncs against a real kernel: changes, strangers' rules, vandals, refusals."""

from __future__ import annotations

import errno
import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.api.objects import IPV4, IPV6, EndpointSlice, Service
from testbed.proxy.changes import ProxyState
from testbed.proxy.instance import Instance
from testbed.proxy.iptables import render as iptables
from testbed.proxy.iptables.apply import IptablesApplier
from testbed.proxy.kernel.applier import FULL, NOTHING, PARTIAL
from testbed.proxy.kernel.messages import DELCHAIN, Message
from testbed.proxy.kernel.transaction import RuleError
from testbed.proxy.nftables import render as nftables
from testbed.proxy.nftables.apply import NftablesApplier
from tests.kernel.proxy.scratch import ScratchNamespace, iptables_save, nft_list, normal_table
from tests.unit.proxy import strategies
from tests.unit.proxy.test_incremental import Change, apply, final_objects
from tests.unit.proxy.worlds import documents, make_instance, make_state

pytestmark = pytest.mark.kernel

MODES = ["iptables", "nftables"]
both_modes = pytest.mark.parametrize("mode", MODES)
WORLD = "session-affinity"


def blocks(text: str) -> list[str]:
    """A listed table's sets and chains; the kernel lists them in the order in which they came."""
    return sorted(part.strip() for part in text.rstrip().removesuffix("}").split("\n\n"))


class Node:
    """One family's rules in one mode in one namespace: render, apply, and read back."""

    def __init__(self, namespace: ScratchNamespace, mode: str, family: str) -> None:
        self.namespace = namespace
        self.mode = mode
        self.family = family
        self.applier: Any = self.new_applier()

    def new_applier(self) -> Any:
        kind = IptablesApplier if self.mode == "iptables" else NftablesApplier
        return kind(self.namespace, self.family)

    def renderer(self, instance: Instance) -> Any:
        return (iptables if self.mode == "iptables" else nftables).Renderer(instance)

    def rules(self, world: str = WORLD) -> Any:
        docs = documents(world)
        instance = make_instance(docs, self.family, "w1")
        return self.renderer(instance).render(make_state(docs, self.family, "w1"))

    def printed(self) -> Any:
        if self.mode == "iptables":
            return iptables_save(self.namespace, self.family)
        return blocks(nft_list(self.namespace, self.family))

    def expected(self, rules: Any) -> Any:
        if self.mode == "iptables":
            return rules.text().splitlines()
        return blocks(normal_table(rules.text()))


@pytest.fixture
def node(namespace: ScratchNamespace, mode: str) -> Any:
    made = Node(namespace, mode, IPV4)
    yield made
    made.applier.close()


@both_modes
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    instance=strategies.instances(),
    changes=strategies.changes,
    data=st.data(),
)
def test_changes_one_by_one_end_in_the_rules_of_the_final_state(
    mode: str, instance: Instance, changes: list[Change], data: st.DataObject
) -> None:
    namespace = ScratchNamespace("w1")
    node = Node(namespace, mode, instance.family)
    try:
        state = ProxyState(instance.family, instance.node.name)
        rendering = node.renderer(instance)
        rules = rendering.render(state)
        node.applier.sync(rules)
        for change in changes:
            apply(state, change)
            if data.draw(st.booleans()):
                rules = rendering.update(rules, state, state.checkout().ports)
                node.applier._sync_fully = refuse_full_sync
                node.applier.sync(rules)
                del node.applier._sync_fully
                assert node.printed() == node.expected(rules)
        rules = rendering.update(rules, state, state.checkout().ports)
        node.applier.sync(rules)
        assert node.printed() == node.expected(rules)
        assert node.applier.rules_present()

        fresh = ProxyState(instance.family, instance.node.name)
        fresh.replace(*final_objects(changes))
        again = node.new_applier()
        again.sync(node.renderer(instance).render(fresh))
        assert node.printed() == node.expected(rules)
        again.close()
    finally:
        node.applier.close()
        namespace.close()


@both_modes
def test_nothing_changed_costs_no_transaction(node: Node) -> None:
    rules = node.rules()
    first = node.applier.sync(rules)
    assert first.kind == FULL
    assert first.rules > 0
    second = node.applier.sync(rules)
    assert (second.kind, second.transactions) == (NOTHING, 0)


@both_modes
def test_a_new_proxy_takes_over_what_is_there(node: Node) -> None:
    node.applier.sync(node.rules("nodeport-local"))
    successor = node.new_applier()
    rules = node.rules()
    assert successor.sync(rules).kind == FULL
    assert node.printed() == node.expected(rules)
    successor.close()


def test_strangers_rules_and_chains_survive_every_sync(namespace: ScratchNamespace) -> None:
    strangers = """\
*filter
:INPUT DROP
:FORWARD ACCEPT
:OUTPUT ACCEPT
:CNI-ISOLATION -
-A INPUT -i lo -j ACCEPT
-A FORWARD -j CNI-ISOLATION
-A CNI-ISOLATION -s 192.0.2.0/24 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:CNI-MASQ -
-A POSTROUTING -s 10.244.0.0/16 -j CNI-MASQ
-A CNI-MASQ -j MASQUERADE
COMMIT
"""
    namespace.run(["iptables-restore"], input=strangers)
    before = iptables_save(namespace, IPV4)
    node = Node(namespace, "iptables", IPV4)
    for world in (WORLD, "nodeport-local", "clusterip"):
        node.applier.sync(node.rules(world))
        assert set(before) <= set(iptables_save(namespace, IPV4))
    node.applier.cleanup()
    left = iptables_save(namespace, IPV4)
    assert [line for line in left if line[0] == "-"] == [line for line in before if line[0] == "-"]
    assert set(before) <= set(left)
    assert not [line for line in left if "KUBE" in line]
    node.applier.close()


def test_jumps_stand_before_a_strangers_rules(namespace: ScratchNamespace) -> None:
    namespace.run(["iptables", "-A", "FORWARD", "-j", "DROP"])
    node = Node(namespace, "iptables", IPV4)
    rules = node.rules()
    node.applier.sync(rules)
    forward = [line for line in iptables_save(namespace, IPV4) if line.startswith("-A FORWARD")]
    assert forward[-1] == "-A FORWARD -j DROP"
    assert [line.removeprefix("-A FORWARD ") for line in forward[:-1]] == list(
        rules.static["filter"]["FORWARD"]
    )
    node.applier.close()


@pytest.mark.parametrize(
    "vandalism",
    [
        ["iptables", "-F", "KUBE-FORWARD"],
        ["iptables", "-t", "nat", "-F", "KUBE-SERVICES"],
        ["iptables", "-t", "nat", "-F", "PREROUTING"],
        ["iptables", "-D", "INPUT", "1"],
        ["iptables", "-t", "nat", "-D", "KUBE-SERVICES", "2"],
        ["nft", "delete", "table", "ip", "nat"],
        ["nft", "flush", "ruleset"],
        ["nft", "delete", "table", "ip", "mangle"],
    ],
    ids=" ".join,
)
def test_deleted_rules_of_iptables_mode_come_back(
    namespace: ScratchNamespace, vandalism: list[str]
) -> None:
    node = Node(namespace, "iptables", IPV4)
    rules = node.rules()
    node.applier.sync(rules)
    assert node.applier.rules_present()
    namespace.run(vandalism)
    assert not node.applier.rules_present()
    assert node.applier.sync(rules).kind == FULL
    assert node.printed() == node.expected(rules)
    assert node.applier.rules_present()
    node.applier.close()


@pytest.mark.parametrize(
    "vandalism",
    [
        ["flush", "chain", "ip", "kube-proxy", "services"],
        ["flush", "set", "ip", "kube-proxy", "nodeport-ips"],
        ["delete", "element", "ip", "kube-proxy", "cluster-ips", "{ 10.96.0.1 }"],
        ["delete", "table", "ip", "kube-proxy"],
        ["flush", "ruleset"],
        ["flush", "chain", "ip", "kube-proxy", "nat-postrouting"],
    ],
    ids=" ".join,
)
def test_deleted_rules_of_nftables_mode_come_back(
    namespace: ScratchNamespace, vandalism: list[str]
) -> None:
    node = Node(namespace, "nftables", IPV4)
    rules = node.rules()
    node.applier.sync(rules)
    assert node.applier.rules_present()
    namespace.run(["nft", *vandalism])
    assert not node.applier.rules_present()
    assert node.applier.sync(rules).kind == FULL
    assert node.printed() == node.expected(rules)
    node.applier.close()


@both_modes
def test_strangers_commits_elsewhere_are_no_damage(node: Node) -> None:
    node.applier.sync(node.rules())
    node.namespace.run(["nft", "add", "table", "inet", "stranger"])
    assert node.applier.rules_present()


RANGES = {
    IPV4: (
        ("10.97.0.0/16", "10.98.0.0/16"),
        ("100.65.0.0/16", "100.66.0.0/16"),
        ("203.0.113.1", "203.0.113.2"),
    ),
    IPV6: (
        ("fd00:10:97::1:0/112", "fd00:10:97::2:0/112"),
        ("2001:db8:1::/48", "2001:db8:2::/48"),
        ("2001:db8:100::1", "2001:db8:100::2"),
    ),
}


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_adjacent_networks_and_addresses_are_applied_as_the_ranges_that_nft_lists(
    namespace: ScratchNamespace, family: str
) -> None:
    cidrs, sources, vips = RANGES[family]
    instance = replace(make_instance(documents(WORLD), family, "w1"), service_cidrs=cidrs)
    own_network = f"{instance.node.ip}/{16 if family == IPV4 else 64}"
    service = Service.from_document(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "type": "LoadBalancer",
                "clusterIPs": ["10.97.0.7" if family == IPV4 else "fd00:10:97::1:7"],
                "ipFamilies": [family],
                "ports": [{"protocol": "TCP", "port": 80}],
                "loadBalancerSourceRanges": [own_network, *sources],
            },
            "status": {"loadBalancer": {"ingress": [{"ip": vip} for vip in vips]}},
        }
    )
    piece = EndpointSlice.from_document(
        {
            "metadata": {
                "name": "web-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": family,
            "endpoints": [{"addresses": ["10.244.1.5" if family == IPV4 else "fd00:10:244:1::5"]}],
            "ports": [{"protocol": "TCP", "port": 8080}],
        }
    )
    state = ProxyState(family, "w1")
    state.update_service(service)
    state.update_slice(piece)
    node = Node(namespace, "nftables", family)
    rules = node.renderer(instance).render(state)
    starts = [each[0].partition("/")[0] for each in (cidrs, sources, vips)]
    assert all(f"{start}-" in rules.text() for start in starts)
    node.applier.sync(rules)
    assert node.printed() == node.expected(rules)
    node.applier.close()


def filled_chains(node: Node, rules: Any) -> list[tuple[str, str]]:
    """(table, chain) of every chain with rules."""
    if node.mode == "nftables":
        return [("kube-proxy", chain.name) for chain in rules.all_chains() if chain.rules]
    return [
        (table, chain)
        for table in rules.static
        for chain, lines in rules.chains(table).items()
        if lines
    ]


@pytest.mark.parametrize("world", [WORLD, "nodeport-local", "loadbalancer-source-ranges"])
@both_modes
def test_every_flushed_chain_is_noticed_and_comes_back(node: Node, world: str) -> None:
    rules = node.rules(world)
    node.applier.sync(rules)
    for table, chain in filled_chains(node, rules):
        node.namespace.run(["nft", "flush", "chain", "ip", table, chain])
        assert not node.applier.rules_present(), chain
        assert node.applier.sync(rules).kind == FULL
        assert node.printed() == node.expected(rules)
        assert node.applier.rules_present()


def without_one_service(rules: Any) -> Any:
    """`rules` without their first Service's."""
    name = next(name for name, _ in rules.ordered())
    if hasattr(rules, "with_services"):
        return rules.with_services({name: None})
    return replace(rules, services=rules.services.with_changes(drop=[name]))


@both_modes
def test_rules_that_were_flushed_before_a_sync_are_missed_at_the_next_check(node: Node) -> None:
    rules = node.rules()
    node.applier.sync(rules)
    table, chain = {
        "iptables": ("filter", "KUBE-FORWARD"),
        "nftables": ("kube-proxy", "nat-postrouting"),
    }[node.mode]
    node.namespace.run(["nft", "flush", "chain", "ip", table, chain])
    fewer = without_one_service(rules)
    assert node.applier.sync(fewer).kind == PARTIAL
    assert node.applier.sync(rules).kind == PARTIAL
    assert not node.applier.rules_present()
    assert node.applier.sync(rules).kind == FULL
    assert node.applier.rules_present()
    again = node.applier.sync(fewer)
    assert (again.kind, node.printed()) == (PARTIAL, node.expected(fewer))
    assert node.applier.rules_present()


@both_modes
def test_a_strangers_rule_in_a_chain_of_ours_is_no_damage(node: Node) -> None:
    node.applier.sync(node.rules())
    table, chain = (
        ("nat", "KUBE-SERVICES") if node.mode == "iptables" else ("kube-proxy", "services")
    )
    node.namespace.run(["nft", "insert", "rule", "ip", table, chain, "counter"])
    assert node.applier.rules_present()


def first_rule(node: Node, table: str, chain: str) -> str:
    """The handle of a chain's first rule."""
    listed = node.namespace.run(["nft", "-a", "list", "chain", "ip", table, chain])
    found = re.search(r"^\t\t.* # handle (\d+)$", listed, re.MULTILINE)
    assert found, listed
    return found[1]


@both_modes
def test_nothing_of_a_strangers_hides_a_rule_that_is_lost(node: Node) -> None:
    """As many rules and jumps as before, in every chain with rules; only one isn't ours."""
    rules = node.rules()
    node.applier.sync(rules)
    nft = node.namespace.run
    for table, chain in filled_chains(node, rules):
        lost = first_rule(node, table, chain)
        nft(["nft", "add", "rule", "ip", table, chain, "counter"])
        if "hook" not in nft(["nft", "list", "chain", "ip", table, chain]):
            nft(["nft", "add", "chain", "ip", table, "STRANGER"])
            nft(["nft", "add", "rule", "ip", table, "STRANGER", "jump", chain])
        assert node.applier.rules_present(), chain
        nft(["nft", "delete", "rule", "ip", table, chain, "handle", lost])
        assert not node.applier.rules_present(), chain
        assert node.applier.sync(rules).kind == FULL
        assert node.applier.rules_present()


@both_modes
def test_a_partial_syncs_rules_are_missed_too(node: Node) -> None:
    rules = node.rules()
    fewer = without_one_service(rules)
    node.applier.sync(fewer)
    assert node.applier.sync(rules).kind == PARTIAL
    added = [c for c in filled_chains(node, rules) if c not in filled_chains(node, fewer)]
    for table, chain in added:
        lost = first_rule(node, table, chain)
        node.namespace.run(["nft", "add", "rule", "ip", table, chain, "counter"])
        assert node.applier.rules_present()
        node.namespace.run(["nft", "delete", "rule", "ip", table, chain, "handle", lost])
        assert not node.applier.rules_present(), chain
        node.applier.sync(rules)
        assert node.printed() == node.expected(rules)
        node.applier.sync(fewer)
        assert node.applier.sync(rules).kind == PARTIAL


def test_another_table_of_the_same_name_is_not_ours(namespace: ScratchNamespace) -> None:
    node = Node(namespace, "iptables", IPV4)
    rules = node.rules()
    node.applier.sync(rules)
    copy = namespace.run(["iptables-save", "-t", "nat"])
    namespace.run(["nft", "delete", "table", "ip", "nat"])
    namespace.run(["iptables-restore"], input=copy)
    assert not node.applier.rules_present()
    assert node.applier.sync(rules).kind == FULL
    assert node.printed() == node.expected(rules)
    node.applier.close()


def test_an_element_that_leads_elsewhere_is_missed(namespace: ScratchNamespace) -> None:
    node = Node(namespace, "nftables", IPV4)
    rules = node.rules()
    node.applier.sync(rules)
    key = "10.96.0.1"
    namespace.run(["nft", "delete", "element", "ip", "kube-proxy", "cluster-ips", f"{{ {key} }}"])
    namespace.run(["nft", "add", "element", "ip", "kube-proxy", "cluster-ips", "{ 192.0.2.1 }"])
    assert not node.applier.rules_present()
    assert node.applier.sync(rules).kind == FULL
    assert node.printed() == node.expected(rules)
    node.applier.close()


def test_a_chain_that_a_stranger_jumps_to_stays_empty_and_the_rest_goes(
    namespace: ScratchNamespace,
) -> None:
    namespace.run(["iptables", "-N", "CNI-FORWARD"])
    node = Node(namespace, "iptables", IPV4)
    node.applier.sync(node.rules())
    namespace.run(["iptables", "-A", "CNI-FORWARD", "-j", "KUBE-FORWARD"])
    node.applier.cleanup()
    left = [line for line in iptables_save(namespace, IPV4) if "KUBE" in line]
    assert left == [":KUBE-FORWARD -", "-A CNI-FORWARD -j KUBE-FORWARD"]
    node.applier.close()


def test_what_a_busy_kernel_would_not_delete_does_not_come_back_twice(
    namespace: ScratchNamespace,
) -> None:
    node = Node(namespace, "nftables", IPV4)
    rules = node.rules("nodeport-local")
    node.applier.sync(rules)
    successor: Any = node.new_applier()
    commit = successor._door.commit

    def busy(batch: list[Message]) -> Any:
        if any(message.kind == DELCHAIN for message in batch):
            raise RuleError("w1", "kube-proxy", "", "Device or resource busy", errno.EBUSY)
        return commit(batch)

    successor._door.commit = busy
    successor.sync(rules.with_services(dict.fromkeys(name for name, _ in rules.ordered())))
    successor._sync_fully = refuse_full_sync
    assert successor.sync(rules).kind == PARTIAL
    assert node.printed() == node.expected(rules)
    successor.close()
    node.applier.close()


def with_bad_rule(mode: str, rules: Any, line: str) -> Any:
    """`rules` where one Service's own chain begins with `line`."""
    name, before = next((n, r) for n, r in rules.ordered() if r.chains)
    if mode == "iptables":
        chain = next(iter(before.chains))
        after = replace(before, chains={**before.chains, chain: (line,)})
    else:
        first = before.chains[0]
        after = replace(before, chains=(replace(first, rules=(line,)), *before.chains[1:]))
    if mode == "iptables":
        return replace(rules, services=rules.services.with_changes(put=[(name, after)]))
    return rules.with_services({name: after})


def refuse_full_sync(ruleset: Any) -> int:
    raise AssertionError("a full sync, where a partial one should do")


BAD = {
    "iptables": ("-j KUBE-NOWHERE", "-m nosuchmatch --x 1 -j DROP"),
    "nftables": ("goto nowhere", "ip saddr frobnicate"),
}


@pytest.mark.parametrize("kind", [0, 1], ids=["refused by the kernel", "not understood"])
@both_modes
def test_a_refused_sync_names_the_line_and_leaves_the_old_rules(node: Node, kind: int) -> None:
    rules = node.rules()
    node.applier.sync(rules)
    before = node.printed()
    line = BAD[node.mode][kind]
    with pytest.raises(RuleError) as caught:
        node.applier.sync(with_bad_rule(node.mode, rules, line))
    assert line in caught.value.line
    assert line in str(caught.value)
    assert caught.value.table == ("nat" if node.mode == "iptables" else "kube-proxy")
    assert node.printed() == before
    report = node.applier.sync(rules)
    assert report.kind == FULL
    assert node.printed() == before


@both_modes
def test_a_first_sync_that_is_refused_leaves_nothing_half_done(node: Node) -> None:
    rules = node.rules()
    with pytest.raises(RuleError):
        node.applier.sync(with_bad_rule(node.mode, rules, BAD[node.mode][0]))
    assert not node.applier.rules_present()
    node.applier.sync(rules)
    assert node.printed() == node.expected(rules)


@both_modes
def test_handles_lead_to_the_rules_texts(node: Node) -> None:
    rules = node.rules()
    node.applier.sync(rules)
    if node.mode == "iptables":
        table, chains = "nat", rules.chains("nat")
    else:
        table, chains = "kube-proxy", {chain.name: chain.rules for chain in rules.all_chains()}
    for chain, lines in chains.items():
        listed = node.applier.rules_of(table, chain)
        assert [text for _, text in listed] == list(lines)
    command = ["nft", "-a", "list", "table", "ip", table]
    handles = {
        int(line.rpartition("# handle ")[2])
        for line in node.namespace.run(command).splitlines()
        if "# handle" in line
    }
    for chain in chains:
        assert {handle for handle, _ in node.applier.rules_of(table, chain)} <= handles


def test_clients_that_an_affinity_set_remembers_survive_a_full_sync(
    namespace: ScratchNamespace,
) -> None:
    node = Node(namespace, "nftables", IPV4)
    rules = node.rules()
    node.applier.sync(rules)
    name = next(spec.name for spec in rules.all_sets() if spec.name.startswith("affinity-"))
    namespace.run(["nft", "-f", "-"], input=f"add element ip kube-proxy {name} {{ 192.0.2.7 }}\n")
    node.new_applier().sync(rules)
    listed = namespace.run(["nft", "list", "set", "ip", "kube-proxy", name])
    assert "192.0.2.7" in listed
    node.applier.close()


@both_modes
def test_cleanup_of_one_family_leaves_the_other(namespace: ScratchNamespace, mode: str) -> None:
    four, six = Node(namespace, mode, IPV4), Node(namespace, mode, IPV6)
    four.applier.sync(four.rules())
    six.applier.sync(six.rules())
    before = six.printed()
    four.applier.cleanup()
    assert six.printed() == before
    four.applier.cleanup()
    for node in (four, six):
        node.applier.close()


@both_modes
def test_a_small_send_buffer_takes_several_transactions(node: Node) -> None:
    rules = node.rules()
    door = node.applier._door
    door.netlink.grow_send_buffer = lambda size: 24_000
    report = node.applier.sync(rules)
    assert report.transactions > 1
    assert node.printed() == node.expected(rules)
