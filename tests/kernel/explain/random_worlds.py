"""Random clusters as objects: nodes in two zones, Pods, Services and slices of every kind."""

from __future__ import annotations

import random
from typing import Any

from testbed.api.documents import Document
from tests.random_services import with_policies

NODES = ("w1", "w2", "w3")
FAMILIES = ("IPv4", "IPv6")
V1 = "v1"


class Dice:
    """One world's chances."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def some(self, *values: Any) -> Any:
        """One of `values`."""
        return self._dice.choice(values)

    def world(self) -> list[Document]:
        """All objects of a world."""
        pods = [self.pod(node, number) for node in NODES for number in (5, 6, 7)]
        host = [self.host_pod(node) for node in NODES if self.some(True, False)]
        services = [self.service(i) for i in range(1, 5)]
        pieces = [s for i in range(1, 5) for s in self.slices(i, pods + host)]
        return [*map(self.node, NODES), *pods, *host, *services, *pieces]

    def node(self, name: str) -> Document:
        i = name[1]
        addresses = [f"172.18.0.1{i}", f"fd00:172:18::1{i}"]
        return {
            "apiVersion": V1,
            "kind": "Node",
            "metadata": {
                "name": name,
                "labels": {"topology.kubernetes.io/zone": self.some("a", "b")},
            },
            "spec": {"podCIDRs": [f"10.244.{i}.0/24", f"fd00:10:244:{i}::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": a} for a in addresses]},
        }

    def pod(self, node: str, number: int) -> Document:
        ips = [f"10.244.{node[1]}.{number}", f"fd00:10:244:{node[1]}::{number}"]
        return _pod(f"p{node[1]}{number}", node, ips, {})

    def host_pod(self, node: str) -> Document:
        ips = [f"172.18.0.1{node[1]}", f"fd00:172:18::1{node[1]}"]
        return _pod(f"h{node[1]}", node, ips, {"hostNetwork": True})

    def service(self, i: int) -> Document:
        families = self.some(["IPv4"], ["IPv6"], ["IPv4", "IPv6"])
        ips = {"IPv4": f"10.96.1.{i}", "IPv6": f"fd00:10:96::1{i}"}
        kind = self.some("ClusterIP", "NodePort", "LoadBalancer")
        ports: list[dict[str, Any]] = [{"name": "http", "port": 80, "protocol": "TCP"}]
        if self.some(True, False):
            ports.append({"name": "dns", "port": self.some(53, 80), "protocol": "UDP"})
        if self.some(True, False, False):
            ports.append({"name": "s1ap", "port": 36412, "protocol": "SCTP"})
        external = [f"192.0.2.{i}", f"2001:db8:e::{i}"]
        spec: dict[str, Any] = {
            "type": kind,
            "clusterIP": ips[families[0]],
            "clusterIPs": [ips[f] for f in families],
            "ipFamilies": families,
            "ports": ports,
        }
        return with_policies(self.some, i, spec, external[: len(families)])

    def slices(self, i: int, pods: list[Document]) -> list[Document]:
        hinted = self.some(False, True)
        return [
            self.piece(i, family, number, pods, hinted)
            for family in FAMILIES
            for number in range(self.some(0, 1, 1, 2))
        ]

    def piece(
        self, i: int, family: str, number: int, pods: list[Document], hinted: bool
    ) -> Document:
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"s{i}-{family.lower()}-{number}",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": f"s{i}"},
            },
            "addressType": family,
            "ports": [
                {"name": "http", "protocol": "TCP", "port": self.some(8080, 8081)},
                {"name": "dns", "protocol": "UDP", "port": self.some(5353, None)},
                {"name": "s1ap", "protocol": "SCTP", "port": 36412},
            ],
            "endpoints": [
                self.endpoint(family, pods, hinted) for _ in range(self.some(0, 1, 2, 3))
            ],
        }

    def endpoint(self, family: str, pods: list[Document], hinted: bool) -> Document:
        pod = self.some(*pods)
        node = pod["spec"]["nodeName"]
        made: Document = {
            "addresses": [pod["status"]["podIPs"][family == "IPv6"]["ip"]],
            "nodeName": node,
            "targetRef": {
                "kind": "Pod",
                "name": pod["metadata"]["name"],
                "namespace": "default",
            },
            "conditions": {
                name: self.some(True, True, False, None)
                for name in ("ready", "serving", "terminating")
            },
        }
        if hinted:
            made["hints"] = {
                "forZones": [{"name": self.some("a", "b")}],
                "forNodes": self.some([], [{"name": node}]),
            }
        return made


def _pod(name: str, node: str, ips: list[str], more: Document) -> Document:
    return {
        "apiVersion": V1,
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"nodeName": node, "containers": [{"name": "c", "image": "echo"}], **more},
        "status": {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
    }


def random_world(seed: int) -> list[Document]:
    """The objects of world number `seed`; the same each time."""
    return Dice(seed).world()
