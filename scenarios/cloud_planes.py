"""Whose address does the Pod see? It depends on the cloud, and on externalTrafficPolicy.

Clouds bring packets to nodes in three ways. `nat`: the balancer rewrites the destination to a
node's NodePort, some also the source (`nat-masquerade`). `dsr`: the packet reaches the node as it
was sent, and the answer goes home past the balancer. `proxy`: the balancer ends the connection and
makes one of its own; only the PROXY protocol tells the client's address.

With policy Cluster every node takes the packets and masquerades them: the Pod sees a node. With
Local only nodes with a Pod take them, and leave the source as it came: it shows what the cloud did.
"""

from typing import Any

from testbed.cluster import Cluster
from testbed.flow import Path
from testbed.scenario import Steps, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

PLANES = ("nat", "nat-masquerade", "dsr", "proxy")


def service(plane: str, policy: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": f"{plane}-{policy.lower()}",
            "annotations": {"cloud.testbed/data-plane": plane},
        },
        "spec": {
            "type": "LoadBalancer",
            "ipFamilyPolicy": "RequireDualStack",
            "externalTrafficPolicy": policy,
            "selector": {"app": "web"},
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }


@scenario(
    "Three kinds of cloud × two policies × two families: the address the Pod sees",
    needs=("haproxy",),
)
def cloud_planes(lab: Cluster, steps: Steps) -> None:
    lab.apply(pod("web-1", "w1", app="web"), pod("web-2", "w2", app="web"))
    rows = []
    for plane in PLANES:
        for policy in ("Cluster", "Local"):
            with steps(f"{plane}, externalTrafficPolicy {policy}"):
                lab.apply(service(plane, policy))
                for entry in lab.service(f"{plane}-{policy.lower()}").ingress:
                    rows.append((plane, policy, *seen(lab, steps, plane, policy, entry.ip)))
    with steps("All of it in one table"):
        heads = ("CLOUD", "POLICY", "FAMILY", "THE POD SAW", "AND WAS TOLD")
        widths = [max(len(row[i]) for row in (heads, *rows)) for i in range(len(heads))]
        for row in (heads, *rows):
            line = "  ".join(word.ljust(w) for word, w in zip(row, widths, strict=True))
            steps.note(line.rstrip())


def seen(lab: Cluster, steps: Steps, plane: str, policy: str, vip: str) -> tuple[str, str, str]:
    """(family, whom the Pod saw, whom the PROXY protocol named), checked."""
    version = 6 if ":" in vip else 4
    target = f"[{vip}]:80" if version == 6 else f"{vip}:80"
    body = lab.exchange("client", target).body()
    peer, told = host(body.get("peer", "")), host(body.get("client", ""))
    client = lab.topology.machine("client").address(version)
    balancer = lab.topology.machine("lb").address(version)
    nodes = [address for name in lab.node_names() for address in lab.node_addresses(name)]
    if policy == "Cluster":
        check(peer in nodes, f"{vip}: the Pod saw a node, {peer}", peer)
        who = "a node"
    else:
        kept = plane in ("nat", "dsr")
        wanted = client if kept else balancer
        check(peer == wanted, f"{vip}: the Pod saw {wanted}", peer)
        who = "the client" if kept else "the balancer"
    if plane == "proxy":
        check(told == client, "the PROXY protocol names the client", told)
    check(answers_directly(lab.probe("client", target)) is (plane == "dsr"), way(plane))
    return f"IPv{version}", who, "the client" if told else "–"


def answers_directly(path: Path) -> bool:
    """Whether the answer to the client came past the balancer."""
    return "lb" not in [hop.namespace for hop in path.reply]


def way(plane: str) -> str:
    past = "past" if plane == "dsr" else "through"
    return f"the answer comes {past} the balancer"


def host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")
