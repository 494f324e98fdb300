"""HAProxy's configuration for the `proxy` data plane, as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from testbed.api.objects import IPV6, family_of
from testbed.cloud.balancer import Listener, LoadBalancer, Target

#: HAProxy's own timeouts: seconds to reach a node, and that a connection may be silent.
CONNECT_TIMEOUT, IDLE_TIMEOUT = 2, 3600


def configuration(balancers: Iterable[tuple[LoadBalancer, frozenset[str]]], control: str) -> str:
    """The configuration that serves `balancers`, each with the names of its healthy targets.

    `control`: path of the socket that hands the listeners over to the next process.
    """
    lines = [
        "global",
        f"    stats socket {control} mode 600 level admin expose-fd listeners",
        "defaults",
        "    mode tcp",
        f"    timeout connect {CONNECT_TIMEOUT}s",
        f"    timeout client {IDLE_TIMEOUT}s",
        f"    timeout server {IDLE_TIMEOUT}s",
    ]
    for balancer, healthy in sorted(balancers, key=lambda pair: pair[0].key):
        targets = [t for t in balancer.targets if t.name in healthy]
        for vip in balancer.addresses:
            for listener in balancer.listeners:
                lines += _listen(balancer, vip, listener, targets)
    return "\n".join([*lines, ""])


def _listen(
    balancer: LoadBalancer, vip: str, listener: Listener, targets: Sequence[Target]
) -> list[str]:
    family = family_of(vip)
    name = f"{balancer.key.namespace}.{balancer.key.name}.{listener.port}.{family.lower()}"
    header = " send-proxy-v2" if balancer.proxy_protocol else ""
    servers = [
        f"    server {target.name} {_endpoint(address, listener.node_port)}{header}"
        for target in targets
        if (address := target.address(family)) is not None
    ]
    spread = ["source", "    hash-type consistent"] if balancer.affinity else ["roundrobin"]
    spread[0] = f"    balance {spread[0]}"
    return [f"listen {name}", f"    bind {_endpoint(vip, listener.port)}", *spread, *servers]


def _endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if family_of(address) == IPV6 else f"{address}:{port}"
