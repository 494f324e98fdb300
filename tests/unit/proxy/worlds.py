"""Worlds for the proxy's tests: recorded ones, and ones made by hand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from testbed.api.documents import Document, load_file
from testbed.api.objects import IPV4, IPV6, EndpointSlice, Node, Service
from testbed.proxy.changes import ProxyState
from testbed.proxy.config import DEFAULT_SERVICE_CIDRS, KubeProxyConfiguration
from testbed.proxy.instance import Instance
from testbed.proxy.node import local_node

GOLDEN = Path(__file__).parents[2] / "golden" / "rules"
CASES = sorted(path.name for path in GOLDEN.iterdir())
FAMILIES = {"ipv4": IPV4, "ipv6": IPV6}


@cache
def documents(case: str) -> list[Document]:
    """The objects of a recorded world."""
    return load_file(GOLDEN / case / "objects.yaml")


def of_kind(docs: list[Document], kind: str) -> list[Document]:
    return [doc for doc in docs if doc["kind"] == kind]


def make_state(docs: list[Document], family: str, node: str) -> ProxyState:
    """The proxy's state after taking in all of `docs` on `node`."""
    state = ProxyState(family, node)
    state.replace(
        [Service.from_document(doc) for doc in of_kind(docs, "Service")],
        [EndpointSlice.from_document(doc) for doc in of_kind(docs, "EndpointSlice")],
    )
    return state


def make_instance(
    docs: list[Document], family: str, node: str, config: KubeProxyConfiguration | None = None
) -> Instance:
    """The instance of `family` on `node`, which `docs` hold."""
    views = {view.name: view for view in map(Node.from_document, of_kind(docs, "Node"))}
    return Instance(
        local_node(views[node], family), config or KubeProxyConfiguration(), DEFAULT_SERVICE_CIDRS
    )
