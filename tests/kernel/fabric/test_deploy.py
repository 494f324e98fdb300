"""Plans become namespaces that carry packets; a plan that fails leaves nothing."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from testbed.errors import TestbedError, UsageError
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace
from testbed.fabric.specs import (
    Address,
    Bridge,
    End,
    NamespaceSpec,
    Neighbour,
    Plan,
    Route,
    Ruleset,
    Sysctl,
    Veth,
)

from .conftest import Exchange

pytestmark = pytest.mark.kernel


def pair(left: str = "a", right: str = "b") -> Plan:
    """Two namespaces on one cable, 10.0.0.1 and 10.0.0.2."""
    return Plan(
        namespaces=(NamespaceSpec(left), NamespaceSpec(right)),
        veths=(
            Veth(
                End(left, "eth0", addresses=("10.0.0.1/24", "fd00::1/64")),
                End(right, "eth0", addresses=("10.0.0.2/24", "fd00::2/64")),
            ),
        ),
    )


def switched(*names: str) -> Plan:
    """Namespaces on one bridge that has a namespace of its own."""
    return Plan(
        namespaces=(NamespaceSpec("s"), *(NamespaceSpec(name) for name in names)),
        bridges=(Bridge("s", "br0"),),
        veths=tuple(
            Veth(
                End(name, "eth0", addresses=(f"10.0.0.{n}/24", f"fd00::{n}/64")),
                End("s", f"port{n}", bridge="br0"),
            )
            for n, name in enumerate(names, 1)
        ),
    )


def links(namespace: Namespace) -> set[str]:
    lines = namespace.run(["ip", "-br", "link"]).splitlines()
    return {line.split()[0].split("@")[0] for line in lines} - {"lo"}


@pytest.mark.parametrize("address", ["10.0.0.2", "fd00::2"])
@pytest.mark.parametrize("plan", [pair(), switched("a", "b")], ids=["cable", "switch"])
def test_the_first_packet_after_deploy_arrives(
    fabric: Fabric, exchange: Exchange, plan: Plan, address: str
) -> None:
    fabric.deploy(plan)
    source = exchange(fabric.namespace("a"), fabric.namespace("b"), address)
    assert source == address[:-1] + "1"


def test_a_later_plan_builds_on_an_earlier_one(fabric: Fabric, exchange: Exchange) -> None:
    fabric.deploy(switched("a", "b"))
    fabric.deploy(
        Plan(
            namespaces=(NamespaceSpec("c"),),
            veths=(
                Veth(End("c", "eth0", addresses=("10.0.0.9/24",)), End("s", "port9", bridge="br0")),
            ),
            addresses=(Address("a", "eth0", "10.1.0.1/24"),),
            routes=(Route("c", "10.1.0.0/24", interface="eth0"),),
        )
    )
    assert exchange(fabric.namespace("c"), fabric.namespace("a"), "10.1.0.1") == "10.0.0.9"


def test_removing_a_namespace_takes_its_links_at_once(fabric: Fabric, exchange: Exchange) -> None:
    fabric.deploy(switched("a", "b", "c"))
    fabric.remove(["b", "c", "unknown"])
    assert [n.name for n in fabric.namespaces()] == ["s", "a"]
    assert links(fabric.namespace("s")) == {"br0", "port1"}
    fabric.deploy(
        Plan(
            namespaces=(NamespaceSpec("b"),),
            veths=(
                Veth(End("b", "eth0", addresses=("10.0.0.2/24",)), End("s", "port2", bridge="br0")),
            ),
        )
    )
    exchange(fabric.namespace("a"), fabric.namespace("b"), "10.0.0.2")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (
            Plan(routes=(Route("c", "10.9.0.0/16", via="10.8.8.8"),)),
            "route 10.9.0.0/16 via 10.8.8.8 in c",
        ),
        (Plan(addresses=(Address("a", "eth7", "10.1.0.1/24"),)), "no interface 'eth7' in a"),
        (
            Plan(addresses=(Address("a", "eth0", "10.0.0.1/24"),)),
            "address 10.0.0.1/24 on eth0 in a",
        ),
        (
            Plan(neighbours=(Neighbour("c", "eth0", "10.0.0.1", "ff:ff"),)),
            "neighbour 10.0.0.1 on eth0 in c",
        ),
        (Plan(sysctls=(Sysctl("a", "net.ipv4.no_such_thing", "1"),)), "net.ipv4.no_such_thing=1"),
        (Plan(rulesets=(Ruleset("a", "inet x", "table inet x { nonsense }"),)), "nft table inet x"),
    ],
    ids=["route", "interface", "address", "neighbour", "sysctl", "ruleset"],
)
def test_a_refused_part_is_named_and_nothing_is_left(
    fabric: Fabric, exchange: Exchange, bad: Plan, message: str
) -> None:
    fabric.deploy(pair())
    before = _state(fabric)
    extension = Plan(
        namespaces=(NamespaceSpec("c"),),
        bridges=(Bridge("b", "br9"),),
        veths=(
            Veth(End("c", "eth0"), End("b", "more")),
            Veth(End("a", "x0"), End("b", "x1")),
        ),
        addresses=(Address("b", "eth0", "10.7.0.1/24"),),
        routes=(Route("a", "10.6.0.0/16", via="10.0.0.2"),),
        sysctls=(Sysctl("a", "net.ipv4.ip_default_ttl", "33"),),
        rulesets=(Ruleset("b", "inet mine", "table inet mine {\n}\n"),),
    )
    with pytest.raises(TestbedError) as caught:
        fabric.deploy(extension + bad)
    assert message in str(caught.value)
    assert _state(fabric) == before
    exchange(fabric.namespace("a"), fabric.namespace("b"), "10.0.0.2")


def _state(fabric: Fabric) -> list[tuple[str, ...]]:
    """Addresses, routes, a sysctl and nft tables; link-local ones come when the kernel likes."""
    commands = (
        ["ip", "-o", "address"],
        ["ip", "route", "show", "table", "all"],
        ["sysctl", "net.ipv4.ip_default_ttl"],
        ["nft", "list", "tables"],
    )
    return [
        (n.name, *(line for argv in commands for line in n.run(argv).splitlines() if _ours(line)))
        for n in fabric.namespaces()
    ]


def _ours(line: str) -> bool:
    return not any(prefix in line for prefix in ("fe80::", "ff00::", "anycast"))


def test_a_name_taken_twice_is_bad_usage(fabric: Fabric) -> None:
    fabric.deploy(pair())
    with pytest.raises(UsageError, match="namespace 'a' exists already in lab"):
        fabric.deploy(pair("a", "c"))
    with pytest.raises(UsageError, match="no namespace 'z'; it has: a, b"):
        fabric.namespace("z")


def test_only_forwarding_namespaces_forward(fabric: Fabric) -> None:
    fabric.deploy(Plan(namespaces=(NamespaceSpec("end"), NamespaceSpec("router", True))))
    keys = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")
    for name, value in (("end", "0"), ("router", "1")):
        namespace = fabric.namespace(name)
        assert [namespace.run(["sysctl", "-n", key]).strip() for key in keys] == [value, value]
    assert fabric.namespace("end").run(["sysctl", "-n", "net.ipv6.conf.default.accept_ra"]) == "0\n"


def test_sysctls_of_an_interface_wait_for_the_interface(fabric: Fabric) -> None:
    fabric.deploy(pair() + Plan(sysctls=(Sysctl("a", "net.ipv4.conf.eth0.proxy_arp", "1"),)))
    value = fabric.namespace("a").run(["sysctl", "-n", "net.ipv4.conf.eth0.proxy_arp"])
    assert value == "1\n"


def test_only_helper_threads_change_namespace(fabric: Fabric) -> None:
    before = Path("/proc/self/ns/net").stat().st_ino
    fabric.deploy(pair())
    seen = fabric.namespace("a").call(
        lambda: (threading.current_thread(), Path("/proc/thread-self/ns/net").stat().st_ino)
    )
    assert seen[0] is not threading.main_thread()
    assert seen[1] == fabric.namespace("a").inode
    assert Path("/proc/self/ns/net").stat().st_ino == before
    with pytest.raises(ZeroDivisionError):
        fabric.namespace("a").call(lambda: 1 // 0)


def test_a_stock_limit_of_open_files_is_raised(lab_name: str) -> None:
    script = f"""
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import NamespaceSpec, Plan
with Fabric({lab_name!r}) as fabric:
    fabric.deploy(Plan(namespaces=tuple(NamespaceSpec(f"n{{i}}") for i in range(100))))
    print(len(fabric.namespaces()))
"""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 256
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("100\n", "")
