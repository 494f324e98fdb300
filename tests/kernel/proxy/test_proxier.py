"""One node's proxy in a real kernel: syncs, modes, stale UDP entries, health checks over HTTP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from testbed.api.objects import IPV4, IPV6, EndpointSlice, Node, Service
from testbed.proxy.config import DEFAULT_SERVICE_CIDRS, KubeProxyConfiguration
from testbed.proxy.conntrack import Conntrack
from testbed.proxy.inputs import render_rules
from testbed.proxy.kernel.applier import FULL, NOTHING, PARTIAL
from testbed.proxy.kernel.transaction import RuleError
from testbed.proxy.proxier import Proxier, sysctls
from testbed.proxy.stale import Flow, StaleFilter
from tests.kernel.proxy.scratch import ScratchNamespace, iptables_save, nft_list, normal_table
from tests.unit.proxy.worlds import documents, make_instance, make_state, of_kind

pytestmark = pytest.mark.kernel

both_modes = pytest.mark.parametrize("mode", ["iptables", "nftables"])


def node_w1(**spec: Any) -> Node:
    return Node.from_document(
        {
            "metadata": {"name": "w1"},
            "spec": spec,
            "status": {"addresses": [{"type": "InternalIP", "address": "172.18.0.11"}]},
        }
    )


def make_proxier(namespace: ScratchNamespace, mode: str) -> Proxier:
    made = Proxier("w1", namespace, KubeProxyConfiguration(mode=mode), DEFAULT_SERVICE_CIDRS)
    made.set_node(node_w1())
    return made


@pytest.fixture
def proxier(namespace: ScratchNamespace, mode: str) -> Iterator[Proxier]:
    made = make_proxier(namespace, mode)
    yield made
    made.close()


def dns_service() -> Service:
    return Service.from_document(
        {
            "metadata": {"name": "dns", "namespace": "default"},
            "spec": {
                "clusterIPs": ["10.96.0.53"],
                "ipFamilies": [IPV4],
                "ports": [{"name": "dns", "protocol": "UDP", "port": 53}],
            },
        }
    )


def dns_slice(*addresses: str) -> EndpointSlice:
    return EndpointSlice.from_document(
        {
            "metadata": {
                "name": "dns-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "dns"},
            },
            "addressType": IPV4,
            "endpoints": [
                {"addresses": [a], "nodeName": "w1", "conditions": {"ready": True}}
                for a in addresses
            ],
            "ports": [{"name": "dns", "protocol": "UDP", "port": 5353}],
        }
    )


def tell(proxier: Proxier, piece: EndpointSlice) -> None:
    """The DNS Service and its endpoints, as changed."""
    service = dns_service()
    proxier.set_service(service.key, service)
    proxier.set_slice(piece.key, piece)


def kube_lines(namespace: ScratchNamespace, family: str = IPV4) -> list[str]:
    return [line for line in iptables_save(namespace, family) if "KUBE" in line]


def tables(namespace: ScratchNamespace) -> str:
    return namespace.run(["nft", "list", "tables"])


@both_modes
def test_a_sync_brings_both_families_to_the_latest_state(
    namespace: ScratchNamespace, mode: str
) -> None:
    docs = documents("dual-stack")
    node = next(n for n in map(Node.from_document, of_kind(docs, "Node")) if n.name == "w1")
    proxier = make_proxier(namespace, mode)
    proxier.set_node(node)
    for service in map(Service.from_document, of_kind(docs, "Service")):
        proxier.set_service(service.key, service)
    for piece in map(EndpointSlice.from_document, of_kind(docs, "EndpointSlice")):
        proxier.set_slice(piece.key, piece)
    assert [report.kind for report in proxier.sync()] == [FULL, FULL]
    for family in (IPV4, IPV6):
        instance, state = make_instance(docs, family, "w1"), make_state(docs, family, "w1")
        rules = render_rules(instance, state, mode)
        if mode == "iptables":
            assert iptables_save(namespace, family) == rules.text().splitlines()
        else:
            assert nft_list(namespace, family) == normal_table(rules.text())
    assert [report.kind for report in proxier.sync()] == [NOTHING, NOTHING]
    tell(proxier, dns_slice("10.244.1.5"))
    assert [report.kind for report in proxier.sync()] == [PARTIAL, NOTHING]
    proxier.close()


def test_switching_the_mode_takes_the_other_modes_rules_away(namespace: ScratchNamespace) -> None:
    proxier = make_proxier(namespace, "iptables")
    tell(proxier, dns_slice("10.244.1.5"))
    proxier.sync()
    assert kube_lines(namespace)
    assert "kube-proxy" not in tables(namespace)
    proxier.set_config(KubeProxyConfiguration(mode="nftables"))
    proxier.sync()
    assert not kube_lines(namespace)
    assert "10.96.0.53" in nft_list(namespace, IPV4)
    proxier.set_config(KubeProxyConfiguration(mode="iptables"))
    proxier.sync()
    assert any("10.96.0.53" in line for line in kube_lines(namespace))
    assert "kube-proxy" not in tables(namespace)
    proxier.close()


@both_modes
def test_cleanup_removes_every_rule_of_ours(namespace: ScratchNamespace, proxier: Proxier) -> None:
    tell(proxier, dns_slice("10.244.1.5"))
    proxier.sync()
    proxier.cleanup()
    assert not kube_lines(namespace)
    assert not kube_lines(namespace, IPV6)
    assert "kube-proxy" not in tables(namespace)


def test_a_family_that_cannot_be_cleaned_up_does_not_spare_the_other(
    namespace: ScratchNamespace,
) -> None:
    proxier = make_proxier(namespace, "nftables")
    proxier.sync()
    backend: Any = proxier._families[IPV6].backend
    applier = backend._applier

    def refuse() -> None:
        raise RuleError("w1", "kube-proxy", "", "refused", 1)

    applier.cleanup = refuse
    with pytest.raises(RuleError, match="refused"):
        proxier.set_config(KubeProxyConfiguration(mode="iptables"))
    assert applier._door.netlink.sock.fileno() == -1
    assert tables(namespace).split("\n") == ["table ip6 kube-proxy", ""]
    assert proxier.mode == "iptables"
    proxier.sync()
    assert kube_lines(namespace)
    proxier.close()


@both_modes
def test_a_check_puts_flushed_rules_back(namespace: ScratchNamespace, proxier: Proxier) -> None:
    tell(proxier, dns_slice("10.244.1.5"))
    proxier.sync()
    assert proxier.check()
    namespace.run(["nft", "flush", "ruleset"])
    assert not proxier.check()
    assert proxier.check()


@both_modes
def test_a_bad_object_is_named_and_the_rest_is_programmed(
    namespace: ScratchNamespace, proxier: Proxier, mode: str
) -> None:
    tell(proxier, dns_slice("10.244.1.5", "not-an-address"))
    proxier.sync()
    assert any("not-an-address" in problem for problem in proxier.problems)
    listed = "".join(kube_lines(namespace)) if mode == "iptables" else nft_list(namespace, IPV4)
    assert "10.244.1.5" in listed


class DnsServer:
    """Answers every datagram with its own address."""

    def __init__(self, namespace: ScratchNamespace, address: str) -> None:
        self.address = address
        namespace.run(["ip", "address", "add", f"{address}/32", "dev", "lo"])
        self.sock = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind((address, 5353))
        self.sock.settimeout(2)

    def answer(self) -> None:
        _, peer = self.sock.recvfrom(100)
        self.sock.sendto(self.address.encode(), peer)


@both_modes
def test_a_udp_client_that_keeps_its_port_is_served_by_the_new_backend(
    namespace: ScratchNamespace, proxier: Proxier
) -> None:
    namespace.run(["ip", "route", "add", "10.96.0.0/16", "dev", "lo"])
    first, second = (DnsServer(namespace, ip) for ip in ("10.244.1.5", "10.244.1.6"))
    client = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(2)
    client.bind(("127.0.0.1", 40000))
    client.connect(("10.96.0.53", 53))

    def ask(server: DnsServer) -> str:
        client.send(b"?")
        server.answer()
        return client.recv(100).decode()

    tell(proxier, dns_slice(first.address))
    proxier.sync()
    assert ask(first) == first.address
    tell(proxier, dns_slice(second.address))
    proxier.sync()
    assert ask(second) == second.address
    for sock in (client, first.sock, second.sock):
        sock.close()


def test_only_stale_entries_are_deleted(namespace: ScratchNamespace) -> None:
    server = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 5353))
    namespace.run(
        ["iptables", "-A", "INPUT", "-m", "conntrack", "--ctstate", "INVALID", "-j", "DROP"]
    )
    clients = []
    for port in (40001, 40002):
        client = namespace.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.bind(("127.0.0.1", port))
        client.sendto(b"?", ("127.0.0.1", 5353 if port == 40001 else 5354))
        clients.append(client)
    conntrack = Conntrack(namespace)
    flows = {entry.flow for entry in conntrack.udp_entries(IPV4)}
    assert flows == {
        Flow("127.0.0.1", 5353, "127.0.0.1", 5353),
        Flow("127.0.0.1", 5354, "127.0.0.1", 5354),
    }
    stale = StaleFilter({("127.0.0.1", 5353): frozenset({("10.244.1.5", 53)})})
    assert conntrack.delete_stale(IPV4, stale) == 1
    assert [e.flow.destination_port for e in conntrack.udp_entries(IPV4)] == [5354]
    assert conntrack.delete_stale(IPV4, stale) == 0
    for each in (server, *clients, conntrack):
        each.close()


def test_sysctls_are_set_at_start_in_the_namespace(namespace: ScratchNamespace) -> None:
    proxier = make_proxier(namespace, "iptables")
    assert proxier.problems == ()
    for key, value in {
        "net/ipv4/conf/all/route_localnet": "1",
        **dict(sysctls(KubeProxyConfiguration())),
    }.items():
        assert namespace.run(["cat", f"/proc/sys/{key}"]).strip() == value
    proxier.close()
