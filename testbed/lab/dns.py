"""The names of one lab: cluster DNS in Pods of kube-system, public DNS outside, who asks whom."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from testbed.api.documents import Document
from testbed.control.cluster_dns import feed
from testbed.control.store import Store
from testbed.dns import manifests
from testbed.dns.forward import Forwarder
from testbed.dns.public import PublicZone
from testbed.dns.records import ClusterRecords
from testbed.dns.resolv import ResolvConf, resolv_conf
from testbed.dns.server import DnsServer, Responder, listening_sockets
from testbed.emu.spec import Machine, TopologySpec
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.runtime.images import repository_of

#: A machine of this name serves the public DNS; without one, the router does.
INTERNET = "internet"
#: The address of cluster DNS among those of Services (kubeadm's choice).
DNS_NUMBER = 10
#: The image whose Pods are served by this process.
DNS_IMAGE = repository_of(manifests.IMAGE)

_COREFILE = """\
.:53 {{
    log
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    forward . {upstreams}
    loadbalance
}}
"""


def public_server(topology: TopologySpec) -> Machine | None:
    """The machine that the public DNS runs on, if the topology has one for it."""
    for machine in topology.machines:
        if machine.name == INTERNET:
            return machine
    routers = topology.with_role("router")
    return routers[0] if routers else None


def public_addresses(topology: TopologySpec) -> tuple[str, ...]:
    """Where the public DNS is asked: its machine's addresses that aren't the cluster's."""
    machine = public_server(topology)
    if machine is None:
        return ()
    inside = [ipaddress.ip_network(n) for n in (*topology.networks.nodes, *topology.networks.vips)]
    cables = [ipaddress.ip_network(n) for n in topology.networks.balancer]
    return tuple(
        address
        for address in machine.addresses
        if not any(_within(address, network) for network in (*inside, *cables))
    )


def _within(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    return ipaddress.ip_address(address) in network


class LabDns:
    """Public and cluster DNS of one lab; belongs to the event loop's thread.

    The public DNS always runs (load balancers have names in it); cluster DNS once it was started.
    """

    def __init__(self, fabric: Fabric, topology: TopologySpec, store: Store) -> None:
        self.public = PublicZone()
        self.records = ClusterRecords()
        self.upstreams = public_addresses(topology)
        self._fabric = fabric
        self._topology = topology
        self._store = store
        self._server: DnsServer | None = None
        self._end_feed: Callable[[], None] = lambda: None

    def start_public(self) -> None:
        """Serve the public zone on its machine."""
        machine = public_server(self._topology)
        if machine is not None and self.upstreams:
            opener = self._fabric.namespace(machine.name).socket
            pairs = [listening_sockets(opener, address=address) for address in self.upstreams]
            udp, tcp = zip(*pairs, strict=True)
            self._server = DnsServer(Responder(self.public), udp, tcp)

    def start_cluster(self, service_cidr: str) -> list[Document]:
        """Begin to follow the cluster's names; the objects that cluster DNS runs as."""
        address = str(ipaddress.ip_network(service_cidr)[DNS_NUMBER])
        self.records.set_server([address])
        self._end_feed = feed(self._store, self.records)
        return manifests.cluster_dns([address])

    def serve(
        self, pod: tuple[str, str], namespace: Namespace, log: Callable[[str], None]
    ) -> DnsServer:
        """Cluster DNS in a Pod's namespace; what isn't the cluster's is forwarded from there."""
        upstreams = [(address, 53) for address in self.upstreams]
        responder = Responder(self.records, Forwarder(upstreams, namespace.socket))
        udp, tcp = listening_sockets(namespace.socket)
        log(".:53")
        return DnsServer(responder, [udp], [tcp], log=lambda entry: log(f"[INFO] {entry}"))

    # who asks whom

    @property
    def outside(self) -> ResolvConf:
        """The resolver's configuration of nodes, clients and other machines."""
        return ResolvConf(self.upstreams)

    def of_pod(self, pod: Document) -> ResolvConf:
        """That of a Pod, as its /etc/resolv.conf has it."""
        service = self._store.find("services", manifests.NAMESPACE, manifests.SERVICE)
        addresses: Sequence[str] = ((service or {}).get("spec") or {}).get("clusterIPs") or ()
        return resolv_conf(pod, addresses, self.outside)

    def close(self) -> None:
        """Stop the public DNS; that of the cluster ends with its Pods."""
        self._end_feed()
        if self._server is not None:
            self._server.close()


def with_command(
    documents: Sequence[Document], command: str, directory: Path, upstreams: Sequence[str]
) -> list[Document]:
    """Cluster DNS run by a user's program (a CoreDNS) with a Corefile that is written here.

    `directory` is the lab's own; its file `dns.kubeconfig` opens the API server from a Pod.
    """
    corefile = directory / "Corefile"
    kubeconfig = directory / "dns.kubeconfig"
    text = _COREFILE.format(kubeconfig=kubeconfig, upstreams=" ".join(upstreams) or "/dev/null")
    corefile.write_text(text)
    service, deployment = documents
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    container["command"] = [*shlex.split(command), "-conf", str(corefile)]
    return [service, deployment]
