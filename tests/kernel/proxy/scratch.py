"""A network namespace for one test, and what the system's own tools say is in it."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence
from typing import TypeVar

from testbed import shell
from testbed.api.objects import IPV6
from testbed.fabric.namespace import in_thread
from testbed.fabric.syscalls import enter_network, unshare_network
from testbed.netlink import NetlinkSocket

T = TypeVar("T")


class ScratchNamespace:
    """An unnamed namespace that ends with the test."""

    def __init__(self, name: str) -> None:
        self.name = name

        def enter() -> int:
            unshare_network()
            return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

        self.fd = in_thread(enter)
        self.run(["ip", "link", "set", "lo", "up"])

    def call(self, fn: Callable[[], T]) -> T:
        def inside() -> T:
            enter_network(self.fd)
            return fn()

        return in_thread(inside)

    def socket(self, family: int, type: int, proto: int = 0) -> socket.socket:
        return self.call(lambda: socket.socket(family, type, proto))

    def netlink(self, protocol: int) -> NetlinkSocket:
        return NetlinkSocket(self.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    def run(self, argv: Sequence[str], *, input: str | bytes | None = None) -> str:
        return shell.run(argv, input=input, netns_fd=self.fd, netns=self.name)

    def close(self) -> None:
        os.close(self.fd)


def iptables_save(namespace: ScratchNamespace, family: str) -> list[str]:
    """iptables-save's lines without comments and counters."""
    program = "ip6tables-save" if family == IPV6 else "iptables-save"
    text = re.sub(r" \[\d+:\d+\]", "", namespace.run([program]))
    return [line for line in text.splitlines() if not line.startswith("#")]


def nft_list(namespace: ScratchNamespace, family: str) -> str:
    """`nft -s list table`, normalized by `normal_table`."""
    prefix = "ip6" if family == IPV6 else "ip"
    return normal_table(namespace.run(["nft", "-s", "list", "table", prefix, "kube-proxy"]))


def normal_table(text: str) -> str:
    """A listed table with sorted elements and without its line breaks inside of elements."""

    def in_order(found: re.Match[str]) -> str:
        elements = [re.sub(r"\s+", " ", part).strip() for part in found[1].split(",")]
        return "elements = {" + ", ".join(sorted(filter(None, elements))) + "}"

    return re.sub(r"elements = \{(.*?)\}", in_order, text, flags=re.DOTALL)
