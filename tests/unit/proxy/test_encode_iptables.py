"""Rules of iptables-save as expressions. Byte for byte they are compared in tests/kernel/proxy."""

from __future__ import annotations

import pytest

from testbed.api.objects import IPV4, IPV6
from testbed.netlink import attributes
from testbed.proxy.iptables.counters import counters_used
from testbed.proxy.iptables.encode import encode, tokens
from testbed.proxy.iptables.extensions import Unencodable
from testbed.proxy.kernel.dump import canonical


def names(line: str, family: str = IPV4) -> list[str]:
    return [name for name, _ in canonical(attributes(encode(family, line))[4])]


def test_protocol_comes_before_addresses_and_matches_in_their_order() -> None:
    line = (
        '! -s 10.244.0.0/16 -d 10.96.0.1/32 -p tcp -m comment --comment "a b" '
        "-m tcp --dport 443 -j KUBE-MARK-MASQ"
    )
    wanted = "meta cmp payload cmp payload cmp match payload cmp counter immediate"
    assert names(line) == wanted.split()


@pytest.mark.parametrize(
    ("prefix", "family", "wanted"),
    [
        ("10.0.0.0/8", IPV4, ["payload", "cmp"]),
        ("10.0.0.0/9", IPV4, ["payload", "bitwise", "cmp"]),
        ("0.0.0.0/0", IPV4, []),
        ("fd00::/64", IPV6, ["payload", "cmp"]),
        ("fd00::/65", IPV6, ["payload", "bitwise", "cmp"]),
    ],
)
def test_a_prefix_of_whole_bytes_needs_no_mask(prefix: str, family: str, wanted: list[str]) -> None:
    assert names(f"-s {prefix} -j RETURN", family) == [*wanted, "counter", "immediate"]


def test_a_rule_without_target_ends_with_its_counter() -> None:
    assert names('-m comment --comment "for humans"') == ["match", "counter"]


def test_a_protocol_is_told_to_xtables_matches() -> None:
    assert 5 in attributes(encode(IPV4, "-p sctp -m sctp --dport 80 -j DROP"))
    assert 5 not in attributes(encode(IPV4, "-j DROP"))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("-m nosuch --x 1 -j DROP", "nosuch"),
        ("-j NOSUCH --with value", "NOSUCH"),
        ("-d 10.96.0.300/32 -j DROP", "10.96.0.300"),
        ("-d fd00::1/128 -j DROP", "fd00::1"),
        ("-p tcp -m tcp --dport 70000 -j DROP", "70000"),
        ("-m conntrack --ctstate SOMETIMES -j DROP", "SOMETIMES"),
        ("-j DROP and more", "and more"),
        ("--dport 80 -j DROP", "--dport 80"),
        ("-m statistic --mode nth --every 2 -j DROP", "random"),
    ],
)
def test_what_is_not_understood_is_named(line: str, named: str) -> None:
    with pytest.raises(Unencodable, match=named.replace(".", r"\.")):
        encode(IPV4, line)


def test_quotes_and_escapes_are_undone() -> None:
    assert tokens(r'-m comment --comment "say \"hi\" \\ twice" -j X') == [
        *("-m", "comment", "--comment", 'say "hi" \\ twice', "-j", "X")
    ]


def test_a_comment_may_look_like_options() -> None:
    assert names('-m comment --comment "-j DROP -m x" -j RETURN')[0] == "match"


def test_counters_are_found() -> None:
    lines = ["-m nfacct --nfacct-name  one -j DROP", "-j DROP", "-m nfacct --nfacct-name two"]
    assert counters_used(lines) == {"one", "two"}
