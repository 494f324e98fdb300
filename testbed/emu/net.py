"""Mininet's net on the fabric: one plan for a whole topology, nodes and links at run time."""

from __future__ import annotations

import atexit
import os
import secrets
import weakref
from typing import Any, ClassVar, Protocol

from mininet.log import info
from mininet.net import Mininet
from mininet.util import numCores

from testbed.emu.link import FabricIntf, FabricLink
from testbed.emu.node import Bridge, FabricNode
from testbed.errors import UsageError
from testbed.fabric.fabric import Fabric
from testbed.fabric.specs import Plan


class Planned(Protocol):
    """A node or a link: says what the fabric must make for it."""

    def plan(self) -> Plan: ...


class Net(Mininet):  # type: ignore[misc]
    """`Net(topo)` builds a topology; then `net['w1'].cmd(…)`, `net.pingAll()`, `CLI(net)`.

    `lab` names it for `ip netns` and `testbed clean`. Stop it, or use it as a context manager.
    With `fabric`, the topology stands there already: it is only described, and stopping ends the
    shells alone.
    Nothing of it is in the host's namespace, so `inNamespace=False` and NAT nodes are refused.
    """

    live: ClassVar[weakref.WeakSet[Net]] = weakref.WeakSet()

    def __init__(
        self,
        topo: Any = None,
        lab: str = "",
        fabric: Fabric | None = None,
        host: Any = FabricNode,
        switch: Any = Bridge,
        link: Any = FabricLink,
        intf: Any = FabricIntf,
        **params: Any,
    ) -> None:
        # Mininet's own set-up changes the host's sysctls and forks to count processors.
        Mininet.inited = True
        numCores.ncores = os.cpu_count() or 1
        # The random part: in PID namespaces of their own, several processes have one number.
        self.lab = fabric.lab if fabric else lab or f"mn-{os.getpid()}-{secrets.token_hex(2)}"
        self._stands = fabric is not None
        self.fabric = fabric or Fabric(self.lab)
        self._owner = fabric is None
        self._waiting: list[Planned] = []
        self._made: weakref.WeakSet[Planned] = weakref.WeakSet()
        Net.live.add(self)
        atexit.register(_stop_if_alive, weakref.ref(self))
        params |= {"controller": None, "inNamespace": False, "listenPort": None}
        try:
            super().__init__(topo, host=host, switch=switch, link=link, intf=intf, **params)
        except BaseException:
            self.stop()
            raise

    def __enter__(self) -> Net:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # -- what is planned, and what is made

    def make(self, thing: Planned) -> None:
        """Make a node or link: with all others at the end of `build`, at once afterwards."""
        self._waiting.append(thing)
        if self.built:
            self.flush()

    def is_deployed(self, thing: Planned | None) -> bool:
        return thing in self._made

    def flush(self) -> None:
        """Make what is waiting, in one plan."""
        if not self._waiting:
            return
        things, self._waiting = self._waiting, []
        if not self._stands:
            self.fabric.deploy(Plan.total([thing.plan() for thing in things]))
        self._made.update(things)

    def build(self) -> None:
        """Build from the topology: everything is planned, then deployed as one plan."""
        super().build()
        self.flush()
        self._stands = False

    def buildFromTopo(self, topo: Any = None) -> None:
        self.built = False
        super().buildFromTopo(topo)

    # -- nodes and links

    def addHost(self, name: str, cls: Any = None, **params: Any) -> Any:
        if params.get("inNamespace") is False:
            raise UsageError(f"host {name}: the testbed never works in the host's namespace")
        return super().addHost(name, cls=cls, net=self, **params)

    def addSwitch(self, name: str, cls: Any = None, **params: Any) -> Any:
        params.pop("isSwitch", None)
        return super().addSwitch(name, cls=cls, net=self, **params)

    def addLink(self, node1: Any, node2: Any, *ports: Any, **params: Any) -> Any:
        """As Mininet's; interfaces without a given MAC get a lasting one, not a random one."""
        given = {"addr1": "", "addr2": ""} | params
        return super().addLink(node1, node2, *ports, **given)

    def addNAT(self, name: str = "nat0", *_: Any, **__: Any) -> Any:
        raise UsageError(f"{name}: a NAT node would change the host's own network namespace")

    def delNode(self, node: Any, nodes: Any = None) -> None:
        """Remove a node, its links and its processes, now."""
        for link in [each for each in self.links if node in (each.intf1.node, each.intf2.node)]:
            self.delLink(link)
        node.terminate()
        if node in self._waiting:
            self._waiting.remove(node)
        self.fabric.remove([node.name])
        for group in (self.hosts, self.switches):
            if node in group:
                group.remove(node)
        del self.nameToNode[node.name]

    def configHosts(self) -> None:
        """As Mininet's, without a word for each host; what has no interface gets no address."""
        for host in self.hosts:
            host.configDefault(**({} if host.intfs else {"ip": None, "mac": None}))

    def stop(self) -> None:
        """Everything gone: shells, links, namespaces. A second call does nothing."""
        if self not in Net.live:
            return
        Net.live.discard(self)
        info(f"*** Removing lab {self.lab}\n")
        if getattr(self, "terms", None):
            self.stopXterms()
        for node in list(getattr(self, "nameToNode", {}).values()):
            node.terminate()
        if self._owner:
            self.fabric.close()


def _stop_if_alive(reference: weakref.ref[Net]) -> None:
    net = reference()
    if net is not None:
        net.stop()


def stop_all() -> None:
    """Stop every net of this process."""
    for net in list(Net.live):
        net.stop()
