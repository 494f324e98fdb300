"""Names of the sets, maps and chains of nftables mode.

Source: pkg/proxy/nftables/proxier.go; catalogue 4.2…4.4.
"""

from __future__ import annotations

import base64
import hashlib

from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.service_port import ServicePortName

HAIRPIN_CONNECTIONS = "hairpin-connections"
CLUSTER_IPS = "cluster-ips"
NODE_PORT_IPS = "nodeport-ips"
NO_ENDPOINT_SERVICES = "no-endpoint-services"
NO_ENDPOINT_NODE_PORTS = "no-endpoint-nodeports"
FIREWALL_IPS = "firewall-ips"
SERVICE_IPS = "service-ips"
SERVICE_NODE_PORTS = "service-nodeports"

NODE_PORT_ENDPOINTS_CHECK = "nodeport-endpoints-check"
SERVICE_ENDPOINTS_CHECK = "service-endpoints-check"
FIREWALL_CHECK = "firewall-check"
SERVICES = "services"
MASQUERADING = "masquerading"
CLUSTER_IPS_CHECK = "cluster-ips-check"
REJECT_CHAIN = "reject-chain"

CLUSTER_POLICY = "service-"
LOCAL_POLICY = "local-"
EXTERNAL = "external-"
FIREWALL = "firewall-"
ENDPOINT = "endpoint-"
AFFINITY = "affinity-"

#: Longest base name: nft allows 256 characters, of which the prefix may take 16.
BASE_LIMIT = 240


def port_base(name: ServicePortName) -> str:
    """The part that all chains of one service port share: `HASH-ns/name/proto/port`."""
    return _with_hash(_path(name))


def endpoint_base(name: ServicePortName, endpoint: EndpointInfo) -> str:
    """The part that the chain and the affinity set of one endpoint share."""
    # A colon can't be in a chain's name.
    return _with_hash(f"{_path(name)}__{endpoint.ip.replace(':', '.')}/{endpoint.port}")


def _path(name: ServicePortName) -> str:
    return f"{name.namespace}/{name.name}/{name.protocol.lower()}/{name.port}"


def _with_hash(text: str) -> str:
    # 5 bytes are the first 8 characters of the whole digest in base32.
    digest = base64.b32encode(hashlib.sha256(text.encode()).digest()[:5]).decode()
    named = f"{digest}-{text}"
    return named if len(named) <= BASE_LIMIT else f"{named[: BASE_LIMIT - 3]}..."
