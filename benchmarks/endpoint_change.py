"""How soon an endpoint change is in every node's rules: part of `benchmarks.control_plane`.

The time counts from the request to the API server until `iptables-save` (or `nft list`) on the
last of the three nodes shows the new address and no longer the old one, the reading included.
"""

from __future__ import annotations

import base64
import json
import os
import ssl
import statistics
import tempfile
import threading
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
    times = []
    address = "10.244.1.250"
    for index in range(CHANGES + 1):
        gone, address = address, f"10.244.2.{100 + index}"
        arrived: dict[str, float] = {}
        begin = threading.Event()
        watchers = [
            threading.Thread(
                target=_await_rules,
                args=(lab.fabric.namespace(node), READERS[mode], gone, address, begin, arrived),
            )
            for node in lab.node_names()
        ]
        for watcher in watchers:
            watcher.start()
        sent = time.perf_counter()
        begin.set()
        api.change("svc-7-a", _endpoints(address))
        for watcher in watchers:
            watcher.join()
        assert len(arrived) == len(watchers), f"the rules don't follow: only on {sorted(arrived)}"
        times.append(max(arrived.values()) - sent)
    return times[1:]


def _await_rules(
    node: Any,
    reader: list[str],
    gone: str,
    address: str,
    begin: threading.Event,
    arrived: dict[str, float],
) -> None:
    begin.wait()
    deadline = time.perf_counter() + PATIENCE
    while time.perf_counter() < deadline:
        rules = node.run(reader)
        if f"{address}:8080" in rules.replace(" . ", ":") and f"{gone}:" not in rules:
            arrived[node.name] = time.perf_counter()
            return
        time.sleep(0.002)


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
