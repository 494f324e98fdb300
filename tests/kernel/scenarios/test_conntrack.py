"""The cases of upstream's conntrack suite (test/e2e/network/conntrack.go), by packets.

A UDP client that keeps its source port must be served by the new backend after one sync; each test
sends one datagram before and one after.
"""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from testbed.api.documents import Document
from testbed.cluster import Cluster
from testbed.flow.headers import parse_packet
from testbed.probe import packets
from testbed.scenario.manifests import pod

pytestmark = pytest.mark.kernel

CLIENT_PORT = 12345
VIP = "10.96.7.7"


def service(**spec: object) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "udp"},
        "spec": {
            "selector": {"app": "udp"},
            "clusterIP": VIP,
            "ports": [{"port": 90, "targetPort": 8080, "protocol": "UDP"}],
            **spec,
        },
    }


NODE_PORT = {
    "type": "NodePort",
    "ports": [{"port": 90, "targetPort": 8080, "protocol": "UDP", "nodePort": 30090}],
}


def backend(number: int, node: str) -> Document:
    return pod(f"backend-{number}", node, app="udp")


def ask(cluster: Cluster, source: str, target: str) -> str:
    """The Pod that answers a datagram from the one source port, or how it ended."""
    found = cluster.exchange(source, target, protocol="udp", source_port=CLIENT_PORT, timeout=0.5)
    return str(found.body().get("pod", found.kind))


def cycle(cluster: Cluster, source: str, target: str, nodes: tuple[str, str]) -> None:
    """backend-1 serves; backend-2 comes and backend-1 goes: the next datagram is backend-2's."""
    cluster.apply(backend(1, nodes[0]))
    assert ask(cluster, source, target) == "backend-1"
    cluster.apply(backend(2, nodes[1]))
    assert ask(cluster, source, target) == "backend-1"
    cluster.delete(backend(1, nodes[0]))
    assert ask(cluster, source, target) == "backend-2"


@pytest.mark.parametrize("nodes", [("w1", "w1"), ("w1", "w2")], ids=["same-node", "other-node"])
@pytest.mark.parametrize("source", ["pod/client", "client", "node/w3"])
def test_server_pod_cycles_behind_a_node_port(
    cluster: Cluster, source: str, nodes: tuple[str, str]
) -> None:
    cluster.apply(service(**NODE_PORT), pod("client", "w3"))
    cycle(cluster, source, f"{cluster.node_addresses('w1')[0]}:30090", nodes)


@pytest.mark.parametrize("source", ["pod/client", "pod/host-client"])
def test_server_pod_cycles_behind_a_cluster_ip(cluster: Cluster, source: str) -> None:
    cluster.apply(service(), pod("client", "w3"), pod("host-client", "w3", hostNetwork=True))
    cycle(cluster, source, f"{VIP}:90", ("w1", "w2"))


def test_server_pod_cycles_behind_a_cluster_ip_in_ipv6(cluster: Cluster) -> None:
    both = service(ipFamilyPolicy="RequireDualStack")
    cluster.apply(both, pod("client", "w3"))
    six = cluster.service("udp").cluster_ips[1]
    cycle(cluster, "pod/client", f"[{six}]:90", ("w1", "w2"))


def test_local_server_pod_cycles_under_internal_traffic_policy_local(cluster: Cluster) -> None:
    cluster.apply(service(internalTrafficPolicy="Local"), pod("client", "w1"))
    cluster.apply(backend(1, "w1"), backend(9, "w2"))
    assert ask(cluster, "pod/client", f"{VIP}:90") == "backend-1"
    cluster.delete(backend(1, "w1"))
    assert ask(cluster, "pod/client", f"{VIP}:90") == "timeout"
    cluster.apply(backend(2, "w1"))
    assert ask(cluster, "pod/client", f"{VIP}:90") == "backend-2"


def test_endpoints_that_were_not_ready_at_first_get_ready(cluster: Cluster) -> None:
    gate = "example.com/go"
    cluster.apply(service(), pod("client", "w3"))
    cluster.apply(pod("backend-1", "w1", app="udp", readinessGates=[{"conditionType": gate}]))
    assert ask(cluster, "pod/client", f"{VIP}:90") == "refused"
    condition = {"type": gate, "status": "True"}
    status = {"conditions": [*cluster.get("pods", "backend-1")["status"]["conditions"], condition]}
    cluster.patch("pods", "backend-1", {"status": status}, subresource="status")
    assert ask(cluster, "pod/client", f"{VIP}:90") == "backend-1"


def test_a_client_that_began_before_the_service_is_served(cluster: Cluster) -> None:
    """Its entry was never translated; kept alive by every datagram it would stay for ever.

    nftables mode would refuse the unknown ClusterIP, so the first datagram leaves without a proxy.
    """
    cluster.net["router"].cmd(f"ip route add blackhole {VIP}/32")
    cluster.set_proxy("none", "w3")
    cluster.apply(pod("client", "w3"))
    assert ask(cluster, "pod/client", f"{VIP}:90") == "timeout"
    cluster.set_proxy(cluster.options.proxy, "w3")
    assert ask(cluster, "pod/client", f"{VIP}:90") == "timeout"
    cluster.apply(service(), backend(1, "w1"))
    assert ask(cluster, "pod/client", f"{VIP}:90") == "backend-1"


def test_the_target_port_changes_behind_a_node_port(cluster: Cluster) -> None:
    containers = [
        {
            "name": "app",
            "image": "echo",
            "ports": [{"containerPort": number, "protocol": "UDP"} for number in (8080, 9090)],
        }
    ]
    cluster.apply(service(**NODE_PORT), pod("client", "w3"))
    cluster.apply(pod("backend-1", "w1", app="udp", containers=containers))
    target = f"{cluster.node_addresses('w1')[0]}:30090"

    def port() -> str:
        found = cluster.exchange(
            "pod/client", target, protocol="udp", source_port=CLIENT_PORT, timeout=0.5
        )
        return str(found.body()["local"]).rpartition(":")[2]

    assert port() == "8080"
    changed = [{**NODE_PORT["ports"][0], "targetPort": 9090}]
    cluster.patch("services", "udp", {"spec": {"ports": changed}})
    assert port() == "9090"


BOOM = """
apiVersion: v1
kind: Service
metadata: {name: boom}
spec:
  selector: {app: boom}
  clusterIP: 10.96.7.8
  ports: [{port: 9000, targetPort: 9000}]
"""


def survives_a_stray_packet(cluster: Cluster) -> bool:
    """Whether a connection goes on after its server sent a packet far out of its window.

    The client's node can't place such a packet and doesn't translate it back. If it lets it
    through, the client sees a stranger and answers with a reset, which the server believes.
    """
    server = cluster.fabric.namespace("default.boom")
    client = cluster.fabric.namespace("default.client")
    raw = server.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    connection = client.socket(socket.AF_INET, socket.SOCK_STREAM)
    with closing(raw), closing(connection):
        raw.settimeout(5)
        connection.settimeout(5)
        connection.connect(("10.96.7.8", 9000))
        connection.sendall(b"one\n")
        assert connection.recv(4096)
        seen = None
        while seen is None or not seen.payload:
            seen = parse_packet(raw.recv(4096))
        far = (seen.acknowledgement + 50_000_000) % 2**32
        stray = packets.tcp(seen.flow.reversed(), flags="A", sequence=far)
        stray.payload.ack = seen.sequence + len(seen.payload)
        packets.send(server, [bytes(stray)])
        try:
            connection.sendall(b"two\n")
            return bool(connection.recv(4096))
        except ConnectionResetError:
            return False


def test_a_stray_packet_of_the_server_is_dropped_in_iptables_mode_only(cluster: Cluster) -> None:
    """Upstream's boom server. nftables mode has no rule for it and wants tcp_be_liberal instead."""
    cluster.apply(BOOM, pod("client", "w1"), pod("boom", "w2", app="boom"))
    assert survives_a_stray_packet(cluster) is (cluster.options.proxy == "iptables")


def test_a_liberal_conntrack_translates_a_stray_packet_back(cluster: Cluster) -> None:
    cluster.apply(BOOM, pod("client", "w1"), pod("boom", "w2", app="boom"))
    cluster.fabric.namespace("w1").sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", "1")
    assert survives_a_stray_packet(cluster)
