"""What this machine's kernel and programs can do: probed for real, in a namespace of its own.

`testbed doctor` prints it; scenarios name the features they need and are skipped without them.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from testbed import shell
from testbed.errors import CannotRunError, UsageError

_T = TypeVar("_T")
CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Feature:
    """Something the testbed uses. Without a `required` one nothing runs.

    `probe` returns "" where it is there, or why it isn't; it runs in a fresh network namespace.
    """

    name: str
    purpose: str
    probe: Callable[[], str]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """What probing a feature gave; `problem` is "" where it is there."""

    feature: Feature
    problem: str

    @property
    def present(self) -> bool:
        return not self.problem


def in_new_namespace(work: Callable[[], _T]) -> _T:
    """Run `work` in a thread with a network namespace of its own, which ends with it."""
    outcome: list[_T] = []
    failure: list[BaseException] = []

    def body() -> None:
        try:
            _unshare()
            outcome.append(work())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=body, name="feature-probe")
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def _unshare() -> None:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise CannotRunError(f"can't make a network namespace: {os.strerror(code)}; run as root")


def _namespace_fd() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _try(argv: list[str], input: str | None = None) -> str:
    """Run a program in the probing thread's namespace; "" or its complaint."""
    if shutil.which(argv[0]) is None:
        return f"program {argv[0]!r} is not installed"
    descriptor = _namespace_fd()
    try:
        shell.run(argv, input=input, netns_fd=descriptor)
    except shell.CommandError as error:
        lines = error.output.strip().splitlines()
        return lines[0][:80] if lines else f"exit status {error.status}"
    finally:
        os.close(descriptor)
    return ""


def _program(name: str, package: str) -> Callable[[], str]:
    def probe() -> str:
        path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        return "" if path else f"not installed; apt-get install {package}"

    return probe


def _link(kind: str, *options: str) -> Callable[[], str]:
    return lambda: _try(["ip", "link", "add", "probe0", "type", kind, *options])


def _iptables_rule(*words: str) -> Callable[[], str]:
    return lambda: _try(["iptables", "-A", "FORWARD", *words, "-j", "ACCEPT"])


def _nft(body: str) -> Callable[[], str]:
    return lambda: _try(["nft", "-f", "-"], f"table ip probe {{\n{body}\n}}\n")


def _sctp_socket() -> str:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_SCTP).close()
    except OSError as error:
        return str(error.strerror)
    return ""


def _ipvs() -> str:
    return "" if os.path.exists("/proc/net/ip_vs") else "the kernel has no IPVS"


def _netem() -> str:
    return _try(["ip", "link", "add", "p0", "type", "veth"]) or _try(
        ["tc", "qdisc", "add", "dev", "p0", "root", "netem", "delay", "1ms"]
    )


FEATURES = (
    Feature("veth", "links between namespaces", _link("veth"), required=True),
    Feature("bridge", "switches", _link("bridge"), required=True),
    Feature("iptables", "kube-proxy's iptables mode", _program("iptables", "iptables")),
    Feature("nft", "kube-proxy's nftables mode", _program("nft", "nftables")),
    Feature(
        "nat", "address translation", _nft("chain c { type nat hook postrouting priority 100; }")
    ),
    Feature("fib", "NodePorts in nftables mode", _nft("chain c { fib daddr type local accept; }")),
    Feature(
        "numgen",
        "balancing in nftables mode",
        _nft("chain c { meta mark set numgen random mod 2; }"),
    ),
    Feature(
        "statistic",
        "balancing in iptables mode",
        _iptables_rule("-m", "statistic", "--mode", "random", "--probability", "0.5"),
    ),
    Feature(
        "recent",
        "session affinity in iptables mode",
        _iptables_rule("-m", "recent", "--name", "probe", "--set"),
    ),
    Feature(
        "addrtype",
        "NodePorts in iptables mode",
        _iptables_rule("-m", "addrtype", "--dst-type", "LOCAL"),
    ),
    Feature("trace", "the rules a packet met", _nft("chain c { meta nftrace set 1; }")),
    Feature("vxlan", "the vxlan Pod network", _link("vxlan", "id", "1", "dstport", "4789")),
    Feature("netem", "delays on links (loss and rates need none)", _netem),
    Feature("sctp", "SCTP sockets (raw SCTP packets need none)", _sctp_socket),
    Feature("ipvs", "IPVS load balancing", _ipvs),
    Feature("openvswitch", "Mininet's default switch", _program("ovs-vsctl", "openvswitch-switch")),
    Feature("conntrack", "showing connections by hand", _program("conntrack", "conntrack")),
    Feature(
        "kubectl",
        "driving a lab with kubectl",
        _program("kubectl", "kubectl (from the Kubernetes project)"),
    ),
    Feature("nginx", "the Ingress controller", _program("nginx", "nginx-light")),
    Feature("haproxy", "load balancers of kind proxy", _program("haproxy", "haproxy")),
    Feature("redis", "the Redis scenarios", _program("redis-server", "redis-server redis-tools")),
    Feature("tc", "rates and delays of links", _program("tc", "iproute2")),
    Feature("tshark", "reading captures in a terminal", _program("tshark", "tshark")),
)


#: What each proxy mode can't do without.
MODE_NEEDS = {
    "iptables": ("iptables", "nat", "statistic", "recent", "addrtype"),
    "nftables": ("nft", "nat", "fib", "numgen"),
}


def require_root() -> None:
    """Raise CannotRunError unless namespaces can be made."""
    if os.geteuid() != 0:
        raise CannotRunError("needs root to make network namespaces: run it with sudo")


def examine(names: tuple[str, ...] | None = None) -> list[Finding]:
    """Probe the features (of those names); raises CannotRunError without root."""
    require_root()
    chosen = [f for f in FEATURES if names is None or f.name in names]
    return [Finding(f, in_new_namespace(f.probe)) for f in chosen]


def python_version() -> str:
    """The interpreter's version, as 3.11.7."""
    return re.sub(r"\s.*", "", sys.version)


def missing(names: Iterable[str]) -> list[Finding]:
    """Those of `names` that this machine lacks; each is probed once in a process.

    Raises UsageError for a name that no feature has.
    """
    found = [_finding(name) for name in dict.fromkeys(names)]
    return [finding for finding in found if not finding.present]


@cache
def _finding(name: str) -> Finding:
    for feature in FEATURES:
        if feature.name == name:
            return Finding(feature, in_new_namespace(feature.probe))
    known = ", ".join(feature.name for feature in FEATURES)
    raise UsageError(f"no feature is called {name!r}; there are: {known}")
