"""What a cluster has before its user adds anything: namespaces and Nodes."""

from __future__ import annotations

import ipaddress
import platform
from collections.abc import Iterable
from dataclasses import dataclass

from testbed import __version__
from testbed.api.documents import Document
from testbed.api.objects import LABEL_HOSTNAME, LABEL_ZONE
from testbed.control.controllers.node_lifecycle import well

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
#: The release whose behaviour is built here.
KUBERNETES_VERSION = "v1.36.2"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What a Node object is made from. `addresses` without prefix length, primary family first."""

    name: str
    zone: str
    addresses: tuple[str, ...]
    pod_cidrs: tuple[str, ...]


def pod_cidrs(cluster_cidrs: Iterable[str], index: int) -> tuple[str, ...]:
    """The ranges of node number `index` (from 1): the index-th /24 and /64 of the cluster's."""
    found = []
    for cidr in cluster_cidrs:
        network = ipaddress.ip_network(cidr)
        prefix = 24 if network.version == 4 else 64
        size = 1 << (network.max_prefixlen - prefix)
        start = int(network.network_address) + index * size
        found.append(str(ipaddress.ip_network((start, prefix))))
    return tuple(found)


def namespace_documents() -> list[Document]:
    """The namespaces that every cluster has."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
            "spec": {"finalizers": ["kubernetes"]},
            "status": {"phase": "Active"},
        }
        for name in NAMESPACES
    ]


def node_document(node: NodeFacts, now: str) -> Document:
    """A Node as its kubelet registers it; `now` is a timestamp."""
    labels = {
        LABEL_HOSTNAME: node.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": _architecture(),
    }
    if node.zone:
        labels[LABEL_ZONE] = node.zone
    capacity = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    addresses = [{"type": "InternalIP", "address": address} for address in node.addresses]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "labels": labels},
        "spec": {"podCIDR": node.pod_cidrs[0], "podCIDRs": list(node.pod_cidrs)},
        "status": {
            "capacity": capacity,
            "allocatable": capacity,
            "addresses": [*addresses, {"type": "Hostname", "address": node.name}],
            "conditions": [{**each, "lastTransitionTime": now} for each in well(now)],
            "nodeInfo": {
                "kubeletVersion": KUBERNETES_VERSION,
                "kubeProxyVersion": "",
                "kernelVersion": platform.release(),
                "osImage": "network namespace",
                "containerRuntimeVersion": f"testbed://{__version__}",
                "operatingSystem": "linux",
                "architecture": _architecture(),
                "machineID": node.name,
                "systemUUID": node.name,
                "bootID": node.name,
            },
        },
    }


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
