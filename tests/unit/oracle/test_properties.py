"""What holds for every flow in every world."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from testbed.flow.tuples import Flow
from testbed.oracle.expect import expect
from testbed.oracle.expectation import Expectation, Origin, Place, SourceKind, Verdict
from testbed.oracle.world import DetectLocal, Mode, Settings, World
from tests.unit.oracle.builders import endpoint, node, port, service, slice_of

NODES = [node(f"w{i}", f"172.18.0.1{i}", f"172.19.0.1{i}", zone="ab"[i % 2]) for i in (1, 2, 3)]
PODS = [f"10.244.{i}.{j}" for i in (1, 2, 3) for j in (5, 6)]

conditions = st.fixed_dictionaries(
    {}, optional={c: st.booleans() for c in ("ready", "serving", "terminating")}
)
hints = st.sampled_from(
    [
        None,
        {"forZones": [{"name": "a"}]},
        {"forNodes": [{"name": "w1"}], "forZones": [{"name": "b"}]},
    ]
)


@st.composite
def endpoints(draw: st.DrawFn) -> list[dict[str, Any]]:
    chosen = draw(st.lists(st.sampled_from(PODS), unique=True, max_size=5))
    return [
        endpoint(ip, f"w{ip.split('.')[2]}", **draw(conditions), hints=draw(hints)) for ip in chosen
    ]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    policy = st.sampled_from(["Cluster", "Local"])
    ranges = st.sampled_from([[], ["203.0.113.0/24"], ["10.244.0.0/16"], ["0.0.0.0/0"]])
    web = service(
        "default/web",
        "10.96.0.20",
        type="LoadBalancer",
        vips=["198.51.100.10"],
        externalIPs=["192.0.2.7"],
        externalTrafficPolicy=draw(policy),
        internalTrafficPolicy=draw(policy),
        loadBalancerSourceRanges=draw(ranges),
        healthCheckNodePort=32000,
        sessionAffinity=draw(st.sampled_from(["None", "ClientIP"])),
        ports=[port("http", 80, node_port=30080), port("dns", 53, "UDP", 30053)],
    )
    ends = draw(endpoints())
    return World(
        [web],
        [slice_of("default/web", ends, ("http", "TCP", 8080), ("dns", "UDP", 53))] if ends else [],
        NODES,
        (),
        Settings(
            mode=draw(st.sampled_from(list(Mode))),
            cluster_cidrs=("10.244.0.0/16",),
            service_cidrs=("10.96.0.0/16",),
            detect_local=draw(st.sampled_from(list(DetectLocal))),
            masquerade_all=draw(st.booleans()),
            nodeport_addresses=draw(st.sampled_from([(), ("primary",), ("172.19.0.0/24",)])),
            localhost_nodeports=draw(st.booleans()),
            pods_masqueraded=draw(st.booleans()),
        ),
    )


@st.composite
def questions(draw: st.DrawFn) -> tuple[Origin, Flow]:
    where = draw(st.sampled_from(["w1", "w2", "w3"]))
    place = draw(st.sampled_from(list(Place)))
    addresses = ["10.96.0.20", "10.96.0.99", "198.51.100.10", "192.0.2.7", "9.9.9.9", *PODS[:2]]
    addresses += [a for n in NODES for _, a in n.addresses]
    dst = draw(st.sampled_from([*addresses, "127.0.0.1"]))
    src = {
        Place.POD: f"10.244.{where[1]}.{draw(st.sampled_from([5, 6]))}",
        Place.NODE: f"172.18.0.1{where[1]}",
        Place.OUTSIDE: draw(st.sampled_from(["203.0.113.2", "198.18.0.1", "172.18.0.99"])),
    }[place]
    if dst == "127.0.0.1":
        place, src = Place.NODE, dst
    dport = draw(st.sampled_from([80, 53, 81, 30080, 30053, 32000, 8080]))
    protocol = draw(st.sampled_from(["tcp", "udp", "sctp"]))
    return Origin(place, where), Flow(protocol, src, 0, dst, dport)


@settings(max_examples=400, deadline=None)
@given(worlds(), questions())
def test_expectation_is_whole(world: World, question: tuple[Origin, Flow]) -> None:
    origin, flow = question
    said = expect(world, origin, flow)
    assert said == expect(world, origin, flow)
    assert said.reason
    assert said.node in said.entered
    assert said.entered[0] == origin.node
    if said.verdict is Verdict.DELIVERED:
        assert math.isclose(sum(b.probability for b in said.backends), 1)
        assert said.service
        assert said.front_end
        assert said.source_reason
        check_backends(world, said, flow)
    elif said.verdict is not Verdict.ROUTED:
        assert not said.backends


def check_backends(world: World, said: Expectation, flow: Flow) -> None:
    """Every backend is an endpoint that could serve, and sees the client or a node."""
    assert len({b.address for b in said.backends}) == len(said.backends)
    listed = {e.addresses[0]: e for piece in world.slices for e in piece.endpoints}
    anyone_ready = any(e.ready is not False for e in listed.values())
    for backend in said.backends:
        found = listed[backend.ip]
        still_serves = found.serving is not False and bool(found.terminating)
        assert found.ready is not False or still_serves
        if found.ready is False and anyone_ready:
            assert backend.node == said.node
        assert backend.node == found.node_name
        if backend.source.kind is SourceKind.UNCHANGED:
            assert backend.source.address == flow.source
            assert backend.ip != flow.source or said.node != backend.node
        else:
            assert backend.source.address in world.addresses[backend.source.node]


@settings(deadline=None)
@given(worlds(), questions())
def test_expectation_reads_back_from_json(world: World, question: tuple[Origin, Flow]) -> None:
    said = expect(world, *question)
    document = said.as_json()
    assert document["verdict"] == said.verdict.value
    assert [b["ip"] for b in document["backends"]] == [b.ip for b in said.backends]
