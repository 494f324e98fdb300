"""What the rules of one service port must do, before any backend spells it.

Source: the first half of syncProxyRules' loop, alike in pkg/proxy/iptables/proxier.go and
pkg/proxy/nftables/proxier.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.service_port import ServicePortInfo
from testbed.proxy.topology import categorize_endpoints

REJECT = "reject"
DROP = "drop"


class Decision(NamedTuple):
    """How one service port is served on this node.

    `cluster` and `local` are the endpoints behind the two policies, `reachable` those of both.
    `has_internal` and `has_external` say whether traffic to the clusterIP (from outside) finds an
    endpoint under its policy; where it doesn't, `refusal` is what happens to it: REJECT where the
    whole cluster has none, DROP where only this node has none. `uses_external` is whether external
    addresses are captured at all; also true where only the short circuit for this node's own
    traffic finds an endpoint.
    """

    cluster: tuple[EndpointInfo, ...]
    local: tuple[EndpointInfo, ...]
    reachable: tuple[EndpointInfo, ...]
    has_endpoints: bool
    has_internal: bool
    has_external: bool
    uses_external: bool

    @property
    def refusal(self) -> str:
        return DROP if self.has_endpoints else REJECT


def decide(
    service_port: ServicePortInfo,
    endpoints: Sequence[EndpointInfo],
    node_name: str,
    zone: str,
) -> Decision:
    """Decide for `service_port` on the node of that name and zone. Pure."""
    cluster, local, reachable, has_any = categorize_endpoints(
        endpoints, service_port, node_name, zone
    )
    return Decision(
        cluster=cluster,
        local=local,
        reachable=reachable,
        has_endpoints=has_any,
        has_internal=has_any and (not service_port.internal_policy_local or bool(local)),
        has_external=has_any and (not service_port.external_policy_local or bool(local)),
        uses_external=has_any and service_port.externally_accessible,
    )
