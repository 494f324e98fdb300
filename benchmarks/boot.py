"""How fast a lab of 3 nodes and 102 Pods comes up and goes: ours, `ip -batch`, stock Mininet.

    sudo .venv/bin/python benchmarks/boot.py [--rounds 5] [--without-mininet]

Ours: namespaces, links, addresses, default routes, node routes (both families), and a TCP listener
in every Pod; going down ends what runs inside. `ip -batch`: the same without listeners, then `netns
pids` and `netns del`. Mininet: hosts and links alone. The three take turns within each round; the
table shows medians. Exit status 1 where ours isn't faster than `ip -batch`, or not ten times as
fast as Mininet, up or down.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from testbed.api.objects import Node
from testbed.control.podnet import pod_network
from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import open_sockets
from testbed.fabric.specs import Bridge, End, NamespaceSpec, Plan, Veth

NODES, PODS_PER_NODE = 3, 34
PORT = 8080
REST = 1.0
#: (seconds up, seconds down)
Times = tuple[float, float]

#: Mininet's helper isn't in its wheel; without it on the machine, this does the same by util-linux.
MNEXEC = """#!/bin/sh
case $1 in
-da|-a) shift; pid=$1; shift; exec nsenter -n -m -t "$pid" -- "$@";;
-*n*) shift; exec setsid unshare -n -m -- "$@";;
-*) shift; exec setsid "$@";;
esac
"""

STOCK = f"""
import json, time
from mininet.link import Link
from mininet.net import Mininet
from mininet.node import Host
Mininet.inited = True  # its set-up changes the host's sysctls
start = time.perf_counter()
net = Mininet(controller=None)
for n in range(1, {NODES} + 1):
    node = net.addHost(f"w{{n}}")
    for i in range({PODS_PER_NODE}):
        net.addLink(net.addHost(f"p{{n}}x{{i}}"), node)
net.start()
up = time.perf_counter()
net.stop()
print(json.dumps([up - start, time.perf_counter() - up]))
"""


def nodes() -> list[Node]:
    return [
        Node(
            f"w{n}",
            {},
            (("InternalIP", f"172.18.0.{10 + n}"), ("InternalIP", f"fd00:172:18::{10 + n}")),
            (f"10.244.{n}.0/24", f"fd00:10:244:{n}::/64"),
        )
        for n in range(1, NODES + 1)
    ]


def pods() -> list[tuple[str, Node, tuple[str, str]]]:
    return [
        (f"p{n}x{i}", node, (f"10.244.{n}.{i + 2}", f"fd00:10:244:{n}::{i + 2:x}"))
        for n, node in enumerate(nodes(), 1)
        for i in range(PODS_PER_NODE)
    ]


def whole_plan() -> Plan:
    """A switch, the nodes on it, their Pods."""
    network = pod_network("routes")
    plans = [Plan(namespaces=(NamespaceSpec("s1"),), bridges=(Bridge("s1", "br0"),))]
    for node in nodes():
        v4, v6 = (address for _, address in node.addresses)
        end = End(node.name, "eth0", addresses=(f"{v4}/24", f"{v6}/64"))
        plans.append(
            Plan(
                namespaces=(NamespaceSpec(node.name, forwarding=True),),
                veths=(Veth(end, End("s1", f"s1-{node.name}", bridge="br0")),),
            )
        )
    plans.append(network.node_plan(nodes()))
    plans += [network.pod_plan(name, node, addresses) for name, node, addresses in pods()]
    return Plan.total(plans)


def ours() -> Times:
    start = time.perf_counter()
    fabric = Fabric(f"boot-{os.getpid()}")
    try:
        fabric.deploy(whole_plan())
        places = [fabric.namespace(name) for name, _, _ in pods()]
        listeners = open_sockets(places, socket.AF_INET6, socket.SOCK_STREAM)
        for listener in listeners:
            listener.bind(("::", PORT))
            listener.listen()
        up = time.perf_counter()
        for listener in listeners:
            listener.close()
    finally:
        fabric.close()
    return up - start, time.perf_counter() - up


def ip_commands() -> list[tuple[list[str], str]]:
    """(argv, standard input) of the commands that make `whole_plan`."""
    plan = whole_plan()
    inside: dict[str, list[str]] = {spec.name: ["link set lo up"] for spec in plan.namespaces}
    links: list[str] = []
    for bridge in plan.bridges:
        links.append(f"link add {bridge.interface} netns {bridge.namespace} type bridge")
        inside[bridge.namespace].append(f"link set {bridge.interface} up")
    for veth in plan.veths:
        ends = (
            f"{end.interface} netns {end.namespace}" + (f" address {end.mac}" if end.mac else "")
            for end in (veth.left, veth.right)
        )
        links.append("link add {} type veth peer name {}".format(*ends))
        for end in (veth.left, veth.right):
            master = f" master {end.bridge}" if end.bridge else ""
            inside[end.namespace].append(f"link set {end.interface}{master} up")
            for address in end.addresses:
                nodad = " nodad" if ":" in address else ""
                inside[end.namespace].append(f"address add {address} dev {end.interface}{nodad}")
    for near in plan.neighbours:
        inside[near.namespace].append(
            f"neigh add {near.address} lladdr {near.mac} dev {near.interface}"
        )
    for route in plan.routes:
        words = [
            "route add",
            route.kind if route.kind != "unicast" else "",
            route.destination,
            f"via {route.via}" if route.via else "",
            f"dev {route.interface}" if route.interface else "",
            f"src {route.source}" if route.source else "",
            "onlink" if route.onlink else "",
        ]
        inside[route.namespace].append(" ".join(word for word in words if word))
    commands = [
        (["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in inside)),
        (["ip", "-batch", "-"], "\n".join(links)),
    ]
    for spec in plan.namespaces:
        settings = ["net.ipv6.conf.default.accept_dad=0", "net.ipv6.conf.default.accept_ra=0"]
        if spec.forwarding:
            settings += ["net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]
        commands.append((["ip", "netns", "exec", spec.name, "sysctl", "-qw", *settings], ""))
    # One process for a namespace: a batch has no command that changes the namespace.
    commands += [
        (["ip", "-n", name, "-batch", "-"], "\n".join(todo)) for name, todo in inside.items()
    ]
    commands += [
        (["ip", "netns", "exec", rules.namespace, "nft", "-f", "-"], rules.text)
        for rules in plan.rulesets
    ]
    return commands


def run_ip_commands() -> None:
    """Entry point of the process that runs `ip`, in mount and network namespaces of its own."""
    commands = ip_commands()
    names = [spec.name for spec in whole_plan().namespaces]
    gone = "".join(f"netns {verb} {name}\n" for verb in ("pids", "del") for name in names)
    start = time.perf_counter()
    for argv, text in commands:
        subprocess.run(argv, input=text, text=True, check=True)
    up = time.perf_counter()
    argv = ["ip", "-batch", "-"]
    inside = subprocess.run(argv, input=gone, text=True, check=True, stdout=subprocess.PIPE)
    assert inside.stdout == ""  # nobody to end
    print(json.dumps([up - start, time.perf_counter() - up]))


def ip_batch() -> Times:
    inner = f'mount -t tmpfs none /run && exec "{sys.executable}" "{__file__}" --run-ip'
    return in_namespaces(["unshare", "-mn", "sh", "-c", inner], dict(os.environ))


def mininet() -> Times:
    with tempfile.TemporaryDirectory() as place:
        helper = Path(place, "mnexec")
        helper.write_text(MNEXEC)
        helper.chmod(0o755)
        path = f"{os.environ['PATH']}:/usr/sbin:/sbin:{place}"
        argv = ["unshare", "-pfmn", "--mount-proc", sys.executable, "-c", STOCK]
        return in_namespaces(argv, {**os.environ, "PATH": path})


def in_namespaces(argv: list[str], environment: dict[str, str]) -> Times:
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, env=environment, check=True)
    up, down = json.loads(done.stdout.splitlines()[-1])
    return up, down


def main() -> int:
    """Measure, print the table, say what isn't met."""
    parser = argparse.ArgumentParser(description="Boot speed of 3 nodes and 102 Pods.")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each (default 5)")
    parser.add_argument("--without-mininet", action="store_true", help="skip the slow one")
    parser.add_argument("--run-ip", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run_ip:
        run_ip_commands()
        return 0
    contestants: dict[str, Callable[[], Times]] = {"ours": ours, "ip -batch": ip_batch}
    if not options.without_mininet:
        contestants["stock Mininet"] = mininet
    measured: dict[str, list[Times]] = {name: [] for name in contestants}
    for _ in range(options.rounds):
        for name, contestant in contestants.items():
            measured[name].append(contestant())
            # The kernel dismantles namespaces in the background and makes none meanwhile: each
            # contestant is to meet a kernel at rest.
            time.sleep(REST)
    medians = {
        name: (statistics.median(t[0] for t in times), statistics.median(t[1] for t in times))
        for name, times in measured.items()
    }
    return report(medians)


def report(medians: dict[str, Times]) -> int:
    """Print times and ratios to ours; 1 where a floor isn't met."""
    floors = {"ip -batch": 1.0, "stock Mininet": 10.0}
    title = f"{NODES} nodes, {NODES * PODS_PER_NODE} Pods"
    print(f"{title:<17}{'up':>13}{'× ours':>11}{'down':>10}{'× ours':>11}")
    failed: list[str] = []
    for name, (up, down) in medians.items():
        ratios = (up / medians["ours"][0], down / medians["ours"][1])
        print(f"{name:<17}{up:>13.3f} s{ratios[0]:>9.1f}{down:>10.3f} s{ratios[1]:>9.1f}")
        for what, ratio in zip(("up", "down"), ratios, strict=True):
            floor = floors.get(name, 0.0)
            if ratio < floor or (ratio <= 1.0 and floor == 1.0):
                failed.append(f"{what}: ours is {ratio:.1f} × as fast as {name}, not {floor:g} ×")
    for line in failed:
        print(f"MISSED  {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
