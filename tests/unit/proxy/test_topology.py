"""The endpoint choice, by the cases of upstream's TestCategorizeEndpoints (topology_test.go).

An endpoint is written `NAME[flags]`: l local, r ready, s serving, t terminating; then hints as
`@zone` and `%node`. Expected sets are names; None is "this policy is never used".
"""

from __future__ import annotations

import re

import pytest

from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.service_port import ServicePortInfo, ServicePortName
from testbed.proxy.topology import Categorized, categorize_endpoints

NAME = ServicePortName("ns", "svc", "", "TCP")


def endpoints(text: str) -> tuple[EndpointInfo, ...]:
    found = []
    for word in text.split():
        match = re.fullmatch(r"(\w+)\[([lrst]*)\]([@%\w-]*)", word)
        assert match, word
        name, flags, hints = match.groups()
        found.append(
            EndpointInfo(
                name,
                name,
                80,
                is_local="l" in flags,
                ready="r" in flags,
                serving="s" in flags,
                terminating="t" in flags,
                zone_hints=tuple(re.findall(r"@([\w-]+)", hints)),
                node_hints=tuple(re.findall(r"%([\w-]+)", hints)),
            )
        )
    return tuple(found)


def service_port(kind: str) -> ServicePortInfo:
    """`kind` holds i for internalTrafficPolicy Local, e for external Local, n for a node port."""
    return ServicePortInfo(
        NAME,
        "10.96.0.1",
        80,
        node_port=30080 if "n" in kind else 0,
        internal_policy_local="i" in kind,
        external_policy_local="e" in kind,
    )


ALL_HINTED = "a[rs]@za b[rs]@zb c[rs]@zc d[rs]@za"
TWO_LOCAL = "a[lrs]@za b[lrs]@zb c[rs]@zc d[rs]@za"
NODE_HINTED = "a[rs]@za%n1 b[rs]@zb%n2 c[rs]@zc%n3 d[rs]@za%n4"

CASES = [
    ("hints name the zone", "", "", "za", ALL_HINTED, "a d", None, "a d"),
    ("eTP Local: hints don't count for local", "en", "", "za", TWO_LOCAL, "a d", "a b", "a b d"),
    ("iTP Local: hints don't count for local", "in", "", "za", TWO_LOCAL, "a d", "a b", "a b d"),
    ("node without labels", "", "", "", "a[rs]@za", "a", None, "a"),
    ("nobody hints to this zone", "", "", "zb", "a[rs]@za c[rs]@zc", "a c", None, "a c"),
    ("unready ones' hints", "", "", "za", "a[rs]@za b[rs]@zb d[s]@za", "a", None, "a"),
    (
        "only unready ones are hinted to this zone",
        *("", "", "za", "a[s]@za b[rs]@zb c[rs]@zc d[s]@za", "b c", None, "b c"),
    ),
    ("a hint is missing", "", "", "za", "a[rs]@za b[rs]@zb c[rs]", "a b c", None, "a b c"),
    (
        "several hints on one endpoint",
        *("", "", "zc", "a[rs]@za@zb@zc b[rs]@zb@zc c[rs]@zb@zd d[rs]@zc", "a b d", None, "a b d"),
    ),
    ("hints name the node", "", "n1", "za", NODE_HINTED, "a", None, "a"),
    (
        "a node hint is missing, and its zone hint",
        *("", "n1", "za", "a[rs]@za%n1 b[rs] c[rs]@zc%n3", "a b c", None, "a b c"),
    ),
    (
        "a node hint is missing, zone hints are whole",
        *("", "n1", "za", "a[rs]@za%n1 b[rs]@zb c[rs]@za%n3", "a c", None, "a c"),
    ),
    ("nobody hints to this node: the zone", "", "n0", "za", NODE_HINTED, "a d", None, "a d"),
    ("nobody hints to node or zone", "", "n0", "zx", NODE_HINTED, "a b c d", None, "a b c d"),
    (
        "hints and localness disagree: merged",
        *("in", "", "za", "a[lrs]@za b[lrs]@zb c[rs]@za d[rs]@zb", "a c", "a b", "a b c"),
    ),
    ("iTP Local without endpoints", "i", "", "", "", None, "", ""),
    ("iTP Local, all remote", "i", "", "", "a[rs] b[rs]", None, "", ""),
    ("iTP Local, all local", "i", "", "", "a[lrs] b[lrs]", None, "a b", "a b"),
    ("iTP Local, some local", "i", "", "", "a[lrs] b[rs]", None, "a", "a"),
    ("nothing is ready", "", "", "", "a[s] b[s]", "", None, ""),
    ("some are ready", "", "", "", "a[s] b[rs]", "b", None, "b"),
    ("all terminate and serve", "", "", "", "a[st] b[st]", "a b", None, "a b"),
    ("terminating that don't serve", "", "", "", "a[t] b[st]", "b", None, "b"),
    ("iTP Local, eTP Cluster, some local", "in", "", "", "a[lrs] b[rs]", "a b", "a", "a b"),
    ("iTP Cluster, eTP Local, some local", "en", "", "", "a[lrs] b[rs]", "a b", "a", "a b"),
    ("both Local, some local", "ien", "", "", "a[lrs] b[rs]", "a b", "a", "a b"),
    ("both Local, all remote", "ien", "", "", "a[rs] b[rs]", "a b", "", "a b"),
    ("both Local, all remote and terminating", "ien", "", "", "a[st] b[st]", "a b", "", "a b"),
    (
        "eTP Local falls back on its own",
        *("en", "", "", "a[rs] b[l] c[lst] d[st]", "a", "c", "a c"),
    ),
    ("eTP counts only where reachable", "e", "", "", "a[rs] b[lrs]", "a b", None, "a b"),
    ("iTP Local only inside: no cluster list", "i", "", "", "a[rs] b[lrs]", None, "b", "b"),
    ("eTP Local without endpoints", "en", "", "", "", "", "", ""),
    ("eTP Local, all remote", "en", "", "", "a[rs] b[rs]", "a b", "", "a b"),
    ("eTP Local, all local", "en", "", "", "a[lrs] b[lrs]", "a b", "a b", "a b"),
    ("hints of terminating ones don't count", "", "", "za", "a[st]@za b[st]", "a b", None, "a b"),
]


@pytest.mark.parametrize(
    ("kind", "node", "zone", "given", "cluster", "local", "reachable"),
    [case[1:] for case in CASES],
    ids=[case[0] for case in CASES],
)
def test_the_choice_is_upstreams(
    kind: str,
    node: str,
    zone: str,
    given: str,
    cluster: str | None,
    local: str | None,
    reachable: str,
) -> None:
    chosen = categorize_endpoints(endpoints(given), service_port(kind), node, zone)
    assert texts(chosen) == ((cluster or "").split(), (local or "").split(), reachable.split())
    assert service_port(kind).uses_cluster_endpoints == (cluster is not None)
    assert service_port(kind).uses_local_endpoints == (local is not None)


def texts(chosen: Categorized) -> tuple[list[str], list[str], list[str]]:
    cluster, local, reachable = ([e.text for e in group] for group in chosen[:3])
    return cluster, local, reachable


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("i", "a[rs]", True),
        ("i", "a[st]", True),
        ("i", "a[s]", False),
        ("en", "a[t]", False),
        ("en", "a[lst]", True),
        ("", "a[st]", True),
        ("", "", False),
    ],
)
def test_has_any_tells_nowhere_from_not_here(kind: str, given: str, expected: bool) -> None:
    assert categorize_endpoints(endpoints(given), service_port(kind), "", "").has_any is expected
