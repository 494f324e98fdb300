"""The external proxies of a lab's nodes, and when they have caught up."""

from __future__ import annotations

import asyncio

from testbed.control.store import Event, Store
from testbed.errors import TestbedError
from testbed.proxy.external.program import ExternalProxy

_POLL = 0.01


class ExternalProxies:
    """Programs that write the nodes' rules by themselves. `quiet` is in seconds.

    Nobody is told when a proxy has acted on a change. So a change counts as acted on when no node's
    rules have changed for `quiet` seconds since, and the proxies are healthy.
    """

    def __init__(self, store: Store, loop: asyncio.AbstractEventLoop, quiet: float) -> None:
        self._loop = loop
        self._quiet = quiet
        self._proxies: dict[str, ExternalProxy] = {}
        self._changes = self._awaited = 0
        for resource in ("services", "endpointslices", "nodes"):
            store.watch(resource, self._changed)

    def _changed(self, event: Event) -> None:
        self._changes += 1

    def add(self, node: str, proxy: ExternalProxy) -> None:
        """Start a node's proxy."""
        self._proxies[node] = proxy
        self._changes += 1
        proxy.start()

    def remove(self, node: str) -> None:
        """End a node's proxy, and remove its rules."""
        proxy = self._proxies.pop(node, None)
        if proxy is not None:
            proxy.stop()
            proxy.cleanup()
            proxy.close()

    @property
    def problems(self) -> list[str]:
        """What went wrong, a line per node."""
        found = self._proxies.items()
        return [f"{node}: {proxy.problem}" for node, proxy in found if proxy.problem]

    @property
    def idle(self) -> bool:
        return not self._proxies or self._changes == self._awaited

    async def settled(self) -> None:
        """Wait until every proxy is healthy and has acted on the changes; raises TestbedError."""
        if self.idle:
            return
        changes = self._changes
        await asyncio.gather(*(proxy.ready() for proxy in self._proxies.values()))
        await asyncio.gather(*(self._still(proxy) for proxy in self._proxies.values()))
        self._awaited = changes

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
        for proxy in self._proxies.values():
            proxy.close()
