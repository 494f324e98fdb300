"""How soon an endpoint change is in every node's rules: part of `benchmarks.control_plane`.

The time counts from the request to the API server until the kernel's word that the last of the
three nodes' rules were committed (the end of a transaction, nf_tables' notification group). That
those are the rules meant is read afterwards, with `iptables-save` or `nft list`: they must have the
new address and no longer the old one, or the next transaction counts.
"""

from __future__ import annotations

import base64
import json
import os
import select
import socket
import ssl
import statistics
import tempfile
import time
from http.client import HTTPSConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from testbed.cluster import Cluster

SERVICES = 100
CHANGES = 15
LIMIT = 0.050
PATIENCE = 10.0
_SOL_NETLINK, _ADD_MEMBERSHIP, _NETFILTER, _NFTABLES_GROUP = 270, 1, 12, 7
READERS = {
    "iptables": ["iptables-save", "-t", "nat"],
    "nftables": ["nft", "list", "table", "ip", "kube-proxy"],
}


def measure() -> bool:
    """Print the median time in each proxy mode beside the limit; whether all keep it."""
    kept = True
    for mode in READERS:
        from testbed.cluster import Cluster

        with Cluster("three_nodes", name=f"change-{os.getpid()}", api=True, proxy=mode) as lab:
            lab.apply([document for n in range(SERVICES) for document in _service(n)])
            times = _changes(lab, mode)
        median = statistics.median(times)
        kept = kept and median <= LIMIT
        what = f"endpoint change, {mode}, 3 nodes"
        print(f"{what:34} {median:9.3f} s  (worst {max(times):.3f})  at most {LIMIT:.2f}")
    return kept


def _changes(lab: Cluster, mode: str) -> list[float]:
    """Seconds of each change, the first one, which warms up, left out."""
    api = _Api(lab.kubeconfig)
    nodes = [_Node(lab.fabric.namespace(name), READERS[mode]) for name in lab.node_names()]
    times = []
    address = "10.244.1.250"
    for index in range(CHANGES + 1):
        gone, address = address, f"10.244.2.{100 + index}"
        for node in nodes:
            node.forget()
        sent = time.perf_counter()
        api.change("svc-7-a", _endpoints(address))
        times.append(_arrival(nodes, gone, address) - sent)
    return times[1:]


def _arrival(nodes: list[_Node], gone: str, address: str) -> float:
    """When the last node's rules had `address` and no longer `gone`."""
    deadline = time.perf_counter() + PATIENCE
    waiting = set(nodes)
    while waiting:
        assert time.perf_counter() < deadline, "the rules don't follow"
        while heard := select.select(nodes, [], [], 0.02)[0]:
            for node in heard:
                node.hear()
        waiting = {node for node in waiting if not node.has(gone, address)}
    return max(node.last for node in nodes)


class _Node:
    """A node's rules, and when they last changed."""

    def __init__(self, namespace: Any, reader: list[str]) -> None:
        self._namespace = namespace
        self._reader = reader
        self._events = namespace.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._events.bind((0, 0))
        self._events.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFTABLES_GROUP)
        self.last = 0.0

    def fileno(self) -> int:
        return int(self._events.fileno())

    def hear(self) -> None:
        """Take what the kernel says: something was committed just now."""
        self._events.recv(1 << 20)
        self.last = time.perf_counter()

    def forget(self) -> None:
        """Nothing that was committed until now counts."""
        while select.select([self], [], [], 0)[0]:
            self._events.recv(1 << 20)
        self.last = 0.0

    def has(self, gone: str, address: str) -> bool:
        """Whether the rules have `address` and no longer `gone`, since something was committed."""
        if not self.last:
            return False
        rules = self._namespace.run(self._reader)
        return f"{address}:8080" in rules.replace(" . ", ":") and f"{gone}:" not in rules


class _Api:
    """Changes EndpointSlices over one connection, as kubectl does."""

    def __init__(self, kubeconfig: Path) -> None:
        import yaml

        config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
        server = urlsplit(config["clusters"][0]["cluster"]["server"])
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        user = config["users"][0]["user"]
        with tempfile.NamedTemporaryFile() as both:
            for part in ("client-certificate-data", "client-key-data"):
                both.write(base64.b64decode(user[part]))
            both.flush()
            context.load_cert_chain(both.name)
        self._connection = HTTPSConnection(server.netloc, context=context)
        self._headers = {"Content-Type": "application/merge-patch+json"}

    def change(self, name: str, patch: dict[str, Any]) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/{name}"
        self._connection.request("PATCH", path, json.dumps(patch), self._headers)
        reply = self._connection.getresponse()
        text = reply.read()
        assert reply.status == 200, text


def _endpoints(address: str) -> dict[str, Any]:
    return {
        "endpoints": [
            {"addresses": [each], "conditions": {"ready": True}, "nodeName": "w1"}
            for each in (address, "10.244.1.251")
        ]
    }


def _service(index: int) -> list[dict[str, Any]]:
    name = f"svc-{index}"
    meta = {"name": f"{name}-a", "labels": {"kubernetes.io/service-name": name}}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"ports": [{"port": 80, "targetPort": 8080}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": meta,
            "addressType": "IPv4",
            "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
            **_endpoints("10.244.1.250" if index == 7 else f"10.244.3.{index + 1}"),
        },
    ]
