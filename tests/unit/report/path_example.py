"""A Path with everything in it, for the reports' tests."""

from __future__ import annotations

from testbed.flow import (
    DELIVERED,
    ConntrackEntry,
    Flow,
    Frame,
    Hop,
    Nat,
    Path,
    Route,
    RuleHit,
    Verdict,
)

START = 1_700_000_000_000_000_000
SENT = Flow("tcp", "203.0.113.10", 40000, "198.51.100.10", 80)
ARRIVED = Flow("tcp", "172.18.0.11", 5000, "10.244.1.5", 8080)
RULE = RuleHit(
    "ip",
    "nat",
    "KUBE-SEP-A",
    7,
    "-j DNAT --to-destination 10.244.1.5:8080",
    "accept",
    meaning="1/3 → endpoint <10.244.1.5:8080>",
    element="198.51.100.10 . tcp . 80",
    tried=("-s 10.244.1.5/32 -j KUBE-MARK-MASQ",),
)
NATS = (
    Nat("DNAT", "198.51.100.10:80", "10.244.1.5:8080"),
    Nat("masquerade", "203.0.113.10:40000", "172.18.0.11:5000"),
)
UNDONE = tuple(Nat(nat.kind, nat.after, nat.before, undone=True) for nat in NATS)


def delivered() -> Path:
    back, home = ARRIVED.reversed(), SENT.reversed()
    entry = ConntrackEntry(SENT, back, ("DST_NAT",), "ESTABLISHED")
    route = Route("unicast", "veth0")
    return Path(
        "client",
        SENT,
        START,
        "TCP SYN",
        Verdict(DELIVERED, "web-0", answer="TCP SYN ACK"),
        (
            Hop("client", "", "eth0", SENT, SENT, 0, 0),
            Hop(
                "w1", "eth0", "veth0", SENT, ARRIVED, 9, 30, ("eth0", "cni0", "veth0"), NATS,
                (RULE,), route, entry,
            ),
            Hop("web-0", "eth0", "", ARRIVED, ARRIVED, 31, 31),
        ),
        (
            Hop("web-0", "", "eth0", back, back, 50, 50),
            Hop("w1", "veth0", "eth0", back, home, 51, 60, nat=UNDONE),
            Hop("client", "eth0", "", home, home, 61, 61),
        ),
        "TCP SYN ACK",
        "web-0",
        ARRIVED,
        '{"pod": "web-0"}',
        61,
        request="tcp://198.51.100.10:80",
    )  # fmt: skip


def frames() -> tuple[Frame, ...]:
    data = b"\x02" * 12 + b"\x08\x00" + b"\x45" + b"\0" * 39
    places = (("client", "eth0", "out", 0), ("w1", "eth0", "in", 9), ("w1", "veth0", "out", 30))
    return tuple(
        Frame(START + time, namespace, interface, direction, data, length=len(data))
        for namespace, interface, direction, time in places
    )
