"""A node proxy in one file: python examples/small_proxy.py --config FILE

It keeps the contract of docs/external-proxy.md: reads the configuration file, lists and watches at
the API server with the kubeconfig's certificate, writes rules, answers /healthz on port 10256. The
client is the standard library's HTTP; the rules are the testbed's own.

    testbed up --proxy-command 'python examples/small_proxy.py --config {config}'
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import http.client
import json
import logging
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from testbed import shell
from testbed.api.objects import EndpointSlice, NamespacedName, Node, Service
from testbed.clock import LabClock
from testbed.netlink import NetlinkSocket
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.health import NodeHealth
from testbed.proxy.proxier import Proxier

T = TypeVar("T")
Document = dict[str, Any]
#: Told of every change: (object, whether it is gone); and of a whole list: the keys that exist.
Change = Callable[[Document, bool], None]
Whole = Callable[[set[NamespacedName]], None]

SERVICES = "/api/v1/services?labelSelector=" + quote("!service.kubernetes.io/service-proxy-name")
SLICES = "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=" + quote(
    "!service.kubernetes.io/headless"
)


class Here:
    """The network namespace that this process is in, as the proxy needs it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def socket(self, family: int, type: int, proto: int = 0) -> socket.socket:
        return socket.socket(family, type, proto)

    def netlink(self, protocol: int) -> NetlinkSocket:
        return NetlinkSocket(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    def run(self, argv: Sequence[str], *, input: str | bytes | None = None) -> str:
        return shell.run(argv, input=input)

    def call(self, fn: Callable[[], T]) -> T:
        return fn()


class Client:
    """Lists and watches with a kubeconfig's certificate."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._server = urlsplit(cluster["server"])
        self._tls = ssl.create_default_context(cadata=authority)
        with tempfile.NamedTemporaryFile() as file:
            for name in ("client-certificate-data", "client-key-data"):
                file.write(base64.b64decode(user[name]))
            file.flush()
            self._tls.load_cert_chain(file.name)

    def _get(self, path: str) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
        connection = http.client.HTTPSConnection(
            str(self._server.hostname), self._server.port, context=self._tls
        )
        connection.request("GET", path, headers={"Accept": "application/json"})
        return connection, connection.getresponse()

    def list(self, path: str) -> Document:
        connection, response = self._get(path)
        try:
            document: Document = json.loads(response.read())
        finally:
            connection.close()
        if response.status != 200:
            raise OSError(f"{path}: {document.get('message')}")
        return document

    def watch(self, path: str, version: str) -> Iterator[Document]:
        """Events after `version`, until the server ends the watch or has forgotten the version."""
        connection, response = self._get(f"{path}&watch=true&resourceVersion={version}")
        try:
            for line in response:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    return
                yield event
        finally:
            connection.close()

    def follow(self, path: str, change: Change, whole: Whole) -> None:
        """Tell of everything at `path`, forever: a list, then a watch, then a list again."""
        while True:
            try:
                found = self.list(path)
                for item in found["items"]:
                    change(item, False)
                whole({key_of(item) for item in found["items"]})
                for event in self.watch(path, found["metadata"]["resourceVersion"]):
                    change(event["object"], event["type"] == "DELETED")
            except (OSError, http.client.HTTPException, ValueError) as error:
                logging.warning("%s: %s", path, error)
                time.sleep(0.2)


def key_of(document: Document) -> NamespacedName:
    return NamespacedName(document["metadata"].get("namespace", ""), document["metadata"]["name"])


class SmallProxy:
    """Feeds a Proxier from three watches; whenever something has changed, it writes the rules."""

    def __init__(self, settings: Document, loop: asyncio.AbstractEventLoop) -> None:
        self.node = settings["hostnameOverride"]
        here = Here(self.node)
        config = KubeProxyConfiguration.from_document(settings, "configuration")
        self._proxier = Proxier(self.node, here, config, ())
        self._health: NodeHealth | None = None
        self._open = here.socket
        self._node: Node | None = None
        self._waiting_for = 3
        self._loop = loop
        self._changed = asyncio.Event()

    def service(self, document: Document, gone: bool) -> None:
        service = Service.from_document(document)
        headless = service.headless
        self._proxier.set_service(service.key, None if gone or headless else service)

    def slice(self, document: Document, gone: bool) -> None:
        self._proxier.set_slice(
            key_of(document), None if gone else EndpointSlice.from_document(document)
        )

    def own_node(self, document: Document, gone: bool) -> None:
        if not gone:
            node = Node.from_document(document)
            self._proxier.set_node(node)
            self._node = node

    def start(self, client: Client) -> None:
        """Watch in threads of their own; what they find is told in the loop's thread."""
        node = f"/api/v1/nodes?fieldSelector=metadata.name%3D{self.node}"
        for path, tell, forget in (
            (SERVICES, self.service, self._proxier.set_service),
            (SLICES, self.slice, self._proxier.set_slice),
            (node, self.own_node, None),
        ):
            change, whole = self._in_loop(tell, forget)
            threading.Thread(target=client.follow, args=(path, change, whole), daemon=True).start()

    def _in_loop(
        self, tell: Change, forget: Callable[[NamespacedName, None], None] | None
    ) -> tuple[Change, Whole]:
        known: set[NamespacedName] = set()

        def one(document: Document, gone: bool) -> None:
            (known.discard if gone else known.add)(key_of(document))
            tell(document, gone)
            self._changed.set()

        first = True

        def all_of_it(keys: set[NamespacedName]) -> None:
            nonlocal first
            self._waiting_for -= first
            first = False
            self._changed.set()
            for key in known - keys:
                known.discard(key)
                if forget is not None:
                    forget(key, None)

        return (
            lambda document, gone: self._later(one, document, gone),
            lambda keys: self._later(all_of_it, keys),
        )

    def _later(self, call: Callable[..., None], *arguments: Any) -> None:
        self._loop.call_soon_threadsafe(call, *arguments)

    async def run(self) -> None:
        """Write rules once everything is known, and after every change; healthy from then on."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._waiting_for or self._node is None:
                continue
            self._proxier.sync()
            if self._health is None:
                self._health = NodeHealth(self._open, self._loop, LabClock(self._loop))
            self._health.set_node(self._node)
            for family, services in self._proxier.healths().items():
                self._health.synced(family, services)


async def _main(settings: Document) -> None:
    proxy = SmallProxy(settings, asyncio.get_running_loop())
    proxy.start(Client(Path(settings["clientConnection"]["kubeconfig"])))
    await proxy.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A small node proxy.")
    parser.add_argument("--config", type=Path, required=True, help="a KubeProxyConfiguration")
    asyncio.run(_main(json.loads(parser.parse_args().config.read_text())))
