"""One network namespace of a lab, and how namespaces are born.

A thread may change its network namespace, so all entering and leaving happens in helper threads;
the process' main thread stays in the host's namespace. A socket keeps the namespace that it was
opened in, so most work needs a socket from there and nothing else.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from testbed import shell
from testbed.errors import CannotRunError, TestbedError
from testbed.fabric.rtnetlink import (
    GOING,
    all_links,
    delete_group,
    get_link,
    has_peer,
    link_index,
    set_group,
)
from testbed.fabric.specs import NamespaceSpec
from testbed.fabric.syscalls import bind_mount, enter_network, unshare_network
from testbed.naming import LAB_VARIABLE, run_root
from testbed.netlink import NETLINK_ROUTE, NLM_F_DUMP, NetlinkError, NetlinkSocket

T = TypeVar("T")

#: Indices of our interfaces start here; those that a user makes by hand count from 2.
FIRST_INDEX = 101

#: Addresses are usable at once; nothing is configured by router advertisements. ICMP errors are
#: never held back by a rate limit: a refusal is an answer, however many are asked for.
_ALWAYS = {
    "net/ipv6/conf/default/accept_dad": "0",
    "net/ipv6/conf/default/accept_ra": "0",
    "net/ipv4/icmp_ratelimit": "0",
    "net/ipv6/icmp/ratelimit": "0",
}
#: A router: reverse-path filters would drop what arrives by a second way, and redirects would tell
#: a sender to go around the hop that is being watched.
_FORWARDING = {
    "net/ipv4/ip_forward": "1",
    "net/ipv6/conf/all/forwarding": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/default/rp_filter": "0",
    "net/ipv4/conf/all/send_redirects": "0",
    "net/ipv4/conf/default/send_redirects": "0",
}
#: What a new namespace copies from the host's, and what an end system needs.
_END_SYSTEM = {"net/ipv4/ip_forward": "0"}


class Namespace:
    """A network namespace: `fd` keeps it alive, `path` is its bind mount, `inode` its identity."""

    def __init__(self, lab: str, name: str, path: Path, fd: int, link: socket.socket) -> None:
        self.lab = lab
        self.name = name
        self.path = path
        self.fd = fd
        self.inode = os.fstat(fd).st_ino
        self.route = NetlinkSocket(link)
        self._indices = {"lo": 1}
        self._next_index = FIRST_INDEX

    def __repr__(self) -> str:
        return f"<Namespace {self.lab}-{self.name} net:[{self.inode}]>"

    def call(self, fn: Callable[[], T]) -> T:
        """Run `fn` in a thread that is inside this namespace; return or raise what it does."""

        def inside() -> T:
            enter_network(self.fd)
            return fn()

        return in_thread(inside)

    def socket(self, family: int, type: int, proto: int = 0) -> socket.socket:
        """A socket that was opened in this namespace and stays there."""
        return self.call(lambda: socket.socket(family, type, proto))

    def netlink(self, protocol: int) -> NetlinkSocket:
        """A netlink socket of this namespace (NETLINK_ROUTE, NETLINK_NETFILTER …)."""
        return NetlinkSocket(self.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol))

    def run(self, argv: Sequence[str], **kw: Any) -> str:
        """Run a program in this namespace to its end; its output (as `shell.run`)."""
        env = {**self.environment, **(kw.pop("env", None) or {})}
        return shell.run(argv, netns_fd=self.fd, netns=self.name, env=env, **kw)

    @property
    def environment(self) -> dict[str, str]:
        """The environment for programs in this namespace: ours, and the lab's mark."""
        return {**os.environ, **marks_of(self.lab)}

    def sysctl(self, key: str, value: str) -> str:
        """Set `net.ipv4.ip_forward` (or with slashes) to `value`; return what it was.

        Raises TestbedError, caused by the OSError, where the kernel refuses it.
        """
        path = Path("/proc/sys", key if "/" in key else key.replace(".", "/"))

        def exchange() -> str:
            try:
                before = path.read_text().strip()
                path.write_text(value)
            except OSError as error:
                raise TestbedError(
                    f"sysctl {key}={value} in {self.name}: {error.strerror}"
                ) from error
            return before

        return self.call(exchange)

    def reserve_index(self, interface: str) -> int:
        """The index that `interface` will be made with."""
        index = self._next_index
        self._next_index += 1
        self._indices[interface] = index
        return index

    def pass_over_indices(self) -> None:
        """Reserve no index that an interface has already."""
        kind, _, payload = all_links()
        for link in self.route.request(kind, NLM_F_DUMP, payload):
            self._next_index = max(self._next_index, link_index(link.payload) + 1)

    def forget_index(self, interface: str) -> None:
        self._indices.pop(interface, None)

    def index(self, interface: str) -> int:
        """The index of `interface`, also of one made by other hands; TestbedError if missing."""
        known = self._indices.get(interface)
        if known is not None:
            return known
        try:
            answer = self.route.request(*get_link(interface))
        except NetlinkError:
            raise TestbedError(f"no interface {interface!r} in {self.name}") from None
        return link_index(answer[0].payload)

    def remove_cables(self) -> None:
        """Remove the interfaces that have peers, and so these."""
        kind, _, payload = all_links()
        links = [link.payload for link in self.route.request(kind, NLM_F_DUMP, payload)]
        ends = [link_index(link) for link in links if has_peer(link)]
        if ends:
            self.route.batch([set_group(index, GOING) for index in ends])
            self.route.batch([delete_group(GOING)])

    def close(self) -> None:
        """Let go of the namespace; it ends when nothing else holds it."""
        self.route.close()
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


def marks_of(lab: str) -> dict[str, str]:
    """The variables every process of `lab` carries."""
    return {LAB_VARIABLE: lab, "TESTBED_RUN_DIR": str(run_root())}


def in_thread(fn: Callable[[], T]) -> T:
    """Run `fn` in a new thread and wait; return or raise what it does."""
    result: list[T] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            result.append(fn())
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return result[0]


def open_sockets(
    namespaces: Sequence[Namespace], family: int, type: int, proto: int = 0
) -> list[socket.socket]:
    """One socket in each namespace, opened by one thread that visits them all."""
    opened: list[socket.socket] = []

    def visit() -> list[socket.socket]:
        for namespace in namespaces:
            enter_network(namespace.fd)
            opened.append(socket.socket(family, type, proto))
        return opened

    try:
        return in_thread(visit)
    except BaseException:
        for one in opened:
            one.close()
        raise


def make_namespaces(lab: str, directory: Path, specs: Sequence[NamespaceSpec]) -> list[Namespace]:
    """New namespaces, bind-mounted in `directory`; all of them or (on failure) none."""
    made: list[Namespace] = []

    def work() -> None:
        inherited = Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()
        skipped = _END_SYSTEM if inherited == "0" else {}
        for spec in specs:
            made.append(_make_namespace(lab, directory, spec, skipped))

    try:
        in_thread(work)
    except BaseException:
        for namespace in made:
            namespace.close()
        raise
    return made


def open_namespaces(lab: str, directory: Path, names: Sequence[str]) -> list[Namespace]:
    """Namespaces that an earlier process mounted in `directory`."""
    opened: list[Namespace] = []

    def work() -> None:
        for name in names:
            path = directory / name
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                enter_network(fd)
                link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
            except BaseException:
                os.close(fd)
                raise
            namespace = Namespace(lab, name, path, fd, link)
            namespace.pass_over_indices()
            opened.append(namespace)

    try:
        in_thread(work)
    except BaseException:
        for namespace in opened:
            namespace.close()
        raise
    return opened


def _make_namespace(
    lab: str, directory: Path, spec: NamespaceSpec, skipped: dict[str, str]
) -> Namespace:
    """Make one in the calling thread, which stays inside."""
    path = f"{directory}/{spec.name}"
    step = "unshare"
    try:
        unshare_network()
        step = "open"
        fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            step = "bind mount"
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            bind_mount(f"/proc/thread-self/fd/{fd}", path)
            step = "sysctl"
            wanted = {**_ALWAYS, **(_FORWARDING if spec.forwarding else _END_SYSTEM)}
            for key, value in wanted.items():
                if skipped.get(key) != value:
                    write_setting(key, value)
            step = "socket"
            link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE)
        except BaseException:
            os.close(fd)
            raise
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        raise CannotRunError(f"namespace {spec.name} of lab {lab}: {step}: {what}") from None
    return Namespace(lab, spec.name, Path(path), fd, link)


def write_setting(key: str, value: str) -> None:
    """Write a sysctl of the calling thread's namespace."""
    descriptor = os.open(f"/proc/sys/{key}", os.O_WRONLY)
    try:
        os.write(descriptor, value.encode())
    finally:
        os.close(descriptor)
