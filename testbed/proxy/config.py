"""kube-proxy's settings, under kube-proxy's names.

Source: staging/src/k8s.io/kube-proxy/config/v1alpha1/types.go, cmd/kube-proxy/app/options.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from testbed.api.documents import Document
from testbed.errors import UsageError
from testbed.proxy.addresses import parse_cidr

IPTABLES = "iptables"
NFTABLES = "nftables"
MODES = (IPTABLES, NFTABLES)

#: The cluster CIDR of a lab, where nothing else is said.
DEFAULT_CLUSTER_CIDR = ("10.244.0.0/16", "fd00:10:244::/56")
#: The ranges of a lab's ClusterIPs, where nothing else is said.
DEFAULT_SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/112")

DETECT_LOCAL_MODES = ("ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix")

#: Fields of a KubeProxyConfiguration that concern no rule: accepted, and without effect here.
_IGNORED_FIELDS = {
    *("apiVersion", "kind", "metadata", "bindAddress", "bindAddressHardFail", "clientConnection"),
    *("configSyncPeriod", "enableProfiling", "featureGates", "healthzBindAddress"),
    *("hostnameOverride", "ipvs", "logging", "metricsBindAddress", "oomScoreAdj", "portRange"),
    *("showHiddenMetricsForVersion", "winkernel", "windowsRunAsService"),
}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


@dataclass(frozen=True, slots=True)
class ModeConfiguration:
    """Settings that each mode has of its own. Times in seconds."""

    masquerade_all: bool = False
    masquerade_bit: int = 14
    sync_period: float = 30.0
    min_sync_period: float = 1.0


@dataclass(frozen=True, slots=True)
class ConntrackConfiguration:
    """The conntrack sysctls set at start; 0 leaves one alone. Times in seconds."""

    max_per_core: int = 32768
    min: int = 131072
    tcp_established_timeout: float = 86400.0
    tcp_close_wait_timeout: float = 3600.0
    tcp_be_liberal: bool = False
    udp_timeout: float = 0.0
    udp_stream_timeout: float = 0.0


@dataclass(frozen=True, slots=True)
class KubeProxyConfiguration:
    """What an administrator sets. `cluster_cidr` has at most one CIDR per family.

    `nfacct` is not kube-proxy's: whether the node's kernel has nfacct counters.
    """

    mode: str = IPTABLES
    cluster_cidr: tuple[str, ...] = DEFAULT_CLUSTER_CIDR
    detect_local_mode: str = "ClusterCIDR"
    bridge_interface: str = ""
    interface_name_prefix: str = ""
    node_port_addresses: tuple[str, ...] = ()
    localhost_node_ports: bool = True
    iptables: ModeConfiguration = field(default_factory=ModeConfiguration)
    nftables: ModeConfiguration = field(default_factory=ModeConfiguration)
    conntrack: ConntrackConfiguration = field(default_factory=ConntrackConfiguration)
    nfacct: bool = True

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def from_document(cls, doc: Document, source: str) -> KubeProxyConfiguration:
        """Read a v1alpha1 KubeProxyConfiguration; `source` names it in UsageErrors."""
        kind = doc.get("kind")
        if kind != "KubeProxyConfiguration":
            raise UsageError(f"{source}: kind is {kind}, not KubeProxyConfiguration")
        reader = _Reader(doc, source)
        config = cls(
            mode=reader.text("mode") or IPTABLES,
            cluster_cidr=split_list(reader.text("clusterCIDR")),
            detect_local_mode=reader.text("detectLocalMode") or "ClusterCIDR",
            bridge_interface=reader.text("detectLocal.bridgeInterface"),
            interface_name_prefix=reader.text("detectLocal.interfaceNamePrefix"),
            node_port_addresses=reader.texts("nodePortAddresses"),
            localhost_node_ports=reader.flag("iptables.localhostNodePorts", True),
            iptables=reader.mode(IPTABLES),
            nftables=reader.mode(NFTABLES),
            conntrack=ConntrackConfiguration(
                max_per_core=reader.number("conntrack.maxPerCore", 32768),
                min=reader.number("conntrack.min", 131072),
                tcp_established_timeout=reader.seconds("conntrack.tcpEstablishedTimeout", 86400.0),
                tcp_close_wait_timeout=reader.seconds("conntrack.tcpCloseWaitTimeout", 3600.0),
                tcp_be_liberal=reader.flag("conntrack.tcpBeLiberal", False),
                udp_timeout=reader.seconds("conntrack.udpTimeout", 0.0),
                udp_stream_timeout=reader.seconds("conntrack.udpStreamTimeout", 0.0),
            ),
        )
        reader.finish()
        return config


def split_list(text: str) -> tuple[str, ...]:
    """A comma-separated value as kube-proxy's flags have it."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _check(config: KubeProxyConfiguration) -> None:
    """Source: pkg/proxy/apis/config/validation."""
    if config.mode not in MODES:
        raise UsageError(f"mode {config.mode!r}: use {' or '.join(MODES)}")
    if config.detect_local_mode not in DETECT_LOCAL_MODES:
        known = ", ".join(DETECT_LOCAL_MODES)
        raise UsageError(f"detectLocalMode {config.detect_local_mode!r}: use one of {known}")
    if config.detect_local_mode == "BridgeInterface" and not config.bridge_interface:
        raise UsageError("detectLocalMode BridgeInterface needs detectLocal.bridgeInterface")
    if config.detect_local_mode == "InterfaceNamePrefix" and not config.interface_name_prefix:
        raise UsageError(
            "detectLocalMode InterfaceNamePrefix needs detectLocal.interfaceNamePrefix"
        )
    for cidr in config.cluster_cidr:
        if parse_cidr(cidr) is None:
            raise UsageError(f"clusterCIDR {cidr!r} is not a CIDR")
    for cidr in config.node_port_addresses:
        if cidr == "primary" and len(config.node_port_addresses) > 1:
            raise UsageError("nodePortAddresses: 'primary' can't be used with other values")
        if cidr != "primary" and parse_cidr(cidr) is None:
            raise UsageError(f"nodePortAddresses {cidr!r} is neither a CIDR nor 'primary'")
    for mode in (config.iptables, config.nftables):
        if not 0 <= mode.masquerade_bit <= 31:
            raise UsageError(f"masqueradeBit {mode.masquerade_bit}: use 0 to 31")


class _Reader:
    """Reads fields by dotted path and remembers which it was asked for."""

    def __init__(self, doc: Document, source: str) -> None:
        self._doc = doc
        self._source = source
        self._known: set[str] = set()

    def _value(self, path: str) -> Any:
        self._known.add(path)
        value: Any = self._doc
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value

    def _wrong(self, path: str, value: object, wanted: str) -> UsageError:
        return UsageError(f"{self._source}: {path} is {value!r}, not {wanted}")

    def text(self, path: str) -> str:
        value = self._value(path)
        if value is not None and not isinstance(value, str):
            raise self._wrong(path, value, "text")
        return value or ""

    def texts(self, path: str) -> tuple[str, ...]:
        value = self._value(path)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._wrong(path, value, "a list of text")
        return tuple(value)

    def flag(self, path: str, default: bool) -> bool:
        value = self._value(path)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._wrong(path, value, "true or false")
        return value

    def number(self, path: str, default: int) -> int:
        value = self._value(path)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(path, value, "a whole number")
        return value

    def seconds(self, path: str, default: float) -> float:
        value = self._value(path)
        if value is None:
            return default
        if value == 0 or value == "0":
            return 0.0
        if not isinstance(value, str) or not re.fullmatch(f"({_DURATION.pattern})+", value):
            raise self._wrong(path, value, "a duration such as 30s")
        return sum(float(count) * _SECONDS[unit] for count, unit in _DURATION.findall(value))

    def mode(self, name: str) -> ModeConfiguration:
        return ModeConfiguration(
            masquerade_all=self.flag(f"{name}.masqueradeAll", False),
            masquerade_bit=self.number(f"{name}.masqueradeBit", 14),
            sync_period=self.seconds(f"{name}.syncPeriod", 30.0) or 30.0,
            min_sync_period=self.seconds(f"{name}.minSyncPeriod", 1.0) or 1.0,
        )

    def finish(self) -> None:
        """Raise UsageError for a field that nobody asked for: a misspelt one."""
        unknown = sorted(set(_paths(self._doc)) - self._known)
        if unknown:
            raise UsageError(f"{self._source}: unknown field {unknown[0]}")


def _paths(doc: Document) -> Iterable[str]:
    for name, value in doc.items():
        if name in _IGNORED_FIELDS:
            continue
        if isinstance(value, dict):
            yield from (f"{name}.{inner}" for inner in value)
        elif value is not None:
            yield name
