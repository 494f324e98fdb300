"""What a lab can be told: proxy modes, ranges, Pod network, cloud."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from testbed.errors import UsageError
from testbed.proxy.external.configuration import check_command
from testbed.shell import find_program

PROXY_MODES = ("iptables", "nftables", "none")
CLOUDS = ("nat", "nat-masquerade", "dsr", "proxy", "none")


@dataclass(frozen=True, slots=True)
class LabOptions:
    """Settings of one lab; ranges as CIDRs, the primary family first.

    `proxy` is every node's proxy mode, `node_proxies` the exceptions by node name. `pod_network` is
    a driver of control.podnet. `cloud` is the load balancers' data plane, or none. With `api` the
    API server listens, for kubectl on the host's loopback and for Pods at Service kubernetes.
    `images` is a file that says which programs stand for images (runtime.images). With `dns`
    cluster DNS runs in Pods; `dns_command` is a CoreDNS of the user's that serves instead (it needs
    `api`). With `ingress` an Ingress controller runs (nginx in a Pod). With `keep` the lab outlives
    its control plane: the store has a journal in the run directory, and the Pods' applications run
    in a keeper (runtime.keeper). `proxy_command` is a program of the user's that writes the nodes'
    rules instead (docs/external-proxy.md); it has caught up with a change when the rules have been
    the same for `proxy_quiet` seconds. It needs `api`. `proxy_config` has fields of a
    KubeProxyConfiguration that stand over those that it is given.
    """

    proxy: str = "iptables"
    node_proxies: Mapping[str, str] = field(default_factory=dict)
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16", "fd00:10:244::/56")
    service_cidrs: tuple[str, ...] = ("10.96.0.0/16", "fd00:10:96::/112")
    pod_network: str = "routes"
    cloud: str = "nat"
    api: bool = False
    dns: bool = False
    dns_command: str = ""
    ingress: bool = False
    keep: bool = False
    proxy_command: str = ""
    proxy_quiet: float = 0.5
    proxy_config: Mapping[str, Any] = field(default_factory=dict)
    images: Path | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for mode in (self.proxy, *self.node_proxies.values()):
            if mode not in PROXY_MODES:
                raise UsageError(f"proxy mode {mode!r}: one of {', '.join(PROXY_MODES)}")
        if self.cloud not in CLOUDS:
            raise UsageError(f"cloud {self.cloud!r}: one of {', '.join(CLOUDS)}")
        if self.proxy_command:
            check_command(self.proxy_command)
            if not self.api:
                raise UsageError("a proxy command needs a lab with api")
        elif self.proxy_config:
            raise UsageError("a proxy configuration needs a proxy command that it is for")
        if self.dns_command and not (self.dns and self.api):
            raise UsageError("a DNS command needs a lab with dns and api")
        if self.dns_command:
            check_dns_command(self.dns_command)

    def check_programs(self) -> None:
        """Raise CannotRunError where a program that the lab's parts are isn't installed."""
        if self.cloud == "proxy":
            find_program("haproxy")

    def check_nodes(self, nodes: Sequence[str]) -> None:
        """Raise UsageError for a setting of a node that the topology doesn't have."""
        for name in self.node_proxies:
            if name not in nodes:
                raise UsageError(f"proxy mode of {name!r}: no such node; known: {', '.join(nodes)}")

    def with_proxy(self, node: str, mode: str) -> LabOptions:
        """These options with another proxy mode for one node; raises UsageError."""
        return replace(self, node_proxies={**self.node_proxies, node: mode})

    def proxy_of(self, node: str) -> str:
        """The proxy mode of a node."""
        return self.node_proxies.get(node, self.proxy)


def check_dns_command(command: str) -> None:
    """Raise UsageError for a DNS command whose program isn't there."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"--dns-command: {error}") from None
    if not words:
        raise UsageError("--dns-command: no program in it")
    if shutil.which(words[0]) is None:
        raise UsageError(f"--dns-command: no program {words[0]!r}")
