"""The process of one node's external proxy: started, watched, restarted, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from testbed import shell
from testbed.errors import CannotRunError, TestbedError
from testbed.netlink import NETLINK_NETFILTER, NetlinkSocket
from testbed.proxy.external.configuration import NodeProxy, command_line, configuration
from testbed.proxy.iptables.apply import IptablesApplier
from testbed.proxy.kernel import dump
from testbed.proxy.kernel.transaction import Namespace
from testbed.proxy.nftables.apply import NftablesApplier

HEALTH_PORT = 10256
#: Seconds that a proxy may take to answer 200 on /healthz, and to end after SIGTERM.
START_PATIENCE, END_PATIENCE = 30.0, 2.0
#: Seconds until a proxy that has ended is started again: doubled up to the second.
FIRST_PAUSE, LAST_PAUSE = 1.0, 30.0
#: A new program has this many seconds to write its first rules; without any (they don't go through
#: nf_tables, say) it counts as started.
FIRST_RULES = 5.0
_POLL = 0.02
#: Lines that say why a program ended, before the stacks that Go prints: klog's, a panic's.
_WHY = re.compile(r"F\d{4} |panic: |fatal error: ")


class Place(Namespace, Protocol):
    """A node's network namespace."""

    @property
    def fd(self) -> int: ...

    def socket(self, family: int, type: int, proto: int = 0) -> socket.socket: ...


class ExternalProxy:
    """An external proxy on one node; belongs to the event loop's thread.

    The program runs in the node's network namespace and a mount namespace of its own, with
    `environment` (the lab's marks) added to ours. It is started again, later and later, when it
    ends by itself; `problem` then says how it ended, until it is healthy again. `report` is told,
    and told "" when it has been started again.
    """

    def __init__(
        self,
        facts: NodeProxy,
        command: str,
        place: Place,
        loop: asyncio.AbstractEventLoop,
        environment: Mapping[str, str],
        report: Callable[[str], None],
    ) -> None:
        self.facts = facts
        self.problem = ""
        #: Whether an earlier process of the lab has started the program.
        self.taken_over = False
        self._report = report
        self._printed_before = 0
        self._copy = ""
        self._command = command
        self._place = place
        self._loop = loop
        self._environment = {
            **environment,
            "XTABLES_LOCKFILE": str(facts.directory / "xtables.lock"),
        }
        self._pidfd = -1
        self._pid = 0
        self._process: shell.Process | None = None
        self._pause = FIRST_PAUSE
        self._restart: asyncio.TimerHandle | None = None
        self._netlink: NetlinkSocket = place.netlink(NETLINK_NETFILTER)
        self._worked = False
        self._ends = 0
        #: The rules before a new program was started, and when that was.
        self._before: tuple[frozenset[tuple[int, str, int]], float] | None = None

    # the process

    def start(self) -> None:
        """Write the configuration and start the program; raises CannotRunError without it.

        One that an earlier process of the lab has started goes on.
        """
        facts = self.facts
        facts.directory.mkdir(parents=True, exist_ok=True)
        words = command_line(self._command, facts)
        try:
            program = shell.program_path(words[0])
        except FileNotFoundError:
            raise CannotRunError(f"proxy command: program {words[0]!r} isn't there") from None
        self.taken_over = self._take_over()
        if self.taken_over:
            return
        facts.config.write_text(json.dumps(configuration(facts), indent=2) + "\n")
        self._before = dump.everything(self._netlink), self._loop.time()
        prefix = [*shell.namespace_prefix(self._place.fd), "unshare", "--mount", "--"]
        with facts.log.open("ab") as output:
            self._printed_before = output.tell()
            self._process = shell.spawn(
                [*prefix, program, *words[1:]], output=output, env=self._environment
            )
        self._watch(self._process.pid)
        self._pid_file.write_text(f"{self._pid} {_started(self._pid)}")

    @property
    def _pid_file(self) -> Path:
        return self.facts.directory / "pid"

    def _take_over(self) -> bool:
        """Watch the program that the pid file speaks of, if that is still the same process."""
        try:
            pid, started = self._pid_file.read_text().split()
            if _started(int(pid)) != started:
                return False
            self._watch(int(pid))
        except (OSError, ValueError):
            return False
        return True

    def _watch(self, pid: int) -> None:
        self._pidfd, self._pid = os.pidfd_open(pid), pid
        self._loop.add_reader(self._pidfd, self._ended)

    def _forget(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        self._pidfd = -1
        self._pid_file.unlink(missing_ok=True)

    def _ended(self) -> None:
        """It has ended by itself."""
        self._forget()
        code = self._process.wait() if self._process is not None else None
        self.problem = f"proxy command {_end(code)}: {self.last_words()}"
        self._ends += 1
        self._report(self.problem)
        self._restart = self._loop.call_later(self._pause, self._start_again)
        self._pause = min(LAST_PAUSE, 2 * self._pause)

    def _start_again(self) -> None:
        try:
            self.start()
        except TestbedError as error:
            self.problem = str(error)
        self._report("")

    def last_words(self) -> str:
        """The last line that it printed, or the one that says why it ended."""
        lines: list[str] = []
        with contextlib.suppress(OSError):
            printed = self.facts.log.read_bytes()[self._printed_before :]
            lines = printed.decode(errors="replace").strip().splitlines()
        reasons = [line for line in lines if _WHY.match(line)]
        return (reasons[-1:] or lines[-1:] or ["it printed nothing"])[0]

    def _kept_log(self) -> str:
        """A copy of what it printed that outlives the lab; always the same file."""
        if not self._copy:
            prefix = f"testbed-{self.facts.node}-proxy-"
            descriptor, self._copy = tempfile.mkstemp(prefix=prefix, suffix=".log")
            os.close(descriptor)
        with contextlib.suppress(OSError):
            Path(self._copy).write_bytes(self.facts.log.read_bytes())
        return self._copy

    async def ready(self) -> None:
        """Wait until it answers 200 on /healthz and has written its first rules.

        Raises TestbedError where it takes too long, or ends without having been ready; one that
        has been gets one more start.
        """
        end = self._loop.time() + START_PATIENCE
        while not await self._healthy():
            if self._pidfd < 0 and self._ends > self._worked:
                raise TestbedError(f"{self.facts.node}: {self.problem} (see {self._kept_log()})")
            if self._loop.time() > end:
                raise TestbedError(
                    f"{self.facts.node}: proxy command isn't healthy on port {HEALTH_PORT} after "
                    f"{START_PATIENCE:g} s: {self.last_words()} (see {self._kept_log()})"
                )
            await asyncio.sleep(_POLL)
        self._worked = True
        self.problem, self._ends = "", 0
        if self._before is not None:
            await self._first_rules(*self._before)
            self._before = None

    async def _first_rules(self, before: frozenset[tuple[int, str, int]], since: float) -> None:
        """Wait for rules that are not in `before`; empty chains (canaries) are none."""
        seen = -1
        while self._loop.time() <= since + FIRST_RULES:
            if (current := self.generation()) != seen:
                seen = current
                if not dump.everything(self._netlink) <= before:
                    return
            await asyncio.sleep(_POLL)

    async def _healthy(self) -> bool:
        sock = self._place.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            async with asyncio.timeout(1):
                await self._loop.sock_connect(sock, ("127.0.0.1", HEALTH_PORT))
                request = f"GET /healthz HTTP/1.1\r\nHost: {self.facts.node}\r\n\r\n"
                await self._loop.sock_sendall(sock, request.encode())
                return b" 200 " in (await self._loop.sock_recv(sock, 1024)).split(b"\r\n")[0]
        except OSError:
            return False
        finally:
            sock.close()

    def generation(self) -> int:
        """The number of the node's nf_tables rules: another one after every change."""
        return dump.generation(self._netlink)

    def stop(self) -> None:
        """End the program: SIGTERM, after a while SIGKILL. Its rules stay."""
        if self._restart is not None:
            self._restart.cancel()
        if self._pidfd < 0:
            return
        self._loop.remove_reader(self._pidfd)
        for number, patience in ((signal.SIGTERM, END_PATIENCE), (signal.SIGKILL, 5.0)):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._pid, number)
            if shell.wait_for(self._pidfd, patience):
                break
        if self._process is not None:
            self._process.wait()
        self._forget()

    def cleanup(self) -> None:
        """Remove kube-proxy's rules of either mode, which `stop` left behind."""
        appliers: list[Callable[[Namespace, str], IptablesApplier | NftablesApplier]]
        appliers = [IptablesApplier, NftablesApplier]
        for make in appliers:
            for family in ("IPv4", "IPv6"):
                applier = make(self._place, family)
                applier.cleanup()
                applier.close()

    def close(self) -> None:
        """Stop, and give the sockets back."""
        self.stop()
        self._netlink.close()


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot: its number alone may be another's now."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text.rpartition(")")[2].split()[19]


def _end(code: int | None) -> str:
    """How a program ended, by its exit status; one that another process started has none."""
    if code is None:
        return "ended"
    if code >= 0:
        return f"ended with status {code}"
    return f"was killed by {signal.Signals(-code).name}"
