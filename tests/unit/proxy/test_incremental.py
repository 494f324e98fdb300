"""Changes one by one end in the same rules as one render of the final state, in both modes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.proxy.changes import ProxyState
from testbed.proxy.instance import Instance
from testbed.proxy.iptables import render as iptables
from testbed.proxy.nftables import render as nftables
from tests.unit.proxy import strategies

RENDERERS = [iptables.Renderer, nftables.Renderer]
Change = tuple[str, Any]
#: A loaded machine is slow; that's no failure.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def apply(state: ProxyState, change: Change) -> None:
    verb, argument = change
    {
        "service": state.update_service,
        "slice": state.update_slice,
        "drop-service": state.delete_service,
        "drop-slice": state.delete_slice,
    }[verb](argument)


def final_objects(changes: list[Change]) -> tuple[list[Service], list[EndpointSlice]]:
    services: dict[NamespacedName, Service] = {}
    slices: dict[NamespacedName, EndpointSlice] = {}
    for verb, argument in changes:
        held: dict[NamespacedName, Any] = services if verb.endswith("service") else slices
        if verb.startswith("drop-"):
            held.pop(argument, None)
        else:
            held[argument.key] = argument
    return list(services.values()), list(slices.values())


@pytest.mark.parametrize("renderer", RENDERERS, ids=["iptables", "nftables"])
@unhurried
@given(instance=strategies.instances(), changes=strategies.changes, data=st.data())
def test_changes_end_in_the_rules_of_a_full_render(
    renderer: type[Any], instance: Instance, changes: list[Change], data: st.DataObject
) -> None:
    state = ProxyState(instance.family, instance.node.name)
    rendering = renderer(instance)
    rules = rendering.render(state)
    for change in changes:
        apply(state, change)
        if data.draw(st.booleans()):
            rules = rendering.update(rules, state, state.checkout().ports)
    rules = rendering.update(rules, state, state.checkout().ports)

    fresh = ProxyState(instance.family, instance.node.name)
    fresh.replace(*final_objects(changes))
    expected = renderer(instance).render(fresh)
    assert rules.text() == expected.text()
    assert rules == expected
    assert state.problems == fresh.problems
    assert state.total_endpoints == fresh.total_endpoints
    assert not rules.difference(expected)


@pytest.mark.parametrize("renderer", RENDERERS, ids=["iptables", "nftables"])
@unhurried
@given(instance=strategies.instances(), changes=strategies.changes, data=st.data())
def test_replacing_the_whole_state_is_the_same_as_single_changes(
    renderer: type[Any], instance: Instance, changes: list[Change], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(changes)))
    state = ProxyState(instance.family, instance.node.name)
    rendering = renderer(instance)
    state.replace(*final_objects(changes[:cut]))
    rules = rendering.update(rendering.render(state), state, state.checkout().ports)
    state.replace(*final_objects(changes))
    rules = rendering.update(rules, state, state.checkout().ports)
    fresh = ProxyState(instance.family, instance.node.name)
    fresh.replace(*final_objects(changes))
    assert rules == rendering.render(fresh)


@unhurried
@given(instance=strategies.instances(), changes=strategies.changes)
def test_an_iptables_difference_names_exactly_what_differs(
    instance: Instance, changes: list[Change]
) -> None:
    state = ProxyState(instance.family, instance.node.name)
    rendering = iptables.Renderer(instance)
    before = rendering.render(state)
    for change in changes:
        apply(state, change)
        after = rendering.update(before, state, state.checkout().ports)
        difference = after.difference(before)
        old, new = before.chains("nat"), after.chains("nat")
        written, deleted = difference.chains()
        assert deleted == old.keys() - new.keys()
        shared = {name for table, name in difference.shared() if table == "nat"}
        assert written | shared == {name for name in new if new[name] != old.get(name)}
        before = after


@unhurried
@given(instance=strategies.instances(), changes=strategies.changes)
def test_an_nftables_difference_leads_from_one_table_to_the_next(
    instance: Instance, changes: list[Change]
) -> None:
    state = ProxyState(instance.family, instance.node.name)
    rendering = nftables.Renderer(instance)
    before = rendering.render(state)
    for change in changes:
        apply(state, change)
        after = rendering.update(before, state, state.checkout().ports)
        difference = after.difference(before)
        contents = before.contents()
        for key, (old, new) in difference.elements.items():
            assert contents[key.container].get(key.key) == old
            if new is None:
                del contents[key.container][key.key]
            else:
                contents[key.container][key.key] = new
        assert contents == after.contents()
        chains = {chain.name: chain for chain in before.all_chains()}
        for name, (_, chain) in difference.chains().items():
            if chain is None:
                del chains[name]
            else:
                chains[name] = chain
        assert chains == {chain.name: chain for chain in after.all_chains()}
        before = after
