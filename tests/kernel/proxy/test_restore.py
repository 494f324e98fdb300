"""iptables mode on a system with legacy iptables."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from testbed.api.objects import IPV4
from testbed.proxy.iptables.apply_restore import RestoreApplier
from testbed.proxy.iptables.render import Renderer
from testbed.proxy.iptables.ruleset import RuleSet
from testbed.proxy.kernel.applier import FULL, NOTHING
from testbed.proxy.kernel.transaction import RuleError
from tests.kernel.proxy.scratch import ScratchNamespace
from tests.unit.proxy.worlds import CASES, documents, make_instance, make_state

pytestmark = pytest.mark.kernel


def render(case: str) -> RuleSet:
    docs = documents(case)
    return Renderer(make_instance(docs, IPV4, "w1")).render(make_state(docs, IPV4, "w1"))


def saved(namespace: ScratchNamespace) -> list[str]:
    """Chains and rules, sorted: legacy lists tables and chains in another order."""
    text = re.sub(r" \[\d+:\d+\]", "", namespace.run(["iptables-legacy-save"]))
    return sorted(line for line in text.splitlines() if line.startswith((":", "-A")))


def expected(rules: RuleSet) -> list[str]:
    return sorted(line for line in rules.text().splitlines() if line.startswith((":", "-A")))


def test_rules_follow_the_worlds_and_go_away(namespace: ScratchNamespace) -> None:
    applier = RestoreApplier(namespace, IPV4)
    for case in CASES:
        rules = render(case)
        assert applier.sync(rules).kind == FULL
        kept = [line for line in saved(namespace) if line in expected(rules)]
        assert kept == expected(rules)
        assert not [line for line in saved(namespace) if "KUBE" in line and line not in kept]
        assert applier.sync(rules).kind == NOTHING
        assert applier.rules_present()
    namespace.run(["iptables-legacy", "-t", "nat", "-F", "KUBE-SERVICES"])
    assert not applier.rules_present()
    assert applier.sync(rules).kind == FULL
    applier.cleanup()
    assert not [line for line in saved(namespace) if "KUBE" in line]


def test_a_chain_that_a_stranger_jumps_to_stays_empty_and_the_rest_goes(
    namespace: ScratchNamespace,
) -> None:
    namespace.run(["iptables-legacy", "-N", "CNI-FORWARD"])
    applier = RestoreApplier(namespace, IPV4)
    applier.sync(render("clusterip"))
    namespace.run(["iptables-legacy", "-A", "CNI-FORWARD", "-j", "KUBE-FORWARD"])
    applier.cleanup()
    left = [line for line in saved(namespace) if "KUBE" in line]
    assert left == ["-A CNI-FORWARD -j KUBE-FORWARD", ":KUBE-FORWARD -"]


def test_a_refused_line_is_named_and_the_old_rules_stay(namespace: ScratchNamespace) -> None:
    applier = RestoreApplier(namespace, IPV4)
    rules = render("clusterip")
    applier.sync(rules)
    before = saved(namespace)
    name, contribution = next(iter(rules.ordered()))
    chains = {**contribution.chains, next(iter(contribution.chains)): ("-j KUBE-NOWHERE",)}
    bad = replace(
        rules,
        services=rules.services.with_changes(put=[(name, replace(contribution, chains=chains))]),
    )
    with pytest.raises(RuleError, match="nat"):
        applier.sync(bad)
    assert saved(namespace) == before
    assert applier.sync(rules).kind == FULL
