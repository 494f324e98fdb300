"""The HAProxy process of the balancer's namespace: started, changed without a gap, ended."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Callable, Collection, Iterable
from ipaddress import ip_interface
from pathlib import Path

from testbed.api.objects import IPV6, family_of
from testbed.cloud.balancer import LoadBalancer
from testbed.cloud.proxy import configuration
from testbed.shell import find_program


class Haproxy:
    """HAProxy serving load balancers; `run` runs a program in the balancer's namespace.

    A change starts a new process that takes the listening sockets over; the old one serves its
    connections to their end. `directory` is for its control socket and process id.
    """

    def __init__(self, run: Callable[..., str], directory: Path) -> None:
        self._run = run
        # short: HAProxy appends its process id, and a socket's path has 107 bytes
        self._control = directory / "ha.sock"
        self._pid_file = directory / "haproxy.pid"
        self._text = ""
        self._addresses: set[str] = set()
        #: Descriptors by process id: they tell a process from a later one of the same number.
        self._processes: dict[int, int] = {}

    def serve(self, balancers: Iterable[tuple[LoadBalancer, frozenset[str]]]) -> None:
        """Serve exactly `balancers`, each with the names of its healthy targets.

        Raises CannotRunError where HAProxy isn't installed, CommandError where it refuses.
        """
        listed = list(balancers)
        program = find_program("haproxy") if listed else ""
        wanted = {vip for balancer, _ in listed for vip in balancer.addresses}
        self._own(wanted - self._addresses, "add")
        if listed:
            self._start(program, configuration(listed, str(self._control)))
        else:
            self._end()
        self._own(self._addresses - wanted, "del")

    def take_over(self) -> None:
        """Know the process and the VIPs of an earlier one of us."""
        try:
            process = int(self._pid_file.read_text())
            self._processes[process] = os.pidfd_open(process)
        except (OSError, ValueError):
            return
        for line in self._run(["ip", "-o", "address", "show", "dev", "lo"]).splitlines():
            _, _, _, address, *_ = line.split()
            if not ip_interface(address).is_loopback:
                self._addresses.add(address.split("/")[0])

    def close(self) -> None:
        """End every process, with its connections."""
        self._end()

    def _end(self) -> None:
        for descriptor in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            os.close(descriptor)
        self._processes.clear()
        self._text = ""

    def _start(self, program: str, text: str) -> None:
        if text == self._text:
            return
        for process, descriptor in list(self._processes.items()):
            if _ended(descriptor):
                os.close(self._processes.pop(process))
        argv = [program, "-D", "-f", "/dev/stdin", "-p", str(self._pid_file)]
        if self._processes:
            argv += ["-x", str(self._control), "-sf", *map(str, self._processes)]
        self._run(argv, input=text)
        process = int(self._pid_file.read_text())
        self._processes[process] = os.pidfd_open(process)
        self._text = text

    def _own(self, addresses: Collection[str], verb: str) -> None:
        """Make VIPs the namespace's own, so that it can listen on them; or not any more."""
        for address in sorted(addresses):
            length, extra = (128, ["nodad"]) if family_of(address) == IPV6 else (32, [])
            flags = extra if verb == "add" else []
            self._run(["ip", "address", verb, f"{address}/{length}", "dev", "lo", *flags])
            if verb == "add":
                self._addresses.add(address)
            else:
                self._addresses.discard(address)


def _ended(descriptor: int) -> bool:
    """Whether the process is gone: its descriptor is readable then (pidfd_open(2))."""
    return bool(select.select([descriptor], [], [], 0)[0])
