"""Mininet's Node and Switch over the fabric: a namespace each, a shell only when asked for."""

from __future__ import annotations

import os
import pty
import select
import zlib
from typing import TYPE_CHECKING, Any

from mininet.node import PIPE, Node, Switch

from testbed.emu.spec import Role, StaticRoute, machine_plan
from testbed.errors import UsageError
from testbed.fabric.namespace import Namespace
from testbed.fabric.specs import Plan
from testbed.shell import namespace_prefix

if TYPE_CHECKING:
    from testbed.emu.net import Net

#: Mininet's end-of-output mark: the prompt of its shells.
PROMPT = chr(127)


class FabricNode(Node):  # type: ignore[misc]
    """A machine of the net. Parameters beside Mininet's: role, zone, gateways, routes."""

    is_bridge = False
    shell: Any

    def __init__(
        self,
        name: str,
        net: Net | None = None,
        role: Role = "host",
        zone: str = "",
        gateways: tuple[str, ...] = (),
        routes: tuple[StaticRoute, ...] = (),
        **params: Any,
    ) -> None:
        if net is None:
            raise UsageError(f"node {name}: only a testbed Net (testbed.emu) can make it")
        if params.get("privateDirs"):
            raise UsageError(f"node {name}: privateDirs aren't supported")
        self.net = net
        self.role = role
        self.zone = zone
        self.gateways = gateways
        self.routes = routes
        self._shell_pid: int | None = None
        params["inNamespace"] = True
        super().__init__(name, **params)
        net.make(self)

    @classmethod
    def setup(cls) -> None:
        """Neither mnexec nor ifconfig is needed."""

    def plan(self) -> Plan:
        """The namespace and its routes; the links come with FabricLink."""
        return machine_plan(self.name, self.role, self.gateways, self.routes)

    @property
    def namespace(self) -> Namespace:
        """The node's namespace; everything planned so far is made first."""
        self.net.flush()
        return self.net.fabric.namespace(self.name)

    # -- the shell, on demand

    @property
    def pid(self) -> int | None:
        """The shell's process, started now if need be (users enter the node by it)."""
        self._ensure_shell()
        return self._shell_pid

    @pid.setter
    def pid(self, value: int | None) -> None:
        self._shell_pid = value

    def startShell(self, mnopts: str | None = None) -> None:
        """Called by Mininet at birth: too early, see `_ensure_shell`."""

    def _ensure_shell(self) -> None:
        if self.shell is not None or self.name not in self.net:
            return
        self.master, self.slave = pty.openpty()
        # Not "mininet:…": Mininet's machine-wide clean-up kills whatever has that in its arguments.
        title = f"testbed:{self.net.lab}:{self.name}"
        self.shell = self._popen(
            [
                *("setsid", "--ctty"),
                *namespace_prefix(self.namespace.fd),
                *("bash", "--norc", "--noediting", "-is", title),
            ],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            env={**self.namespace.environment, "PS1": PROMPT},
        )
        self._shell_pid = self.shell.pid
        self.stdin = os.fdopen(self.master, "r")
        self.stdout = self.stdin
        self.pollOut = select.poll()
        self.pollOut.register(self.stdout)
        self.outToNode[self.stdout.fileno()] = self
        self.inToNode[self.stdin.fileno()] = self
        self.execed = False
        self.readbuf = ""
        while not self.read(1024).endswith(PROMPT):
            self.pollOut.poll()
        self.waiting = False
        self.cmd("unset HISTFILE; stty -echo; set +m")

    def cmd(self, *args: Any, **kwargs: Any) -> str:
        self._ensure_shell()
        return super().cmd(*args, **kwargs) or ""

    def sendCmd(self, *args: Any, **kwargs: Any) -> None:
        self._ensure_shell()
        super().sendCmd(*args, **kwargs)

    def popen(self, *args: Any, **kwargs: Any) -> Any:
        """A Popen in the node's namespace, without its shell; it carries the lab's mark.

        The command is a list, words, or one string; with `shell`, bash reads it.
        """
        words = list(args[0]) if len(args) == 1 and isinstance(args[0], list) else list(args)
        if kwargs.pop("shell", False):
            words = ["bash", "-c", " ".join(words)]
        elif len(words) == 1 and isinstance(args[0], str):
            words = words[0].split()
        prefix = kwargs.pop("mncmd", None) or namespace_prefix(self.namespace.fd)
        kwargs["env"] = {**self.namespace.environment, **(kwargs.get("env") or {})}
        return self._popen([*prefix, *words], **{"stdout": PIPE, "stderr": PIPE, **kwargs})

    def __repr__(self) -> str:
        intfs = ",".join(f"{intf.name}:{intf.IP()}" for intf in self.intfList())
        return f"<{type(self).__name__} {self.name}: {intfs}>"

    # -- addresses and routes, without a shell

    def config(
        self,
        mac: str | None = None,
        ip: str | None = None,
        defaultRoute: str | None = None,
        **_: Any,
    ) -> dict[str, Any]:
        if mac is not None:
            self.setMAC(mac)
        if ip is not None:
            self.setIP(ip)
        if defaultRoute is not None:
            self.setDefaultRoute(defaultRoute)
        return {}

    def setDefaultRoute(self, intf: Any = None) -> None:
        """Go through an interface, or `via 10.0.0.1`, or `dev h1-eth0 via 10.0.0.1`."""
        words = str(intf).split()
        way = words if len(words) > 1 else ["dev", *words]
        family = "-6" if any(":" in word for word in way) else "-4"
        self.namespace.run(["ip", family, "route", "replace", "default", *way])

    def setHostRoute(self, ip: str, intf: Any) -> None:
        self.namespace.run(["ip", "route", "replace", ip, "dev", str(intf)])

    def setARP(self, ip: str, mac: str) -> None:
        dev = str(self.defaultIntf())
        self.namespace.run(["ip", "neigh", "replace", ip, "lladdr", mac, "dev", dev])


class Bridge(FabricNode, Switch):  # type: ignore[misc]
    """A Linux bridge in a namespace of its own."""

    is_bridge = True
    controlIntf = None

    def __init__(self, name: str, **params: Any) -> None:
        params.pop("batch", None)
        params["role"] = "switch"
        # Mininet wants a datapath id, and a digit in the name to make one of.
        params.setdefault("dpid", f"{zlib.crc32(name.encode()):x}")
        super().__init__(name, **params)

    def start(self, controllers: Any) -> None:
        """It forwards since it was made; there is no controller."""

    def stop(self, deleteIntfs: bool = True) -> None:
        """It goes with its namespace."""
