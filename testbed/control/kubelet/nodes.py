"""The nodes that kubelet works for: what they are, and which of them it is heard from."""

from __future__ import annotations

from collections.abc import Collection

from testbed.api.documents import Document
from testbed.api.objects import Node
from testbed.control.controllers.base import ClusterApi
from testbed.control.kubelet.environment import PodFacts
from testbed.control.store import NotFoundError


class Nodes:
    """The Nodes in the store, with a kubelet on each that may fall silent.

    `machines` are the names of the nodes that there are; None for whatever Nodes are in the store.
    """

    def __init__(self, api: ClusterApi) -> None:
        self._store = api.store
        self._clock = api.clock
        self.machines: Collection[str] | None = None
        self._known: dict[str, tuple[Document, Node]] = {}
        self._silent_since: dict[str, float] = {}

    def silence(self, name: str) -> None:
        """The node's kubelet is heard no more."""
        self._silent_since.setdefault(name, self._clock.now())

    def hear(self, name: str) -> None:
        """The node's kubelet is heard again."""
        self._silent_since.pop(name, None)

    @property
    def silent(self) -> list[str]:
        """The nodes whose kubelets are silent."""
        return sorted(self._silent_since)

    def silent_for(self, name: str) -> float | None:
        """Seconds since the node's kubelet was last heard; None while it is heard.

        A Node that no machine stands behind has no kubelet, since it was first asked about.
        """
        if self.machines is not None and name and name not in self.machines:
            self.silence(name)
        since = self._silent_since.get(name)
        return None if since is None else self._clock.now() - since

    def is_heard(self, name: str) -> bool:
        """Whether the node's kubelet does anything."""
        return self.silent_for(name) is None

    def get(self, name: str) -> Node:
        """The Node; one that is gone as it was, for the Pods that still run on it.

        Raises NotFoundError for one that was never seen.
        """
        return self._look(name)[1]

    def facts(self, pod: Document, addresses: tuple[str, ...]) -> PodFacts:
        """What a Pod on its node may ask about itself."""
        document, node = self._look(pod["spec"]["nodeName"])
        allocatable = (document.get("status") or {}).get("allocatable") or {}
        return PodFacts(pod, addresses, internal_addresses(node), allocatable)

    def _look(self, name: str) -> tuple[Document, Node]:
        known = self._known.get(name)
        document = self._store.find("nodes", "", name)
        if document is None:
            if known is None:
                raise NotFoundError("nodes", "", name)
            return known
        if known is None or known[0] is not document:
            known = self._known[name] = (document, Node.from_document(document))
        return known


def internal_addresses(node: Node) -> tuple[str, ...]:
    """The node's InternalIPs, one per family."""
    found: dict[bool, str] = {}
    for kind, address in node.addresses:
        if kind == "InternalIP":
            found.setdefault(":" in address, address)
    return tuple(found.values())
