"""Probes and HTTP hooks: what kubelet asks of a container, over sockets of the node's namespace.

Source: pkg/probe/http, pkg/probe/tcp; messages as Go's client words them. Every check returns ""
for success or what went wrong, and gives up after `timeout` seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from testbed.api.documents import Document

#: Opens a socket of (family, type, protocol) inside the node's network namespace.
SocketOpener: TypeAlias = Callable[[int, int, int], socket.socket]

AGENT = "kube-probe/1.36"
_HEAD_LIMIT = 65536


class CheckError(Exception):
    """The check can't be made: its port has no number."""


async def tcp_socket(
    opener: SocketOpener, action: Document, container: Document, address: str, timeout: float
) -> str:
    """Whether a connection can be made."""
    host = action.get("host") or address
    port = port_number(action.get("port"), container)
    try:
        async with asyncio.timeout(timeout), connection(opener, host, port):
            return ""
    except TimeoutError:
        return f"dial tcp {host_and_port(host, port)}: i/o timeout"
    except OSError as error:
        return f"dial tcp {host_and_port(host, port)}: {_words(error)}"


async def http_get(
    opener: SocketOpener, action: Document, container: Document, address: str, timeout: float
) -> str:
    """Whether a GET is answered with a status from 200 to 399."""
    host = action.get("host") or address
    port = port_number(action.get("port"), container)
    secure = (action.get("scheme") or "HTTP").upper() == "HTTPS"
    path = "/" + (action.get("path") or "/").lstrip("/")
    url = f"{'https' if secure else 'http'}://{host_and_port(host, port)}{path}"
    try:
        async with asyncio.timeout(timeout):
            status = await _get(opener, host, port, path, action, secure)
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded'
    except (OSError, ssl.SSLError) as error:
        return f'Get "{url}": dial tcp {host_and_port(host, port)}: {_words(error)}'
    except ValueError:
        return (
            f'Get "{url}": net/http: HTTP/1.x transport connection broken: malformed HTTP response'
        )
    return "" if 200 <= status < 400 else f"HTTP probe failed with statuscode: {status}"


async def _get(
    opener: SocketOpener, host: str, port: int, path: str, action: Document, secure: bool
) -> int:
    """The status of the answer; raises OSError, and ValueError for what isn't HTTP."""
    lines = [f"GET {path} HTTP/1.1", *_headers(host_and_port(host, port), action)]
    request = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    async with connection(opener, host, port) as sock:
        reader, writer = await asyncio.open_connection(
            sock=sock,
            ssl=_unverified() if secure else None,
            server_hostname=host if secure else None,
            limit=_HEAD_LIMIT,
        )
        try:
            writer.write(request)
            await writer.drain()
            version, _, rest = (await reader.readline()).decode("latin-1").partition(" ")
        finally:
            writer.close()
    if not version.startswith("HTTP/"):
        raise ValueError(version)
    return int(rest.split(" ")[0])


def _headers(host: str, action: Document) -> list[str]:
    """The header's lines: those of the action, and what they leave out.

    Source: pkg/probe/http/request.go, net/http Request.write: one Host and one User-Agent go out,
    no empty User-Agent or Accept.
    """
    asked: dict[str, list[str]] = {}
    for header in action.get("httpHeaders") or ():
        asked.setdefault(_canonical(header["name"]), []).append(header.get("value") or "")
    host = asked.pop("Host", [""])[0] or host
    agent = asked.pop("User-Agent", [AGENT])[0]
    accept = asked.pop("Accept", ["*/*"])
    sent = [("Host", host), *([("User-Agent", agent)] if agent else ())]
    sent += [("Accept", value) for value in accept if accept[0]]
    sent += [(name, value) for name, values in asked.items() for value in values]
    return [f"{name}: {value}" for name, value in sent]


def _canonical(name: str) -> str:
    """A header's name as Go writes it. Source: net/textproto CanonicalMIMEHeaderKey."""
    return "-".join(word.capitalize() for word in name.split("-"))


@asynccontextmanager
async def connection(opener: SocketOpener, host: str, port: int) -> AsyncIterator[socket.socket]:
    """A TCP connection out of the namespace of `opener`; raises OSError."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(opener(family, socket.SOCK_STREAM, 0)) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (host, port))
        yield sock


def port_number(port: int | str | None, container: Document) -> int:
    """The number of a probe's port, which may be the name of a container port; CheckError."""
    if isinstance(port, int):
        return port
    for entry in container.get("ports") or ():
        if entry.get("name") == port:
            return int(entry["containerPort"])
    if port and str(port).isdigit():
        return int(port)
    raise CheckError(f"couldn't find port: {port!r}")


def _unverified() -> ssl.SSLContext:
    """kubelet doesn't look at certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def host_and_port(host: str, port: int) -> str:
    """Both in one word; an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _words(error: OSError) -> str:
    number = error.errno or 0
    if number in errno.errorcode:
        return f"connect: {os.strerror(number).lower()}"
    return str(error)
