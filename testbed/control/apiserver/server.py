"""The API server: TLS on sockets that are handed in, and the kubeconfig that opens it."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from testbed.control.apiserver import tls
from testbed.control.apiserver.pods import PodBackend
from testbed.control.apiserver.tokens import ServiceAccountTokens
from testbed.control.apiserver.watchers import Watchers
from testbed.control.registry import Registry
from testbed.errors import CannotRunError

if TYPE_CHECKING:
    from aiohttp import web

#: Seconds that open requests get when the server stops; watches are cut.
STOP_SECONDS = 0.5


class ApiServer:
    """Serves one registry until it is stopped.

    `sockets` are bound (not yet listening) sockets; the first is the one that the kubeconfig names.
    Without any, one is opened on 127.0.0.1. `pods` runs the Pods: without it their logs, exec and
    port-forward are refused. `services` are the addresses of Service default/kubernetes.
    """

    def __init__(
        self,
        registry: Registry,
        run_dir: Path,
        *,
        sockets: Sequence[socket.socket] = (),
        pods: PodBackend | None = None,
        name: str = "lab",
        services: Sequence[str] = ("10.96.0.1",),
    ) -> None:
        self._registry = registry
        self._directory = run_dir
        self._sockets = list(sockets) or [loopback_socket()]
        self._pods = pods
        self._name = name
        self.watchers = Watchers()
        self._runner: web.ServerRunner | None = None
        self.credentials = tls.credentials(
            run_dir / "pki", [*(str(s.getsockname()[0]) for s in self._sockets), *services]
        )
        self.tokens = ServiceAccountTokens(run_dir / "pki", registry.store, registry.clock.wall)

    @property
    def url(self) -> str:
        """Where the first socket is reached."""
        host, port = self._sockets[0].getsockname()[:2]
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"

    @property
    def port(self) -> int:
        """The first socket's port."""
        return int(self._sockets[0].getsockname()[1])

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig, readable by its owner alone."""
        return self._directory / "kubeconfig"

    async def start(self) -> None:
        """Listen on every socket and write the kubeconfig."""
        from aiohttp import web

        from testbed.control.apiserver.connect import Connector
        from testbed.control.apiserver.http import Server
        from testbed.control.apiserver.routes import Routes

        connector = Connector(self._registry, self._pods)
        token = self.credentials.token
        routes = Routes(self._registry, token, connector, self.watchers, self.tokens)
        self._runner = web.ServerRunner(Server(routes.handle), shutdown_timeout=STOP_SECONDS)
        await self._runner.setup()
        context = tls.server_context(self.credentials, self._directory / "pki")
        for listening in self._sockets:
            await web.SockSite(self._runner, listening, ssl_context=context).start()
        self.write_kubeconfig(self.kubeconfig, self.url)

    def write_kubeconfig(self, path: Path, url: str) -> None:
        """Write a kubeconfig for this server as it is reached at `url`."""
        tls.write_private(path, tls.kubeconfig(self.credentials, url, self._name))

    async def stop(self) -> None:
        """Close the sockets and every connection."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None


def loopback_socket(port: int = 0) -> socket.socket:
    """A TCP socket bound to 127.0.0.1; raises CannotRunError where the port is taken."""
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
    except OSError as error:
        bound.close()
        raise CannotRunError(f"127.0.0.1:{port} for the API server: {error.strerror}") from None
    return bound
