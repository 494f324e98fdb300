"""hostPorts as nft rules."""

from __future__ import annotations

from typing import Any

from testbed.runtime.hostports import TABLE, mappings, ruleset


def pod(**port: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 80, **port}]}]},
    }


BOTH = ("10.244.1.2", "fd00:10:244:1::2")


def rules(*pods: dict[str, Any]) -> list[str]:
    return [mapping.rule for mapping in mappings((each, BOTH) for each in pods)]


def test_without_an_address_every_family_is_mapped() -> None:
    assert rules(pod(hostPort=8080)) == [
        "meta nfproto ipv4 tcp dport 8080 dnat ip to 10.244.1.2:80",
        "meta nfproto ipv6 tcp dport 8080 dnat ip6 to [fd00:10:244:1::2]:80",
    ]


def test_the_unspecified_address_means_its_own_family() -> None:
    assert len(rules(pod(hostPort=8080, hostIP="0.0.0.0"))) == 1


def test_an_exact_address_comes_before_all_addresses() -> None:
    found = rules(pod(hostPort=53, protocol="UDP"), pod(hostPort=53, hostIP="172.18.0.11"))
    assert found[0] == "ip daddr 172.18.0.11 tcp dport 53 dnat ip to 10.244.1.2:80"


def test_ports_without_host_port_are_not_mapped() -> None:
    assert rules(pod()) == []
    assert ruleset([]).splitlines()[-1] == f"delete table inet {TABLE}"
