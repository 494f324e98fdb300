"""Whose address the backend sees: source × destination × policy × four proxy configurations.

Source: TestInternalExternalMasquerade in pkg/proxy/{iptables,nftables}/proxier_test.go.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from testbed.oracle.world import DetectLocal, Settings
from tests.unit.oracle.builders import NODE_IP, SETTINGS, Case, endpoint, port, service, slice_of
from tests.unit.oracle.builders import said as spoken

POLICIES = {
    "Cluster": ("172.30.0.41", 3001, "1.2.3.4", {}),
    "eTP Local": ("172.30.0.42", 3002, "1.2.3.5", {"externalTrafficPolicy": "Local"}),
    "iTP Local": ("172.30.0.43", 3003, "1.2.3.6", {"internalTrafficPolicy": "Local"}),
}
ALL, LOCAL = "10.180.0.1:80, 10.180.1.1:80", "10.180.0.1:80"

#: source and destination → Cluster, eTP Local, iTP Local (all or local endpoints; M: masqueraded)
DEFAULT = {
    ("pod", "cluster ip"): ("all", "all", "local"),
    ("node", "cluster ip"): ("all M", "all M", "local M"),
    ("external", "cluster ip"): ("all M", "all M", "local M"),
    ("pod", "node port"): ("all M", "all", "all M"),
    ("pod", "lb"): ("all M", "all", "all M"),
    ("node", "node port"): ("all M", "all M", "all M"),
    ("node", "lb"): ("all M", "all M", "all M"),
    ("localhost", "node port"): ("all M", "all M", "all M"),
    ("external", "node port"): ("all M", "local", "all M"),
    ("external", "lb"): ("all M", "local", "all M"),
}
MASQUERADE_ALL = {("pod", "cluster ip"): ("all M", "all M", "local M")}
NO_DETECTOR = {
    ("node", "cluster ip"): ("all", "all", "local"),
    ("external", "cluster ip"): ("all", "all", "local"),
    ("pod", "node port"): ("all M", "local", "all M"),
    ("pod", "lb"): ("all M", "local", "all M"),
}
EVERYTHING = {
    ("node", "cluster ip"): ("all M", "all M", "local M"),
    ("external", "cluster ip"): ("all M", "all M", "local M"),
}
NONE = DetectLocal.NONE
CONFIGURATIONS = {
    "default": (SETTINGS, DEFAULT),
    "masquerade-all": (replace(SETTINGS, masquerade_all=True), DEFAULT | MASQUERADE_ALL),
    "no detector": (replace(SETTINGS, detect_local=NONE), DEFAULT | NO_DETECTOR),
    "both": (
        replace(SETTINGS, detect_local=NONE, masquerade_all=True),
        DEFAULT | NO_DETECTOR | MASQUERADE_ALL | EVERYTHING,
    ),
}


def case(settings: Settings) -> Case:
    services, slices = [], []
    for number, (ip, node_port, vip, policy) in enumerate(POLICIES.values(), 1):
        name = f"ns{number}/svc{number}"
        ports = [port("p80", 80, node_port=node_port)]
        services.append(service(name, ip, type="LoadBalancer", vips=[vip], ports=ports, **policy))
        slices.append(slice_of(name, [endpoint("10.180.0.1"), endpoint("10.180.1.1", "testnode2")]))
    return Case(services, slices, settings)


def rows() -> list[tuple[str, str, str, str, str]]:
    return [
        (configuration, source, destination, policy, result)
        for configuration, (_, table) in CONFIGURATIONS.items()
        for (source, destination), results in table.items()
        for policy, result in zip(POLICIES, results, strict=True)
    ]


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize(("configuration", "source", "destination", "policy", "result"), rows())
def test_source_is_kept_or_masqueraded_as_promised(
    mode: str, configuration: str, source: str, destination: str, policy: str, result: str
) -> None:
    ip, node_port, vip, _ = POLICIES[policy]
    src = {"pod": "10.0.0.2", "node": NODE_IP, "external": "203.0.113.2"}.get(source, "127.0.0.1")
    node_address = "127.0.0.1" if source == "localhost" else NODE_IP
    target = {"cluster ip": f"{ip}:80", "lb": f"{vip}:80"}.get(
        destination, f"{node_address}:{node_port}"
    )
    expected = result.replace("all", ALL).replace("local", LOCAL)
    if source == "localhost" and mode == "nftables":
        expected = "no match"
    said = case(CONFIGURATIONS[configuration][0]).ask(mode, f"tcp {src} -> {target}")
    assert spoken(said) == expected


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("target", ["172.30.0.41:80", "172.30.0.42:80", "172.30.0.43:80"])
def test_pod_that_reaches_itself_sees_the_node(mode: str, target: str) -> None:
    expectation = case(SETTINGS).ask(mode, f"tcp 10.180.0.1 -> {target}")
    seen = {b.ip: b.source.address for b in expectation.backends}
    assert seen["10.180.0.1"] == NODE_IP
    assert seen.get("10.180.1.1", "10.180.0.1") == "10.180.0.1"
    assert "hairpin" in expectation.source_reason
