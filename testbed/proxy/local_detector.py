"""How a packet from a Pod of this node is told from others.

Source: pkg/proxy/util/localdetector.go, cmd/kube-proxy/app/server_linux.go getLocalDetectors.
"""

from __future__ import annotations

from dataclasses import dataclass

from testbed.proxy.addresses import parse_cidr
from testbed.proxy.config import KubeProxyConfiguration
from testbed.proxy.node import LocalNode


@dataclass(frozen=True, slots=True)
class LocalDetector:
    """Local is what comes from `cidr`, or in through `interface`: a name, or a prefix of names.

    With neither, nothing is detected: no clusterIP masquerade, no short circuit for Pods.
    """

    cidr: str = ""
    interface: str = ""
    is_prefix: bool = False

    def __bool__(self) -> bool:
        return bool(self.cidr or self.interface)


def local_detector(config: KubeProxyConfiguration, node: LocalNode) -> LocalDetector:
    """The detector that `config` asks for on `node`, in the node's family."""
    if config.detect_local_mode == "BridgeInterface":
        return LocalDetector(interface=config.bridge_interface)
    if config.detect_local_mode == "InterfaceNamePrefix":
        return LocalDetector(interface=config.interface_name_prefix, is_prefix=True)
    if config.detect_local_mode == "NodeCIDR":
        return LocalDetector(cidr=node.pod_cidr)
    for text in config.cluster_cidr:
        parsed = parse_cidr(text)
        if parsed and parsed[0] == node.family:
            return LocalDetector(cidr=parsed[1])
    return LocalDetector()
