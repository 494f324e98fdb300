"""Rules, sets and keys of nft's listings as nf_tables has them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import attributes
from testbed.proxy.kernel.dump import canonical
from testbed.proxy.kernel.messages import Hook
from testbed.proxy.nftables.encode import EncodedRule, encode_hook, encode_rule, rule_userdata
from testbed.proxy.nftables.encode_set import encode_set, same_set
from testbed.proxy.nftables.keys import (
    Unencodable,
    intervals,
    pack_key,
    register,
    type_number,
    type_size,
)
from testbed.proxy.nftables.ranges import address_set


def encode(line: str, family: str = IPV4) -> EncodedRule:
    return encode_rule(family, line, lambda: ("x", 1))


def names(line: str, family: str = IPV4) -> list[str]:
    return [name for name, _ in canonical(attributes(encode(line, family).attributes)[4])]


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("jump services", "immediate"),
        ("ct state new jump firewall-check", "ct bitwise cmp immediate"),
        ("ip daddr . meta l4proto . th dport vmap @service-ips", "payload meta payload lookup"),
        ("ip daddr @cluster-ips reject", "payload lookup reject"),
        ("fib daddr type local drop", "fib cmp immediate"),
        ("meta l4proto tcp dnat to 10.0.0.1:80", "meta cmp immediate immediate nat"),
        ("update @affinity { ip saddr }", "payload dynset"),
        ('iifname != "veth*" goto x', "meta cmp immediate"),
        ('drop comment "with goto in it"', "immediate"),
    ],
)
def test_statements_become_expressions(line: str, wanted: str) -> None:
    assert names(line) == wanted.split()


def test_a_map_in_a_rule_is_an_anonymous_set() -> None:
    line = (
        "meta l4proto tcp dnat ip to numgen random mod 2 "
        "map { 0 : 10.0.0.1 . 80, 1 : 10.0.0.2 . 81 }"
    )
    (made,) = encode(line).sets
    assert len(made.elements) == 2


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("frobnicate", "frobnicate"),
        ("ip saddr 10.0.0.300 drop", "10.0.0.300"),
        ("meta hour 12 drop", "hour"),
        ("ct state", "understood"),
        ("numgen random mod 2 vmap { 0 goto x }", "expected ':'"),
    ],
)
def test_what_is_not_understood_is_named(line: str, named: str) -> None:
    with pytest.raises(Unencodable, match=named.replace(".", r"\.")):
        encode(line)


def test_user_data_tells_rules_apart() -> None:
    assert rule_userdata("drop") == rule_userdata("drop")
    assert rule_userdata("drop") != rule_userdata("reject")
    assert rule_userdata('drop comment "a"').startswith(b"\0\x02a\0")


@pytest.mark.parametrize(
    ("text", "hook"),
    [
        ("type filter hook prerouting priority dstnat - 10", Hook("filter", "prerouting", -110)),
        ("type nat hook output priority -100", Hook("nat", "output", -100)),
        ("type filter hook input priority filter", Hook("filter", "input", 0)),
        ("type nat hook postrouting priority srcnat + 5", Hook("nat", "postrouting", 105)),
    ],
)
def test_hooks_have_names_and_numbers(text: str, hook: Hook) -> None:
    assert encode_hook(text) == hook


def test_parts_of_a_joined_key_are_padded_to_words() -> None:
    kinds = ("ipv4_addr", "inet_proto", "inet_service")
    assert pack_key("10.96.0.1 . tcp . 443", kinds).hex() == "0a6000010600000001bb0000"
    assert (type_number(kinds), type_size(kinds)) == (0x730D, 12)


def test_registers_are_named_as_the_kernel_dumps_them() -> None:
    assert [register(words) for words in (0, 1, 3, 4, 5)] == [1, 9, 11, 2, 13]


def test_a_set_is_the_same_only_with_all_its_properties() -> None:
    made = encode_set("ipv4_addr", "", "", ("dynamic", "timeout"), 65535, 10800)
    held = {kind: bytes(body) for kind, body in attributes(made).items()}
    assert same_set(made, held)
    assert not same_set(encode_set("ipv4_addr", "", "", ("dynamic", "timeout"), 65535, 60), held)
    assert not same_set(encode_set("ipv6_addr", "", "", ("dynamic", "timeout"), 65535, 10800), held)
    assert not same_set(made, {})


networks = st.builds(
    lambda number, bits: ipaddress.ip_network((number, bits), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


@given(st.lists(networks, min_size=1, max_size=5), st.integers(0, 2**32 - 1))
def test_intervals_hold_exactly_the_networks(
    chosen: list[ipaddress.IPv4Network], probe: int
) -> None:
    ends = [
        (int.from_bytes(key, "big"), is_end)
        for key, is_end, _ in intervals(IPV4, [str(network) for network in chosen])
    ]
    assert ends == sorted(ends)
    for number in {probe, *(int(n.network_address) for n in chosen)}:
        inside = any(ipaddress.ip_address(number) in network for network in chosen)
        before = [is_end for key, is_end in ends if key <= number]
        assert (bool(before) and not before[-1]) == inside


def test_a_range_is_an_interval_from_its_first_to_after_its_last_address() -> None:
    assert [
        (str(ipaddress.ip_address(key)), is_end)
        for key, is_end, _ in intervals(IPV4, ["203.0.113.1-203.0.113.2", "10.1.0.0-10.2.255.255"])
    ] == [
        ("0.0.0.0", True),
        ("10.1.0.0", False),
        ("10.3.0.0", True),
        ("203.0.113.1", False),
        ("203.0.113.3", True),
    ]
    with pytest.raises(Unencodable, match="before it begins"):
        list(intervals(IPV4, ["10.0.0.2-10.0.0.1"]))


@given(st.lists(networks, min_size=2, max_size=5))
def test_a_set_as_nft_lists_it_has_the_intervals_of_its_members(
    chosen: list[ipaddress.IPv4Network],
) -> None:
    members = [str(network) for network in chosen]
    listed = address_set(members).strip("{ }").split(", ")
    assert list(intervals(IPV4, listed)) == list(intervals(IPV4, members))


def test_an_interval_up_to_the_last_address_has_no_end() -> None:
    found = list(intervals(IPV6, ["ff00::/8"]))
    assert [(key[0], is_end, is_open) for key, is_end, is_open in found] == [
        (0, True, False),
        (0xFF, False, True),
    ]
