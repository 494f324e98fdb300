"""The source matrix, measured: which address a Pod sees, by client, Service, policy, proxy, cloud.

Each row is one followed connection. One Pod serves, on w1; w2 and w3 have none of the Service.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from testbed.cluster import Cluster
from testbed.flow.paths import DELIVERED, Path

MODES = ("iptables", "nftables")
BALANCERS = ("nat", "nat-masquerade", "dsr", "proxy")
POLICIES = ("Cluster", "Local")
NODE_PORT = 30080
#: What a row calls the place that asks → FROM word.
PLACES = {
    "the Pod itself": "pod/web",
    "Pod on the same node": "pod/near",
    "Pod on another node": "pod/far",
    "the Pod's node": "node/w1",
    "another node": "node/w2",
    "client outside": "client",
}
#: Who gets no answer has waited long enough, seconds.
_PATIENCE = 0.4


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement. `balancer` is "" for doors without one; `seen` is "" where nothing came.

    `who` names the owner of the address seen, `snat` the places that replaced the source, `hops`
    the namespaces on the way there, switches left out.
    """

    proxy: str
    client: str
    door: str
    policy: str
    balancer: str
    seen: str
    who: str
    snat: tuple[str, ...]
    hops: tuple[str, ...]
    verdict: str

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(
    modes: Sequence[str] = MODES,
    balancers: Sequence[str] = BALANCERS,
    tell: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Build the labs, one after another, and measure every row. Raises as Cluster does."""
    rows: list[Row] = []
    for mode in modes:
        for number, balancer in enumerate(balancers or ("none",)):
            name = f"sources-{os.getpid()}-{mode[0]}{number}"
            with Cluster("three_nodes", name=name, proxy=mode, cloud=balancer) as lab:
                found = list(_rows(lab, mode, balancer, everything=number == 0))
            tell(f"{mode}, load balancer {balancer}: {len(found)} connections")
            rows += found
    return rows


def _rows(lab: Cluster, mode: str, balancer: str, *, everything: bool) -> Iterator[Row]:
    lab.apply([_pod("web", "w1", "web"), _pod("near", "w1"), _pod("far", "w2")])
    for policy in POLICIES:
        lab.apply([_service(policy, balancer)])
        if balancer == "proxy":
            # The echo application understands the PROXY protocol, most applications don't.
            lab.patch("services", "web", _without_proxy_protocol())
        service = lab.service("web")
        for client, word in PLACES.items():
            doors = _doors(lab, policy) if everything else {}
            if service.ingress:
                doors["load balancer"] = f"{service.ingress[0].ip}:80"
            for door, target in doors.items():
                if door == "ClusterIP" and word == "client":
                    continue  # no route leads there
                path = lab.probe(word, target, timeout=_PATIENCE)
                through = balancer if door == "load balancer" else ""
                shown = "" if door == "ClusterIP" else policy
                yield _row(lab, path, (mode, client, door, shown, through))


def _doors(lab: Cluster, policy: str) -> dict[str, str]:
    near, far = (f"{lab.node_addresses(n)[0]}:{NODE_PORT}" for n in ("w1", "w3"))
    doors = {"NodePort of the Pod's node": near, "NodePort of a node without Pod": far}
    if policy == POLICIES[0]:
        doors = {"ClusterIP": f"{lab.service('web').cluster_ips[0]}:80", **doors}
    return doors


def _row(lab: Cluster, path: Path, what: tuple[str, str, str, str, str]) -> Row:
    hops = [hop.namespace for leg in path.legs for hop in leg.hops]
    switches = {m.name for m in lab.topology.machines if m.role == "switch"}
    seen = path.source_seen if path.final.verdict.kind == DELIVERED else ""
    makers = dict.fromkeys((*path.masqueraded_at(), *path.relayed_at()))
    return Row(
        *what,
        seen=seen,
        who=_owner(lab, path, seen),
        snat=tuple(makers),
        hops=tuple(dict.fromkeys(h for h in hops if h not in switches)),
        verdict=path.final.verdict.kind,
    )


def _owner(lab: Cluster, path: Path, address: str) -> str:
    if not address:
        return ""
    if address == path.flow.source:
        return "the client's own"
    for machine in lab.topology.machines:
        if address in machine.addresses:
            return f"{machine.name}'s"
    return next((f"{p.key.name}'s" for p in lab.all_pods() if address in p.ips), "another")


def _without_proxy_protocol() -> dict[str, Any]:
    return {"metadata": {"annotations": {"cloud.testbed/proxy-protocol": "none"}}}


def _pod(name: str, node: str, app: str = "") -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app} if app else {}},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "echo"}]},
    }


def _service(policy: str, balancer: str) -> dict[str, Any]:
    kind = "NodePort" if balancer == "none" else "LoadBalancer"
    ports = [{"port": 80, "targetPort": 8080, "nodePort": NODE_PORT}]
    spec = {"type": kind, "externalTrafficPolicy": policy, "selector": {"app": "web"}}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {**spec, "ports": ports},
    }
