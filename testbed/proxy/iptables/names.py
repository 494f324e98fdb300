"""Names of the chains of iptables mode. Source: pkg/proxy/iptables/proxier.go; catalogue 3.3."""

from __future__ import annotations

import base64
import hashlib

from testbed.proxy.service_port import ServicePortName

SERVICES = "KUBE-SERVICES"
EXTERNAL_SERVICES = "KUBE-EXTERNAL-SERVICES"
NODE_PORTS = "KUBE-NODEPORTS"
POSTROUTING = "KUBE-POSTROUTING"
MARK_MASQ = "KUBE-MARK-MASQ"
FORWARD = "KUBE-FORWARD"
PROXY_FIREWALL = "KUBE-PROXY-FIREWALL"
FIREWALL = "KUBE-FIREWALL"
CANARY = "KUBE-PROXY-CANARY"

CLUSTER_POLICY = "KUBE-SVC-"
LOCAL_POLICY = "KUBE-SVL-"
EXTERNAL = "KUBE-EXT-"
LOAD_BALANCER_FIREWALL = "KUBE-FW-"
ENDPOINT = "KUBE-SEP-"

#: Chains that come and go with Services; what begins so and isn't wanted is stale.
SERVICE_PREFIXES = (CLUSTER_POLICY, LOCAL_POLICY, EXTERNAL, LOAD_BALANCER_FIREWALL, ENDPOINT)


def port_hash(name: ServicePortName) -> str:
    """The 16 characters that the chains of one service port share."""
    return _hash(f"{name}{name.protocol.lower()}")


def endpoint_chain(name: ServicePortName, endpoint: str) -> str:
    """The chain of the endpoint `ip:port` behind one service port."""
    return ENDPOINT + _hash(f"{name}{name.protocol.lower()}{endpoint}")


def _hash(text: str) -> str:
    # 10 bytes are the first 16 characters of the whole digest in base32.
    return base64.b32encode(hashlib.sha256(text.encode()).digest()[:10]).decode()
