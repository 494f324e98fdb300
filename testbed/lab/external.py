"""The external proxies of a lab's nodes, and when they have caught up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from testbed.control.store import Event, Store
from testbed.emu.spec import Machine
from testbed.errors import TestbedError
from testbed.fabric.namespace import Namespace, marks_of
from testbed.lab.options import LabOptions
from testbed.naming import run_directory
from testbed.proxy.external.configuration import NodeProxy
from testbed.proxy.external.program import ExternalProxy

if TYPE_CHECKING:
    from testbed.control.apiserver.server import ApiServer

_POLL = 0.01
#: What a node proxy watches, at the least: Services, and one of the two kinds of endpoints.
_SERVICES, _ENDPOINTS = "services", frozenset({"endpointslices", "endpoints"})
#: Seconds until a proxy that has lost its API server asks again. client-go doubles its pause up to
#: 30 s and adds up to as much again. Source: client-go tools/cache/reflector.go.
WATCH_PATIENCE = 65.0


@dataclass(slots=True)
class _Entry:
    """A node's proxy. `told` gives the resources that it watches, as they are now; `watched` are
    those that it has watched before."""

    proxy: ExternalProxy
    told: Callable[[], set[str]]
    watched: set[str] = field(default_factory=set)
    awaited: bool = False

    @property
    def informed(self) -> bool:
        """Whether it knows the present state of all that it watches."""
        told = self.told()
        self.watched |= told
        if self.awaited and not (_SERVICES in told and _ENDPOINTS & told):
            return False
        return self.watched <= told


class ExternalProxies:
    """Programs that write the nodes' rules by themselves.

    `report` is told of what happens to a node's (resource, name, reason, message); `wake` is called
    when one has been started again.

    Nobody is told when a proxy has acted on a change. So a change counts as acted on when the
    proxies are healthy, their watches have been told of it, and no node's rules have changed for
    `options.proxy_quiet` seconds since.
    """

    def __init__(
        self,
        store: Store,
        loop: asyncio.AbstractEventLoop,
        options: LabOptions,
        report: Callable[[str, str, str, str], None],
        wake: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._options = options
        self._quiet = options.proxy_quiet
        self._report = report
        self._wake = wake
        self._entries: dict[str, _Entry] = {}
        self._changes = self._awaited = 0
        for resource in ("services", "endpointslices", "nodes"):
            store.watch(resource, self._changed)

    def _changed(self, event: Event) -> None:
        self._changes += 1

    def start(
        self, node: Machine, namespace: Namespace, mode: str, api: ApiServer, url: str
    ) -> None:
        """Start a node's proxy; `url` is where it reaches the API server. Raises CannotRunError."""
        directory = run_directory(namespace.lab) / "proxy"
        directory.mkdir(mode=0o700, exist_ok=True)
        kubeconfig = directory / "kubeconfig"
        api.write_kubeconfig(kubeconfig, url)
        cidrs = self._options.cluster_cidrs
        own = self._options.proxy_config
        facts = NodeProxy(node.name, mode, cidrs, kubeconfig, directory / node.name, own)
        proxy = ExternalProxy(
            facts,
            self._options.proxy_command,
            namespace,
            self._loop,
            marks_of(namespace.lab),
            partial(self._told, node.name),
        )
        self.add(node.name, proxy, partial(api.watchers.told, node.addresses))

    def add(self, node: str, proxy: ExternalProxy, told: Callable[[], set[str]]) -> None:
        """Start a node's proxy. `told` gives the resources that it watches and knows as they are.

        Raises CannotRunError.
        """
        self._changes += 1
        proxy.start()
        self._entries[node] = _Entry(proxy, told, awaited=proxy.taken_over)

    def _told(self, node: str, problem: str) -> None:
        """A node's program has ended, or ("") has been started again and is to be waited for."""
        if problem:
            self._report("nodes", node, "ProxyProblem", problem)
            return
        self._changes += 1
        self._wake()

    def remove(self, node: str) -> None:
        """End a node's proxy, and remove its rules."""
        entry = self._entries.pop(node, None)
        if entry is not None:
            entry.proxy.stop()
            entry.proxy.cleanup()
            entry.proxy.close()

    @property
    def problems(self) -> list[str]:
        """What is wrong now, a line per node."""
        found = self._entries.items()
        return [f"{node}: {entry.proxy.problem}" for node, entry in found if entry.proxy.problem]

    @property
    def idle(self) -> bool:
        return not self._entries or self._changes == self._awaited

    async def settled(self) -> None:
        """Wait until every proxy is healthy and has acted on the changes; raises TestbedError."""
        if self.idle:
            return
        changes = self._changes
        entries = list(self._entries.values())
        await asyncio.gather(*(entry.proxy.ready() for entry in entries))
        await asyncio.gather(*(self._informed(entry) for entry in entries))
        await asyncio.gather(*(self._still(entry.proxy) for entry in entries))
        self._awaited = changes

    async def _informed(self, entry: _Entry) -> None:
        """Wait until a proxy's watches have been told everything.

        One that doesn't watch (again), but asks now and then, has as long as a watch would need.
        """
        end = self._loop.time() + WATCH_PATIENCE
        while not entry.informed:
            if self._loop.time() > end:
                entry.watched.clear()
                break
            await asyncio.sleep(_POLL)
        entry.awaited = False

    async def _still(self, proxy: ExternalProxy) -> None:
        """Wait until a node's rules stay as they are."""
        seen, since = proxy.generation(), self._loop.time()
        end = since + 60
        while (now := self._loop.time()) < since + self._quiet:
            await asyncio.sleep(min(_POLL, since + self._quiet - now))
            if (current := proxy.generation()) != seen:
                seen, since = current, self._loop.time()
            if now > end:
                raise TestbedError(f"{proxy.facts.node}: the proxy's rules don't come to rest")

    def close(self) -> None:
        """End the programs; their rules go with the namespaces."""
        for entry in self._entries.values():
            entry.proxy.close()
