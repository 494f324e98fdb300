"""A node between Pods and the world outside, with the addresses of upstream's flow tables.

    pods ─────────── node ─────────── outside
    10.0.0.0/8       192.168.0.2      everything else
    fd00:10::/64     192.168.1.2      (its default route)

Packets are sent with any source address, and nobody answers in `pods` and `outside`: what became of
a packet is read off the frames that arrive there, and off the node's own answers.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from testbed.api.documents import Document
from testbed.api.objects import EndpointSlice, NamespacedName, Node, Service
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import End, NamespaceSpec, Plan, Route, Veth
from testbed.flow import Flow
from testbed.flow.sightings import Sighting, sighting_of
from testbed.flow.tuples import endpoint
from testbed.probe import packets
from testbed.probe.capture import Capture
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.proxier import Proxier
from tests.flow_tables import SERVICE_CIDRS

#: New flows that are sent where several endpoints are expected: one of three is missed in 10^10;
#: and where one is: it would be hit by chance each time once in 1,000 runs.
SEVERAL, ONE = 60, 10
#: An expected packet is waited for as long, an unexpected one after the fence has come (seconds).
PATIENCE, QUIET = 5.0, 0.02
_RST = 0x04

NODE = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "w1"},
    "spec": {"podCIDRs": ["10.180.0.0/24"]},
    "status": {
        "addresses": [
            {"type": "InternalIP", "address": address}
            for address in ("192.168.0.2", "192.168.1.2", "fd00:20::2", "fd00:21::2")
        ]
    },
}
PLAN = Plan(
    namespaces=(
        NamespaceSpec("pods"),
        NamespaceSpec("node", forwarding=True),
        NamespaceSpec("outside"),
    ),
    veths=(
        Veth(
            End("pods", "eth0", addresses=("10.255.255.2/30", "fd00:10::ff:2/126")),
            End("node", "pods0", addresses=("10.255.255.1/30", "fd00:10::ff:1/126")),
        ),
        Veth(
            End(
                "node",
                "eth0",
                addresses=("192.168.0.2/24", "192.168.1.2/24", "fd00:20::2/64", "fd00:21::2/64"),
            ),
            End("outside", "eth0", addresses=("192.168.0.1/24", "fd00:20::1/64")),
        ),
    ),
    routes=(
        Route("pods", "0.0.0.0/0", via="10.255.255.1"),
        Route("pods", "::/0", via="fd00:10::ff:1"),
        Route("node", "10.0.0.0/8", via="10.255.255.2"),
        Route("node", "fd00:10::/64", via="fd00:10::ff:2"),
        Route("node", "0.0.0.0/0", via="192.168.0.1"),
        Route("node", "::/0", via="fd00:20::1"),
        Route("outside", "0.0.0.0/0", via="192.168.0.2"),
        Route("outside", "::/0", via="fd00:20::2"),
    ),
)


@dataclass
class Fate:
    """What was seen of the packets of one row."""

    endpoints: set[str] = field(default_factory=set)
    sources: set[str] = field(default_factory=set)
    rejected: bool = False
    #: It went on untranslated, or the node itself took it: no rule of a Service had a say.
    passed: bool = False

    def told(self, source: str) -> str:
        """As the flow tables write it."""
        if self.endpoints:
            assert not self.rejected, self
            assert not self.passed, self
            assert len({each == source for each in self.sources}) == 1, self
            masqueraded = " M" if source not in self.sources else ""
            return ", ".join(sorted(self.endpoints)) + masqueraded
        if self.rejected:
            return "REJECT"
        return "no match" if self.passed else "DROP"


class FlowWorld:
    """The namespaces, a proxy on the node, and a capture of all of it."""

    def __init__(self, name: str, config: KubeProxyConfiguration) -> None:
        self._fabric = Fabric(name)
        self._ports = itertools.count(20000)
        try:
            self._fabric.deploy(PLAN)
            self.node = self._fabric.namespace("node")
            self._proxy = Proxier("w1", self.node, config, SERVICE_CIDRS)
            self._proxy.set_node(Node.from_document(NODE))
            self._objects: list[Document] = []
            self._capture = Capture(self._fabric.namespaces())
        except BaseException:
            self._fabric.close()
            raise

    def close(self) -> None:
        self._capture.close()
        self._proxy.close()
        self._fabric.close()

    def set_objects(self, docs: list[Document]) -> None:
        """Have the proxy work for these objects and no others."""
        for old in self._objects:
            self._set(old, None)
        for new in docs:
            self._set(new, new)
        self._objects = docs
        self._proxy.sync()
        assert not self._proxy.problems

    def _set(self, which: Document, to: Document | None) -> None:
        key = NamespacedName(which["metadata"]["namespace"], which["metadata"]["name"])
        if which["kind"] == "Service":
            self._proxy.set_service(key, Service.from_document(to) if to else None)
        else:
            self._proxy.set_slice(key, EndpointSlice.from_document(to) if to else None)

    def send(
        self, sender: str, protocol: str, source: str, destination: str, port: int, expected: str
    ) -> str:
        """What becomes of such packets from namespace `sender`, as the tables write it.

        `expected` tells how many to send and how long to look; it doesn't change what is seen.
        """
        several, one = ", " in expected, ":" in expected
        count = SEVERAL if several else ONE if one else 1
        flows = [Flow(protocol, source, next(self._ports), destination, port) for _ in range(count)]
        self._capture.drain()
        packets.send(self._fabric.namespace(sender), [bytes(packets.build(flow)) for flow in flows])
        fate = Fate()
        deadline = time.monotonic() + PATIENCE
        while fate.told(source) != expected and time.monotonic() < deadline:
            self._read(fate, flows, sender)
            if expected == "DROP":
                break
        self._pass_fence(sender, ":" in destination, fate, flows)
        return fate.told(source)

    def _pass_fence(self, sender: str, six: bool, fate: Fate, flows: list[Flow]) -> None:
        """Send a packet that no Service knows, and see everything that comes until it has come."""
        goal = "fd00:10::fe:fe" if six else "10.254.254.254"
        source = {"pods": "10.254.0.1", "node": "192.168.0.2"}.get(sender, "203.0.113.99")
        if six:
            source = {"pods": "fd00:10::fe:1", "node": "fd00:20::2"}.get(sender, "2001:db8::99")
        fence = Flow("udp", source, next(self._ports), goal, 9)
        packets.send(self._fabric.namespace(sender), [bytes(packets.build(fence))])
        deadline = time.monotonic() + PATIENCE
        while not any(each.flow.destination == goal for each in self._read(fate, flows, sender)):
            assert time.monotonic() < deadline, f"the fence never came: {fate}"
        while self._read(fate, flows, sender, QUIET):
            pass

    def _read(
        self, fate: Fate, flows: list[Flow], sender: str, wait: float = 0.1
    ) -> list[Sighting]:
        """Take in what has been captured; those that arrived somewhere."""
        frames = self._capture.drain(wait)
        seen = [each for frame in frames if (each := sighting_of(frame)) is not None]
        arrived = [each for each in seen if each.direction == "in"]
        for each in arrived:
            _judge(fate, each, flows, sender)
        return arrived


def _judge(fate: Fate, seen: Sighting, flows: Iterable[Flow], sender: str) -> None:
    sent = {flow: flow.reversed() for flow in flows}
    flow, headers = seen.flow, seen.headers
    first = next(iter(sent))
    if headers.is_icmp_error and headers.inner in sent and seen.namespace == sender:
        assert headers.summary == "ICMP port unreachable", headers.summary
        fate.rejected = True
    elif seen.namespace == sender and flow in sent.values() and headers.tcp_flags & _RST:
        fate.passed = True  # the node's own kernel: nothing listens on that port
    elif seen.namespace == "outside" and flow in sent:
        fate.passed = True
    elif seen.namespace == "pods" and flow.protocol == first.protocol and not _is_reset(seen):
        if flow.destination_port == 9 and flow.protocol == "udp":
            return  # the fence
        fate.endpoints.add(endpoint(flow.destination, flow.destination_port))
        fate.sources.add(flow.source)


def _is_reset(seen: Sighting) -> bool:
    return bool(seen.headers.tcp_flags & _RST)
