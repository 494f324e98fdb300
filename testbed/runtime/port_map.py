"""The hostPorts of nodes, in the nodes' kernels."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from testbed import shell
from testbed.api.documents import Document
from testbed.errors import TestbedError
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Plan
from testbed.runtime import hostports
from testbed.runtime.sandbox import namespace_name


class PortMap:
    """`plan_pod(namespace, node, addresses)` is the Pod network's plan."""

    def __init__(self, fabric: Fabric, plan_pod: Callable[[str, str, Sequence[str]], Plan]) -> None:
        self._fabric = fabric
        self._plan_pod = plan_pod
        self._mapped: set[str] = set()

    def set(self, node: str, pods: Sequence[tuple[Document, tuple[str, ...]]]) -> str:
        """Replace the node's table; 127.0.0.1 needs route_localnet on the ways to the Pods."""
        wanted = hostports.mappings(pods)
        if not wanted and node not in self._mapped:
            return ""
        place = self._fabric.namespace(node)
        try:
            for document, addresses in pods:
                meta = document["metadata"]
                name = namespace_name((meta["namespace"], meta["name"]))
                for way in _ways(self._plan_pod(name, node, addresses), node):
                    place.sysctl(f"net/ipv4/conf/{way}/route_localnet", "1")
            nft = shell.find_program("nft", "nftables")
            place.run([nft, "-f", "-"], input=hostports.ruleset(wanted))
        except TestbedError as error:
            return str(error)
        self._mapped.add(node)
        return ""


def _ways(plan: Plan, node: str) -> list[str]:
    """The node's interfaces that lead to a Pod."""
    ends = [end for veth in plan.veths for end in (veth.left, veth.right)]
    return [end.bridge or end.interface for end in ends if end.namespace == node]
