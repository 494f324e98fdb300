"""The parts of a cluster that run as Pods of their own: cluster DNS, the Ingress controller."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable
from pathlib import Path

from testbed.api.documents import Document
from testbed.control.client import RegistryClient
from testbed.control.controllers.base import Manager
from testbed.control.controllers.ingress import IngressController
from testbed.emu.spec import TopologySpec
from testbed.fabric.fabric import Fabric
from testbed.ingress import manifests
from testbed.ingress.server import Fleet
from testbed.lab.dns import DNS_IMAGE, LabDns, with_command
from testbed.lab.options import LabOptions
from testbed.naming import run_directory
from testbed.runtime.echo import EchoServer, Identity, Port
from testbed.runtime.images import repository_of
from testbed.runtime.sandboxes import Sandboxes
from testbed.shell import find_program

#: Writes a kubeconfig for the API server as it is reached at a URL: (file, URL).
WriteKubeconfig = Callable[[Path, str], None]


class Addons:
    """DNS (public, and in the cluster), Ingress, and servers on machines outside, of one lab.

    Belongs to the event loop's thread.
    """

    def __init__(
        self,
        fabric: Fabric,
        topology: TopologySpec,
        client: RegistryClient,
        sandboxes: Sandboxes,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._fabric = fabric
        self._client = client
        self._loop = loop
        self.dns = LabDns(fabric, topology, client.store)
        self.ingress = Fleet(loop, run_directory(fabric.lab))
        self._servers: dict[str, EchoServer] = {}
        sandboxes.applications[DNS_IMAGE] = self.dns.serve
        sandboxes.applications[repository_of(manifests.IMAGE)] = self.ingress.start

    def start(
        self, options: LabOptions, manager: Manager, write_kubeconfig: WriteKubeconfig | None
    ) -> list[Document]:
        """Serve the public DNS; returns what must be applied for the rest.

        Raises CannotRunError where a program is missing.
        """
        self.dns.start_public()
        wanted: list[Document] = []
        if options.dns:
            wanted += self._cluster_dns(options, write_kubeconfig)
        if options.ingress:
            find_program("nginx", "nginx-light")
            controller = self._client.acting_as("nginx-ingress-controller")
            manager.add(IngressController(controller, self.ingress, self.dns.public))
            wanted += manifests.ingress_controller(dual_stack=len(options.service_cidrs) > 1)
        return wanted

    def _cluster_dns(
        self, options: LabOptions, write_kubeconfig: WriteKubeconfig | None
    ) -> list[Document]:
        wanted = self.dns.start_cluster(options.service_cidrs[0])
        if options.dns_command and write_kubeconfig is not None:
            directory = run_directory(self._fabric.lab)
            address = ipaddress.ip_network(options.service_cidrs[0])[1]
            write_kubeconfig(directory / "dns.kubeconfig", f"https://{address}:443")
            wanted = with_command(wanted, options.dns_command, directory, self.dns.upstreams)
        return wanted

    def serve(self, machine: str, ports: set[Port]) -> list[str]:
        """Have the echo application listen on a machine; returns what failed, one line each."""
        server = self._servers.get(machine)
        if server is None:
            opener = self._fabric.namespace(machine).socket
            server = EchoServer(self._loop, Identity(machine, "", machine), opener)
            self._servers[machine] = server
        return server.listen(ports)

    async def settled(self) -> None:
        """Wait until the Ingress proxies serve what the objects say."""
        await self.ingress.settled()

    def close(self) -> None:
        """End what isn't a Pod's."""
        self.dns.close()
        for server in self._servers.values():
            server.close()
