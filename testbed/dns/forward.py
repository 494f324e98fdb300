"""Asking other DNS servers."""

from __future__ import annotations

import asyncio
import random
import socket
from collections.abc import Callable, Sequence
from typing import TypeAlias

#: Opens a socket in the namespace that queries leave from: (family, type) → socket.
SocketOpener: TypeAlias = Callable[[int, int], socket.socket]


class Forwarder:
    """Passes queries on to `upstreams` ((address, port), tried in turn) and brings answers back.

    `timeout`: real seconds that each is given. `open_socket` decides where queries leave from.
    """

    def __init__(
        self,
        upstreams: Sequence[tuple[str, int]],
        open_socket: SocketOpener = socket.socket,
        timeout: float = 2.0,
    ) -> None:
        self.upstreams = tuple(upstreams)
        self._open = open_socket
        self._timeout = timeout

    async def ask(self, query: bytes, *, tcp: bool) -> bytes | None:
        """The first upstream's answer, with the query's own id; None where none answers."""
        for address in self.upstreams:
            ident = random.randbytes(2)
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._exchange(address, ident + query[2:], tcp=tcp)
            except (OSError, EOFError, TimeoutError):
                continue
            return query[:2] + answer[2:]
        return None

    async def _exchange(self, address: tuple[str, int], query: bytes, *, tcp: bool) -> bytes:
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with self._open(family, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(sock, address)
            if tcp:
                return await self._converse(sock, query)
            await loop.sock_sendall(sock, query)
            while True:
                answer = await loop.sock_recv(sock, 65535)
                if len(answer) >= 12 and answer[:2] == query[:2] and answer[2] & 0x80:
                    return answer

    async def _converse(self, sock: socket.socket, query: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(sock=sock)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await reader.readexactly(2), "big")
            answer = await reader.readexactly(size)
            if size < 12 or answer[:2] != query[:2]:
                raise EOFError
            return answer
        finally:
            writer.close()
