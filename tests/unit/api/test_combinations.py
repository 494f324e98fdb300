"""Random combinations of the fields of every network kind, good and bad ones together.

What holds for any of them: the same answer twice, a dry run's answer is the real one's apart from
what is allocated, defaults are set once, and writing a stored object again changes nothing.
"""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.service_fields import spec_of
from testbed.api.status import StatusError
from testbed.api.strategies import STRATEGIES

from .rules import KUBERNETES, RESOURCE_OF, TAKEN, VERSION_OF

ROUNDS = 250
GROUPS = {"EndpointSlice": "discovery.k8s.io", "Deployment": "apps", "Ingress": "networking.k8s.io"}
#: What a dry run doesn't see: which addresses are taken, and the range of node ports.
UNSEEN = ("provided IP is already allocated", "The range of valid ports is")
ALLOCATED = ("clusterIP", "clusterIPs", "healthCheckNodePort", "nodePort")

#: Good values; a bad one stands in for them now and then.
NAMES = ["a", "b", "http"]
BAD_NAMES = ["A_b", "a.b", "x" * 64, ""]
ADDRESSES = ["10.96.7.7", "fd00:10:96::77"]
BAD_ADDRESSES = ["10.96.0.1", "192.0.2.1", "::1", "010.0.0.1", "foo", ""]
PORTS = [80, 81, 443, 8080]
BAD_PORTS = [0, 70000]
BAD = 0.05
TYPES = ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", ""]
RANGES = (["10.0.0.0/8"], ["10.0.0.1/8", "x"])
DISTRIBUTIONS = (["PreferClose", "PreferSameNode"], ["Near"])


class Dice:
    """Random choices, most of them good."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *values: Any) -> Any:
        return self.random.choice(values)

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def mostly(self, good: Sequence[Any], bad: Sequence[Any]) -> Any:
        return self.random.choice(bad if self.chance(BAD) else good)

    def name(self) -> Any:
        return self.mostly(NAMES, BAD_NAMES)

    def address(self) -> Any:
        return self.mostly(ADDRESSES, BAD_ADDRESSES)

    def port(self) -> Any:
        return self.mostly(PORTS, BAD_PORTS)

    def some(self, fields: dict[str, Callable[[], Any]], share: float = 0.2) -> Document:
        return {name: make() for name, make in fields.items() if self.chance(share)}

    def listed(self, make: Callable[[], Any], most: int = 3) -> list[Any]:
        return [make() for _ in range(self.random.randrange(most + 1))]

    def service(self) -> Document:
        one = self.one
        families = [["IPv4"], ["IPv6"], ["IPv4", "IPv6"], ["IPv6", "IPv4"]]
        address = one(self.address(), "None")
        spec = {
            "type": self.mostly(
                ["ClusterIP", "NodePort", "LoadBalancer", "ExternalName", ""], ["Foo"]
            ),
            "ports": self.listed(self.service_port),
            "selector": self.mostly([{"app": "web"}, None], [{"a b": "c d"}]),
        }
        spec |= self.some(
            {
                "clusterIP": lambda: address,
                "clusterIPs": lambda: [address, *self.listed(lambda: self.address(), 2)],
                "ipFamilies": lambda: self.mostly(families, [["IPv4", "IPv4"], ["IPv5"]]),
                "ipFamilyPolicy": lambda: one("SingleStack", "PreferDualStack", "RequireDualStack"),
                "externalName": lambda: self.mostly(["a.b", "a.b."], ["A_b"]),
                "externalIPs": lambda: self.listed(lambda: self.address()),
                "externalTrafficPolicy": lambda: self.mostly(["Local", "Cluster"], ["local"]),
                "internalTrafficPolicy": lambda: self.mostly(["Local", "Cluster"], ["Node"]),
                "healthCheckNodePort": lambda: self.mostly([30500, 30501], [80]),
                "allocateLoadBalancerNodePorts": lambda: one(True, False),
                "loadBalancerClass": lambda: self.mostly(["a/b"], ["a b"]),
                "loadBalancerSourceRanges": lambda: [
                    self.mostly(["10.0.0.0/8"], ["10.0.0.1/8", "x"])
                ],
                "sessionAffinity": lambda: self.mostly(["ClientIP", "None"], ["Cookie"]),
                "sessionAffinityConfig": lambda: {"clientIP": {"timeoutSeconds": one(0, 60)}},
                "trafficDistribution": lambda: self.mostly(
                    ["PreferClose", "PreferSameNode"], ["Near"]
                ),
                "publishNotReadyAddresses": lambda: True,
            },
            share=0.12,
        )
        return {"spec": spec}

    def service_port(self) -> Document:
        port = {"name": self.name(), "port": self.port()}
        return port | self.some(
            {
                "protocol": lambda: self.mostly(["TCP", "UDP", "SCTP"], ["tcp"]),
                "targetPort": lambda: self.mostly([0, 8080, "http"], ["UPPER", "a--b"]),
                "nodePort": lambda: self.mostly([30100, 30101], [30081, 80]),
                "appProtocol": lambda: self.mostly(["http"], ["a b"]),
            }
        )

    def endpoint_slice(self) -> Document:
        one = self.one
        return {
            "addressType": self.mostly(["IPv4", "IPv6", "FQDN"], ["IP"]),
            "ports": self.listed(
                lambda: self.some({"name": lambda: self.name(), "port": lambda: self.port()}, 0.7)
            ),
            "endpoints": self.listed(
                lambda: (
                    {"addresses": self.listed(lambda: one("10.0.0.1", "fd00::1", "a.b", "foo"))}
                    | self.some(
                        {
                            "hostname": lambda: self.name(),
                            "nodeName": lambda: self.name(),
                            "hints": lambda: {"forZones": [{"name": self.name()}]},
                            "conditions": lambda: {"ready": one(True, False)},
                        }
                    )
                )
            ),
        }

    def pod(self) -> Document:
        return {"spec": self.pod_spec()}

    def pod_spec(self) -> Document:
        one = self.one
        spec: Document = {"containers": self.listed(self.container, 2)}
        return spec | self.some(
            {
                "restartPolicy": lambda: self.mostly(["Always", "Never"], ["Sometimes"]),
                "dnsPolicy": lambda: self.mostly(["Default", "None"], ["Foo"]),
                "dnsConfig": lambda: {"nameservers": self.listed(lambda: self.address(), 4)},
                "hostNetwork": lambda: one(True, False),
                "hostname": lambda: self.name(),
                "subdomain": lambda: self.name(),
                "initContainers": lambda: self.listed(self.container, 1),
                "terminationGracePeriodSeconds": lambda: one(-1, 0, 30),
                "hostAliases": lambda: [{"ip": self.address()}],
            }
        )

    def container(self) -> Document:
        one = self.one
        container = {
            "name": self.mostly(["c", "d"], ["C"]),
            "image": self.mostly(["x", "x:latest"], [""]),
        }
        probe = {
            "httpGet": {"port": self.mostly([80, "http"], [0])},
            "periodSeconds": self.mostly([0, 5], [-1]),
        }
        return container | self.some(
            {
                "ports": lambda: self.listed(self.container_port),
                "readinessProbe": lambda: one(probe, {}),
                "livenessProbe": lambda: one(probe, {"tcpSocket": {"port": 80}}),
                "resources": lambda: {"limits": {"cpu": self.mostly(["1", "1500m"], ["-1"])}},
                "restartPolicy": lambda: self.mostly(["Always"], ["Foo"]),
            },
            share=0.4,
        )

    def container_port(self) -> Document:
        port = {"containerPort": self.port()}
        return port | self.some(
            {
                "name": lambda: self.name(),
                "hostPort": lambda: self.mostly([80, 8080], [70000]),
                "protocol": lambda: self.mostly(["TCP", "UDP"], ["x"]),
            }
        )

    def deployment(self) -> Document:
        labels = self.mostly([{"a": "b"}], [{}])
        template = {"metadata": {"labels": labels}, "spec": self.pod_spec()}
        good, bad = [1, 2, "25%"], [0, "200%", "x"]
        rolling = {"maxSurge": self.mostly(good, bad), "maxUnavailable": self.mostly(good, bad)}
        strategy = {
            "type": self.mostly(["Recreate", "RollingUpdate"], ["Canary"]),
            "rollingUpdate": rolling,
        }
        spec = {
            "selector": {"matchLabels": {"a": self.mostly(["b"], ["b c"])}},
            "template": template,
        }
        return {"spec": spec | self.some({"strategy": lambda: strategy, "replicas": lambda: -1})}

    def ingress(self) -> Document:
        return {
            "spec": {"rules": self.listed(self.ingress_rule)}
            | self.some({"defaultBackend": self.backend, "ingressClassName": lambda: "nginx"})
        }

    def ingress_rule(self) -> Document:
        path = {
            "path": self.mostly(["/"], ["relative", "/a/../b"]),
            "pathType": self.mostly(["Prefix", "Exact", "ImplementationSpecific"], ["Foo"]),
            "backend": self.backend(),
        }
        hosts = ("", "a.example.com", "*.example.com", "a.*.com", "192.0.2.1")
        return {
            "host": self.mostly(hosts[:3], hosts[3:]),
            "http": {"paths": [path] if self.chance(0.9) else []},
        }

    def backend(self) -> Document:
        port = self.mostly([{"number": 80}, {"name": "http"}], [{}, {"number": 70000}])
        return {"service": {"name": self.mostly(["web"], ["A_b", ""]), "port": port}}


def object_of(kind: str, dice: Dice) -> Document:
    make = {
        "Service": dice.service,
        "EndpointSlice": dice.endpoint_slice,
        "Pod": dice.pod,
        "Deployment": dice.deployment,
        "Ingress": dice.ingress,
    }[kind]
    labels = dice.one({}, {"app": "web"}, {"a b": "c"}) if dice.chance(0.2) else {}
    meta = {"name": dice.mostly(["web"], ["Web"]), "labels": labels}
    return {"apiVersion": VERSION_OF[kind], "kind": kind, "metadata": meta, **make()}


def admission() -> Admission:
    made = Admission(rng=random.Random(3))
    made.restore([KUBERNETES, TAKEN])
    return made


def ask(given: Document, *, dry_run: bool = False) -> tuple[Document | None, Document]:
    """The stored object or None, and the Status of a refusal or the stored object."""
    resource = RESOURCE_OF[given["kind"]]
    try:
        stored = admission().create(
            resource, copy.deepcopy(given), namespace="default", dry_run=dry_run
        )
    except StatusError as refused:
        return None, refused.document()
    return stored.document, stored.document


def without_allocations(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_allocations(v) for k, v in value.items() if k not in ALLOCATED}
    if isinstance(value, list):
        return [without_allocations(item) for item in value]
    return re.sub(r"\b3\d{4}\b", "<port>", value) if isinstance(value, str) else value


KINDS = ["Service", "EndpointSlice", "Pod", "Deployment", "Ingress"]


def samples(kind: str) -> list[Document]:
    dice = Dice(KINDS.index(kind))
    return [object_of(kind, dice) for _ in range(ROUNDS)]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_question_has_the_same_answer(kind: str) -> None:
    answers = [ask(given) for given in samples(kind)]
    assert answers == [ask(given) for given in samples(kind)]
    accepted = [stored for stored, _ in answers if stored is not None]
    assert ROUNDS // 20 < len(accepted) < ROUNDS


@pytest.mark.parametrize("kind", KINDS)
def test_a_dry_run_answers_as_the_real_write(kind: str) -> None:
    for given in samples(kind):
        stored, answer = ask(given)
        if stored is None and any(words in answer["message"] for words in UNSEEN):
            continue
        _, dry = ask(given, dry_run=True)
        assert without_allocations(dry) == without_allocations(answer), given


@pytest.mark.parametrize("kind", KINDS)
def test_defaults_are_set_once(kind: str) -> None:
    defaults = STRATEGIES[GROUPS.get(kind, ""), RESOURCE_OF[kind]].defaults
    for given in samples(kind):
        stored, _ = ask(given)
        if stored is None:
            continue
        again = copy.deepcopy(stored)
        defaults(again)
        assert again == stored


@pytest.mark.parametrize("kind", KINDS)
def test_a_stored_object_can_be_written_again_without_a_change(kind: str) -> None:
    for given in samples(kind):
        made = admission()
        try:
            stored = made.create(RESOURCE_OF[kind], given, namespace="default").document
        except StatusError:
            continue
        held = made.addresses.held(), made.ports.held()
        again = made.update(RESOURCE_OF[kind], copy.deepcopy(stored), stored).document
        assert again == stored, given
        assert (made.addresses.held(), made.ports.held()) == held


def test_a_services_own_manifest_can_be_written_again() -> None:
    for given in samples("Service"):
        made = admission()
        try:
            stored = made.create("services", copy.deepcopy(given), namespace="default").document
        except StatusError:
            continue
        if 0 < len(given["spec"].get("ipFamilies", ())) < len(stored["spec"].get("ipFamilies", ())):
            # Names one family, has two: to the API server, that asks for the second to go.
            with pytest.raises(StatusError, match="to release the secondary IP family"):
                made.update("services", copy.deepcopy(given), stored)
            continue
        again = made.update("services", copy.deepcopy(given), stored).document
        if shares_a_port(given):
            again, stored = without_allocations(again), without_allocations(stored)
        assert again == stored, given


def shares_a_port(service: Document) -> bool:
    """Of two entries with one `port`, one asks for the node port: a rewrite moves the other."""
    ports = service["spec"]["ports"]
    numbers = [port.get("port") for port in ports]
    return len(set(numbers)) < len(numbers) and any("nodePort" in port for port in ports)


def test_a_refused_service_holds_nothing() -> None:
    for given in samples("Service"):
        made = admission()
        before = made.addresses.held(), made.ports.held()
        try:
            stored = made.create("services", copy.deepcopy(given), namespace="default").document
        except StatusError:
            assert (made.addresses.held(), made.ports.held()) == before
            continue
        made.released("services", stored)
        assert (made.addresses.held(), made.ports.held()) == before


def test_any_change_of_a_service_keeps_what_is_held_in_step() -> None:
    dice = Dice(99)
    made = admission()
    before = made.addresses.held(), made.ports.held()
    stored: Document | None = None
    for _ in range(4 * ROUNDS):
        new = object_of("Service", dice)
        new["metadata"]["name"] = "web"
        try:
            if stored is None:
                stored = made.create("services", new, namespace="default").document
            else:
                stored = made.update("services", new, stored).document
        except StatusError:
            continue
        addresses = [a for a in spec_of(stored).get("clusterIPs", ()) if a != "None"]
        assert {str(a) for a in made.addresses.held() - before[0]} == set(addresses)
        ports = {p["nodePort"] for p in spec_of(stored).get("ports", ()) if p.get("nodePort")}
        ports |= {spec_of(stored).get("healthCheckNodePort", 0)} - {0}
        assert made.ports.held() - before[1] == ports
