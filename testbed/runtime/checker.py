"""Runs the probes and hooks of containers: connections from the node, commands in the Pod."""

from __future__ import annotations

import asyncio

from testbed import shell
from testbed.api.documents import Document
from testbed.errors import TestbedError
from testbed.fabric.fabric import Fabric
from testbed.runtime import checks, grpc_health
from testbed.runtime.programs import launch
from testbed.runtime.sandbox import Sandbox


class Checker:
    """Checks for the sandboxes on one fabric; all methods belong to the event loop's thread."""

    def __init__(self, fabric: Fabric, loop: asyncio.AbstractEventLoop) -> None:
        self._fabric = fabric
        self._loop = loop

    async def check(
        self, sandbox: Sandbox, container: Document, action: Document, timeout: float
    ) -> str:
        """ "" for success, or what went wrong with a probe or hook within `timeout` seconds."""
        opener = self._fabric.namespace(sandbox.request.node).socket
        address = sandbox.request.addresses[0]
        try:
            if "httpGet" in action:
                return await checks.http_get(opener, action["httpGet"], container, address, timeout)
            if "tcpSocket" in action:
                return await checks.tcp_socket(
                    opener, action["tcpSocket"], container, address, timeout
                )
            if "exec" in action:
                return await self._run(sandbox, container, action["exec"], timeout)
            if "grpc" in action:
                port, service = action["grpc"]["port"], action["grpc"].get("service") or ""
                return await grpc_health.check(opener, address, port, service, timeout)
        except checks.CheckError as error:
            return str(error)
        return f"invalid handler: {', '.join(action)}"

    async def _run(
        self, sandbox: Sandbox, container: Document, action: Document, timeout: float
    ) -> str:
        command = list(action.get("command") or ())
        printed: list[bytes] = []
        ended: asyncio.Future[int] = self._loop.create_future()
        try:
            argv = sandbox.inside(container["name"], command)
        except (FileNotFoundError, PermissionError, TestbedError) as error:
            return str(error)
        program = launch(
            argv,
            self._loop,
            printed.append,
            ended.set_result,
            environment=sandbox.environment_of(container["name"]),
        )
        try:
            async with asyncio.timeout(timeout):
                code = await ended
        except TimeoutError:
            return f"command timed out: {shell.quote(command)} timed out after {timeout:g}s"
        finally:
            if program.code is None:
                program.end()
        text = b"".join(printed).decode(errors="replace").strip()
        return "" if code == 0 else text or f"command terminated with exit code {code}"
