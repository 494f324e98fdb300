"""A running lab from the inside: everything here belongs to the event loop's thread."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.api.documents import Document
from testbed.api.objects import Node
from testbed.clock import LabClock
from testbed.cloud.balancer import DataPlane
from testbed.cloud.fake import FakeCloud
from testbed.control.controllers.kubernetes_service import (
    API_PORT,
    KEY,
    KubernetesServiceController,
)
from testbed.control.controllers.namespace_defaults import NamespaceDefaultsController
from testbed.control.controllers.service_cidr import default_document
from testbed.control.controllers.service_lb import ServiceController
from testbed.control.journal import Journal
from testbed.control.kubelet.volumes import ApiAccess
from testbed.emu.spec import TopologySpec
from testbed.errors import TestbedError
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Plan
from testbed.lab import bootstrap
from testbed.lab.addons import Addons
from testbed.lab.control_plane import control_plane
from testbed.lab.external import ExternalProxies
from testbed.lab.impair import LabImpairments
from testbed.lab.networks import pod_network_of, site_of
from testbed.lab.objects import Objects
from testbed.lab.options import LabOptions
from testbed.lab.proxies import NodeProxies
from testbed.lab.record import LabRecord
from testbed.lab.resume import take_over_pods
from testbed.naming import run_directory
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.health import NodeHealth
from testbed.proxy.proxier import Proxier
from testbed.runtime.backend import LabPods
from testbed.runtime.images import Images
from testbed.runtime.kept import KeeperHost
from testbed.runtime.sandbox import namespace_name
from testbed.runtime.sandboxes import Sandboxes

if TYPE_CHECKING:
    from testbed.control.apiserver.server import ApiServer
    from testbed.lab.twin import Twin
    from testbed.lab.twinning import TwinPods

log = logging.getLogger(__name__)


class LabCore(Objects):
    """Control plane, Pods, proxies and cloud of one lab, on a fabric that stands already.

    `wake` is called when controllers have work outside of `settle` (timers, health checks). With
    `resumed` the lab stands already and goes on as its record, its store and its keeper have it.
    """

    def __init__(
        self,
        fabric: Fabric,
        topology: TopologySpec,
        options: LabOptions,
        loop: asyncio.AbstractEventLoop,
        twin: Twin | None = None,
        resumed: LabRecord | None = None,
    ) -> None:
        self.fabric = fabric
        self.resumed = resumed
        self._started = False
        self._wake_pending = False
        self.twin = twin
        self._twin_pods: TwinPods | None = None
        self.topology = topology
        self.options = options
        self.clock = LabClock(loop)
        self._loop = loop
        self._random = random.Random(options.seed)
        self.network = pod_network_of(options, topology)
        directory = run_directory(fabric.lab)
        images = Images.load(options.images)
        self.keeper = self._keeper(directory)
        self.sandboxes = Sandboxes(fabric, loop, directory, self.plan_pod, images, self.keeper)
        self.control = control_plane(
            options, directory, self.clock, self.sandboxes, self._random, self._wake, twin
        )
        self.proxies = NodeProxies(self.control.store, self.clock, self._wake, self._report_problem)
        self.external = ExternalProxies(
            self.control.store, loop, options, self._report_problem, self._wake
        )
        self.addons = Addons(fabric, topology, self.control.client, self.sandboxes, loop)
        self.control.kubelet.node_resolver = self.addons.dns.outside
        self.control.kubelet.nodes.machines = {machine.name for machine in topology.nodes}
        self.impairments = LabImpairments(fabric, topology, self._addresses_of)
        self.cloud = self._cloud()
        self.api: ApiServer | None = None
        self._settling = asyncio.Lock()

    def _report_problem(self, resource: str, name: str, reason: str, message: str) -> None:
        """An Event on the object that a problem concerns, if it is still there."""
        namespace, _, bare = name.rpartition("/")
        document = self.control.store.find(resource, namespace, bare)
        if document is not None:
            proxy = self.control.client.acting_as("kube-proxy")
            proxy.event(document, "Warning", reason, message)

    # construction

    def _keeper(self, directory: Path) -> KeeperHost | None:
        """The process that the Pods' applications run in, where they outlive this one."""
        if not self.options.keep:
            return None
        if self.resumed is None:
            Journal.discard(directory)
            KeeperHost.start(self.fabric.lab, directory)
        return KeeperHost(directory, self._loop, resume=self.resumed is not None)

    def _cloud(self) -> FakeCloud | None:
        balancers = self.topology.with_role("balancer")
        if self.twin is not None:
            return None  # the recorded status stays
        if not balancers or self.options.cloud == "none":
            self.control.manager.add(
                ServiceController(self.control.client.acting_as("service-controller"), None)
            )
            return None
        site = site_of(self.fabric, self.topology, balancers[0], run_directory(self.fabric.lab))
        cloud = FakeCloud(
            site,
            self.clock,
            data_plane=DataPlane(self.options.cloud),
            names=self.addons.dns.public,
            loop=self._loop,
            resume=self.resumed is not None,
        )
        cloud.restore(self.services())
        self.control.manager.add(
            ServiceController(self.control.client.acting_as("service-controller"), cloud)
        )
        return cloud

    # running

    async def start(self, tell: Callable[[str], None]) -> None:
        """Register the nodes, start their proxies, come to rest."""
        if self.resumed is not None:
            await self._resume(self.resumed, tell)
            return
        store = self.control.store
        for document in bootstrap.namespace_documents():
            store.create("namespaces", document)
        store.create("servicecidrs", default_document(self.options.service_cidrs))
        if self.twin is not None:
            from testbed.lab.twinning import store_nodes

            store_nodes(self.twin, store)
        else:
            self._register_nodes()
        self.fabric.deploy(self.network.node_plan(self.nodes()))
        if self.twin is not None:
            self._build_twin(self.twin, tell)
        await self._start_api()
        tell(f"{len(self.nodes())} nodes on Pod network {self.network.name!r}")
        self._start_proxies()
        self.apply(self._start_addons())
        await self._come_to_rest()
        tell(f"proxy: {self.options.proxy}")

    def _start_addons(self) -> list[Document]:
        """DNS and Ingress; returns the objects that they run as."""
        write = self.api.write_kubeconfig if self.api is not None else None
        return self.addons.start(self.options, self.control.manager, write)

    async def _come_to_rest(self) -> None:
        await self.settle()
        self._started = True

    async def _resume(self, record: LabRecord, tell: Callable[[str], None]) -> None:
        """Go on where the process before this one was."""
        pods = take_over_pods(self)
        tell(f"{pods} Pods go on; {self.control.store.version} versions in the store")
        for name in record.stopped_nodes:
            self.control.kubelet.nodes.silence(name)
        await self._start_api()
        self._start_proxies()
        self._start_addons()
        await self._come_to_rest()
        if self.keeper is not None:
            uids = [pod["metadata"]["uid"] for pod in self.control.store.list("pods")]
            self.keeper.drop_all_but(uids)
        tell("at rest")

    def _register_nodes(self) -> None:
        store = self.control.store
        now = store.timestamp()
        for index, machine in enumerate(self.topology.nodes, 1):
            cidrs = bootstrap.pod_cidrs(self.options.cluster_cidrs, index)
            facts = bootstrap.NodeFacts(machine.name, machine.zone, machine.addresses, cidrs)
            store.create("nodes", bootstrap.node_document(facts, now))

    def _build_twin(self, twin: Twin, tell: Callable[[str], None]) -> None:
        """The recorded Pods and Services; what can't be built is told in a line each."""
        from testbed.lab.twinning import TwinPods, store_rest

        store_rest(twin, self.control.store)
        self._twin_pods = TwinPods(twin, self.fabric, self._loop, self.plan_pod)
        services = len(twin.documents["services"])
        tell(f"twin of {len(twin.pods)} Pods and {services} Services")
        for line in (*twin.omitted, *self._twin_pods.problems):
            tell(f"not built: {line}")

    async def _start_api(self) -> None:
        """Service kubernetes; behind it, where it was asked for, the API server."""
        if not self.options.api:
            self.control.manager.add(NamespaceDefaultsController(self.control.client))
            self._keep_service_kubernetes("")
            return
        from testbed.control.apiserver.server import ApiServer, loopback_socket

        router = self.topology.with_role("router")[0]
        inside = self.fabric.namespace(router.name).socket(socket.AF_INET, socket.SOCK_STREAM)
        inside.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        inside.bind((router.address(4), API_PORT))
        self.api = ApiServer(
            self.control.registry,
            run_directory(self.fabric.lab),
            sockets=[loopback_socket(self.resumed.port if self.resumed else 0), inside],
            pods=LabPods(self.sandboxes),
            name=self.fabric.lab,
            services=[str(ipaddress.ip_network(cidr)[1]) for cidr in self.options.service_cidrs],
        )
        await self.api.start()
        client, ca = self.control.client, self.api.credentials.ca
        kubelet, watchers = self.control.kubelet, self.api.watchers
        kubelet.volumes.access = ApiAccess(ca, self.api.tokens.for_pod)
        kubelet.leases.is_watched = lambda: watchers.watches("leases")
        kubelet.leases.renew()
        self.control.registry.before_reading["leases"] = kubelet.leases.look
        self.control.manager.add(NamespaceDefaultsController(client, ca))
        self._keep_service_kubernetes(router.address(4))

    def _keep_service_kubernetes(self, server: str) -> None:
        """From now on, so that nobody else is given its address; a twin has its own."""
        if self.twin is not None and self.control.store.find("services", *KEY) is not None:
            return
        address = str(ipaddress.ip_network(self.options.service_cidrs[0])[1])
        controller = KubernetesServiceController(self.control.client, address, server)
        self.control.manager.add(controller)
        controller.reconcile(KEY)

    def _start_proxies(self) -> None:
        """A user's Node may have no machine behind it: nothing runs there."""
        machines = {machine.name for machine in self.topology.nodes}
        for node in self.nodes():
            if node.name in machines:
                self._start_proxy(node)

    def _start_proxy(self, node: Node) -> None:
        mode = self.options.proxy_of(node.name)
        if mode == "none":
            return
        namespace = self.fabric.namespace(node.name)
        if self.options.proxy_command:
            assert self.api is not None
            url = f"https://{self.topology.with_role('router')[0].address(4)}:{API_PORT}"
            machine = self.topology.machine(node.name)
            self.external.start(machine, namespace, mode, self.api, url)
            return
        config = KubeProxyConfiguration(mode=mode, cluster_cidr=self.options.cluster_cidrs)
        proxier = Proxier(node.name, namespace, config, self.options.service_cidrs)
        health = NodeHealth(namespace.socket, self._loop, self.clock)
        self.proxies.add(node.name, proxier, health)

    async def settle(self) -> None:
        """Run until nothing is left to do: controllers, probes, rules, the cloud's checks."""
        async with self._settling:
            while True:
                await self._run_controllers()
                await self.sandboxes.settled()
                await self._run_controllers()
                await self.proxies.sync()
                await self.external.settled()
                if self.cloud is not None:
                    await self.cloud.settled()
                await self.addons.settled()
                if self.control.manager.idle and self.proxies.idle and self.external.idle:
                    return

    async def _run_controllers(self) -> None:
        """Let the controllers do what is to do, and the API server answer meanwhile."""
        for _ in self.control.manager.slices():
            await asyncio.sleep(0)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass; the lab comes to rest at every moment at which something is due."""
        end = self.clock.now() + seconds
        while (due := self.clock.next_due) is not None and due <= end:
            self.clock.advance(max(0.0, due - self.clock.now()))
            await self.settle()
        self.clock.advance(max(0.0, end - self.clock.now()))
        await self.settle()

    def _wake(self) -> None:
        """Work has come up by itself: settle soon, once."""
        if self._started and not self._wake_pending:
            self._wake_pending = True
            self._loop.create_task(self._settle_by_itself())

    async def _settle_by_itself(self) -> None:
        self._wake_pending = False
        try:
            await self.settle()
        except TestbedError as error:  # nobody asked: the next command says so again
            log.warning("%s", error)
        except Exception:
            log.exception("the lab didn't come to rest")

    async def close(self) -> None:
        """End what runs; the fabric's end takes the rest."""
        if self.api is not None:
            await self.api.stop()
        if self.cloud is not None:
            self.cloud.close()
        self.proxies.close()
        if self._twin_pods is not None:
            self._twin_pods.close()
        self.sandboxes.close()
        if self.keeper is not None:
            self.keeper.close()
        self.addons.close()

    def plan_pod(self, namespace: str, node: str, addresses: Sequence[str]) -> Plan:
        """What a Pod's namespace and links are made from."""
        document = self.control.store.get("nodes", "", node)
        return self.network.pod_plan(namespace, Node.from_document(document), addresses)

    # failures

    def stop_node(self, name: str) -> None:
        """The node's links go down, its kubelet falls silent."""
        self._set_links(name, up=False)
        self.control.kubelet.leases.renew()  # so far it has been heard
        self.control.kubelet.nodes.silence(name)
        self.control.manager.enqueue(self.control.lifecycle, ("", name))

    def start_node(self, name: str) -> None:
        """The node's links come up, its kubelet looks at its Pods again."""
        self._set_links(name, up=True)
        for key in self.control.kubelet.start_node(name):
            self.control.manager.enqueue(self.control.kubelet, key)
        self.control.manager.enqueue(self.control.lifecycle, ("", name))

    def _set_links(self, name: str, *, up: bool) -> None:
        """Switch the far ends of the node's cables: its own interfaces keep their routes."""
        for cable in self.topology.cables:
            for near, far in ((cable.left, cable.right), (cable.right, cable.left)):
                if near[0] == name:
                    self.fabric.set_link(*far, up=up)

    def _addresses_of(self, place: str) -> tuple[str, ...]:
        for pod in self.pods():
            if namespace_name((pod.key.namespace, pod.key.name)) == place:
                return pod.ips
        return self.topology.machine(place).addresses

    async def set_proxy(self, node: str, mode: str) -> None:
        """Change a node's proxy mode, once no sync is under way."""
        async with self._settling:
            self.options = self.options.with_proxy(node, mode)
            self.proxies.remove(node)
            self.external.remove(node)
            if mode != "none":
                document = self.control.store.get("nodes", "", node)
                self._start_proxy(Node.from_document(document))
