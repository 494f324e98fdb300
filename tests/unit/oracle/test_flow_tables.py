"""The packet-flow tables of kube-proxy's unit tests, as semantics: both modes, every distinct row.

Source: pkg/proxy/{iptables,nftables}/proxier_test.go, Kubernetes 1.36.
"""

from __future__ import annotations

import pytest

from tests.unit.oracle.builders import NODE, Case, endpoint, port, said, service, slice_of

BOTH = ("iptables", "nftables")
A, B = "10.180.0.1:80", "10.180.0.1:80, 10.180.2.1:80"

EXTERNAL = {
    "type": "LoadBalancer",
    "externalIPs": ["192.168.99.11"],
    "vips": ["1.2.3.4"],
    "ports": [port("p80", 80, node_port=3001)],
}
TWO = [endpoint("10.180.0.1", "other"), endpoint("10.180.2.1")]

NO_ENDPOINTS = Case([service(**EXTERNAL)], [])
CLUSTER_IP = Case(
    [
        service("ns1/svc1", "172.30.0.41"),
        service(
            "ns2/svc2",
            "172.30.0.42",
            ports=[
                port("http", 80),
                port("https", 443),
                port("dns-tcp", 53),
                port("dns-udp", 53, "UDP"),
                port("dns-sctp", 53, "SCTP"),
            ],
        ),
    ],
    [
        slice_of("ns1/svc1", [endpoint("10.180.0.1")]),
        slice_of(
            "ns2/svc2",
            [endpoint("10.180.0.1"), endpoint("10.180.2.1", "other")],
            ("http", "TCP", 80),
            ("https", "TCP", 8443),
            ("dns-tcp", "TCP", 5353),
            ("dns-udp", "UDP", 53),
            ("dns-sctp", "SCTP", 53),
        ),
    ],
)
BALANCED = Case(
    [
        service(
            **EXTERNAL
            | {
                "vips": ["1.2.3.4", "5.6.7.8"],
                "loadBalancerSourceRanges": ["192.168.0.0/24", "203.0.113.0/25"],
            }
        )
    ],
    [slice_of("ns1/svc1", [endpoint("10.180.0.1")])],
)
HEALTH = Case(
    [service(**EXTERNAL, externalTrafficPolicy="Local", healthCheckNodePort=30000)],
    [slice_of("ns1/svc1", TWO)],
)
HEALTH_GONE = Case([service(**EXTERNAL)], [slice_of("ns1/svc1", TWO)])
ETP_LOCAL = Case([service(**EXTERNAL, externalTrafficPolicy="Local")], [slice_of("ns1/svc1", TWO)])
ETP_CLUSTER = Case(
    [service(**EXTERNAL, externalTrafficPolicy="Cluster")], [slice_of("ns1/svc1", TWO)]
)


def internal(policy: str, *where: str) -> Case:
    endpoints = [endpoint(f"10.0.1.{i}", w) for i, w in enumerate(where, 1)]
    return Case(
        [service(ip="172.30.1.1", internalTrafficPolicy=policy)],
        [slice_of("ns1/svc1", endpoints)] if endpoints else [],
    )


def terminating(policy: str, *states: str) -> Case:
    """Endpoints 10.0.1.1, .2 …, one a state; the last one is on another node."""
    conditions = {
        "ready": {"ready": True, "serving": True, "terminating": False},
        "serving": {"ready": False, "serving": True, "terminating": True},
        "gone": {"ready": False, "serving": False, "terminating": True},
    }
    endpoints = []
    for entry in states:
        number, state, where = entry.split()
        on = NODE if where == "here" else "other"
        endpoints.append(endpoint(f"10.0.1.{number}", on, **conditions[state]))
    return Case(
        [
            service(
                ip="172.30.1.1", type="LoadBalancer", vips=["1.2.3.4"], externalTrafficPolicy=policy
            )
        ],
        [slice_of("ns1/svc1", endpoints)] if endpoints else [],
    )


READY = ("1 ready here", "2 ready here", "3 serving here", "4 gone here", "5 ready there")
LOCAL_TERMINATING = (
    "1 gone here",
    "2 serving here",
    "3 serving here",
    "4 gone here",
    "5 ready there",
)
ALL_TERMINATING = ("1 gone here", "2 serving here", "3 serving here", "5 serving there")
REMOTE_READY = ("1 gone here", "2 gone here", "5 ready there")
REMOTE_SERVING = ("1 gone here", "2 gone here", "5 serving there")
NOTHING = ("1 gone here", "2 gone here", "5 gone there")

POD, OUT, BAD, CLIENT = "10.0.0.2", "203.0.113.2", "203.0.113.130", "10.180.0.2"
IP_1, IP_2, IP_T = "172.30.0.41", "172.30.0.42", "172.30.1.1"

#: number in the catalogue, world, packet, result (or one for each mode)
ROWS: list[tuple[int, Case, str, str | tuple[str, str]]] = [
    (1, NO_ENDPOINTS, f"tcp {POD} -> {IP_1}:80", "REJECT"),
    (2, NO_ENDPOINTS, f"tcp {OUT} -> 192.168.99.11:80", "REJECT"),
    (3, NO_ENDPOINTS, f"tcp {POD} -> 192.168.0.2:3001", "REJECT"),
    (4, NO_ENDPOINTS, f"tcp {OUT} -> 192.168.0.2:3001", "REJECT"),
    (5, NO_ENDPOINTS, f"tcp {POD} -> 1.2.3.4:80", "REJECT"),
    (6, NO_ENDPOINTS, f"tcp {OUT} -> 1.2.3.4:80", "REJECT"),
    (7, CLUSTER_IP, f"tcp {CLIENT} -> {IP_1}:80", A),
    (8, CLUSTER_IP, f"tcp 10.180.0.1 -> {IP_1}:80", f"{A} M"),
    (9, CLUSTER_IP, f"tcp {CLIENT} -> {IP_2}:80", B),
    (10, CLUSTER_IP, f"tcp {CLIENT} -> {IP_2}:443", "10.180.0.1:8443, 10.180.2.1:8443"),
    (11, CLUSTER_IP, f"tcp {CLIENT} -> {IP_2}:53", "10.180.0.1:5353, 10.180.2.1:5353"),
    (12, CLUSTER_IP, f"udp {CLIENT} -> {IP_2}:53", "10.180.0.1:53, 10.180.2.1:53"),
    (13, CLUSTER_IP, f"sctp {CLIENT} -> {IP_2}:53", "10.180.0.1:53, 10.180.2.1:53"),
    (14, CLUSTER_IP, f"udp {CLIENT} -> {IP_2}:80", ("no match", "REJECT")),
    (15, CLUSTER_IP, f"tcp {CLIENT} -> {IP_1}:443", ("no match", "REJECT")),
    (16, BALANCED, f"tcp {POD} -> {IP_1}:80", A),
    (17, BALANCED, f"tcp {OUT} -> 192.168.0.2:3001", f"{A} M"),
    (18, BALANCED, f"tcp {BAD} -> 192.168.0.2:3001", f"{A} M"),
    (19, BALANCED, f"tcp {OUT} -> 1.2.3.4:80", f"{A} M"),
    (20, BALANCED, f"tcp {OUT} -> 5.6.7.8:80", f"{A} M"),
    (21, BALANCED, f"tcp {BAD} -> 1.2.3.4:80", "DROP"),
    (22, BALANCED, f"tcp {BAD} -> 5.6.7.8:80", "DROP"),
    (23, BALANCED, f"tcp {POD} -> 1.2.3.4:80", "DROP"),
    (24, BALANCED, f"tcp {POD} -> 5.6.7.8:80", "DROP"),
    (25, BALANCED, "tcp 192.168.0.2 -> 1.2.3.4:80", f"{A} M"),
    (26, BALANCED, "tcp 192.168.0.2 -> 5.6.7.8:80", f"{A} M"),
    (27, BALANCED, "tcp 1.2.3.4 -> 1.2.3.4:80", f"{A} M"),
    (28, BALANCED, "tcp 5.6.7.8 -> 5.6.7.8:80", f"{A} M"),
    (29, HEALTH, "tcp 1.2.3.4 -> 192.168.0.2:30000", "ACCEPT"),
    (30, HEALTH_GONE, "tcp 1.2.3.4 -> 192.168.0.2:30000", "no match"),
    (31, ETP_LOCAL, f"tcp {POD} -> {IP_1}:80", B),
    (32, ETP_LOCAL, f"tcp {POD} -> 192.168.99.11:80", B),
    (33, ETP_LOCAL, f"tcp {OUT} -> 192.168.99.11:80", "10.180.2.1:80"),
    (34, ETP_LOCAL, f"tcp {POD} -> 1.2.3.4:80", B),
    (35, ETP_LOCAL, f"tcp {OUT} -> 1.2.3.4:80", "10.180.2.1:80"),
    (36, ETP_LOCAL, f"tcp {POD} -> 192.168.0.2:3001", B),
    (37, ETP_LOCAL, f"tcp {OUT} -> 192.168.0.2:3001", "10.180.2.1:80"),
    (38, ETP_CLUSTER, f"tcp {POD} -> {IP_1}:80", B),
    (39, ETP_CLUSTER, f"tcp {POD} -> 192.168.99.11:80", f"{B} M"),
    (40, ETP_CLUSTER, f"tcp {OUT} -> 192.168.99.11:80", f"{B} M"),
    (41, ETP_CLUSTER, f"tcp {POD} -> 1.2.3.4:80", f"{B} M"),
    (42, ETP_CLUSTER, f"tcp {OUT} -> 1.2.3.4:80", f"{B} M"),
    (43, ETP_CLUSTER, f"tcp {POD} -> 192.168.0.2:3001", f"{B} M"),
    (44, ETP_CLUSTER, f"tcp {OUT} -> 192.168.0.2:3001", f"{B} M"),
    (
        45,
        internal("Cluster", NODE, "host1", "host2"),
        f"tcp {POD} -> {IP_T}:80",
        "10.0.1.1:80, 10.0.1.2:80, 10.0.1.3:80",
    ),
    (46, internal("Cluster"), f"tcp {POD} -> {IP_T}:80", "REJECT"),
    (47, internal("Local", NODE, "host1", "host2"), f"tcp {POD} -> {IP_T}:80", "10.0.1.1:80"),
    (48, internal("Local"), f"tcp {POD} -> {IP_T}:80", "REJECT"),
    (
        49,
        internal("Local", NODE, NODE, "host2"),
        f"tcp {POD} -> {IP_T}:80",
        "10.0.1.1:80, 10.0.1.2:80",
    ),
    (50, internal("Local"), f"tcp {POD} -> {IP_T}:80", "REJECT"),
    (51, internal("Local", "host0", "host1"), f"tcp {POD} -> {IP_T}:80", "DROP"),
    (52, internal("Local"), f"tcp {POD} -> {IP_T}:80", "REJECT"),
]

#: first number of four rows, policy, endpoints, Pod → ClusterIP, external → LB
TERMINATING = [
    (53, "Local", READY, "1 2 5", "1 2"),
    (57, "Local", LOCAL_TERMINATING, "5", "2 3"),
    (61, "Local", REMOTE_READY, "5", "DROP"),
    (61, "Local", REMOTE_SERVING, "5", "DROP"),
    (65, "Local", NOTHING, "REJECT", "REJECT"),
    (69, "Cluster", READY, "1 2 5", "1 2 5 M"),
    (73, "Cluster", ALL_TERMINATING, "2 3 5", "2 3 5 M"),
    (77, "Cluster", REMOTE_READY, "5", "5 M"),
    (77, "Cluster", REMOTE_SERVING, "5", "5 M"),
    (81, "Cluster", NOTHING, "REJECT", "REJECT"),
]


def spelled(short: str) -> str:
    if not short[0].isdigit():
        return short
    names = ", ".join(f"10.0.1.{number}:80" for number in short.removesuffix(" M").split())
    return names + (" M" if short.endswith("M") else "")


for first, policy, states, inside, outside in TERMINATING:
    full, empty = terminating(policy, *states), terminating(policy)
    ROWS += [
        (first, full, f"tcp {POD} -> {IP_T}:80", spelled(inside)),
        (first + 1, full, f"tcp {OUT} -> 1.2.3.4:80", spelled(outside)),
        (first + 2, empty, f"tcp {POD} -> {IP_T}:80", "REJECT"),
        (first + 3, empty, f"tcp {OUT} -> 1.2.3.4:80", "REJECT"),
    ]
ROWS.append((85, CLUSTER_IP, f"tcp {CLIENT} -> 172.30.0.50:80", ("no match", "DROP")))


def test_every_row_of_the_catalogue_is_here() -> None:
    assert {number for number, *_ in ROWS} == set(range(1, 86))


@pytest.mark.parametrize("mode", BOTH)
@pytest.mark.parametrize(
    ("case", "packet", "result"), [r[1:] for r in ROWS], ids=[f"{r[0]}-{r[2]}" for r in ROWS]
)
def test_flow_ends_as_in_the_table(
    mode: str, case: Case, packet: str, result: str | tuple[str, str]
) -> None:
    expected = result if isinstance(result, str) else result[BOTH.index(mode)]
    assert said(case.ask(mode, packet)) == expected
