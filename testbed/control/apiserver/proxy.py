"""The proxy subresource: an HTTP request handed to a Pod, or to a Pod behind a Service.

Source: apimachinery pkg/util/proxy, pkg/registry/core/{pod,service}/proxy.
"""

from __future__ import annotations

import asyncio
import random
from urllib.parse import quote

from aiohttp import web

from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import LABEL_SERVICE_NAME
from testbed.api.resources import ResourceType, by_name
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.pods import PodBackend
from testbed.control.registry import Registry

SECONDS = 30.0
ANSWER_LIMIT = 64 * 1024 * 1024
#: Headers that belong to one connection, not to the message (RFC 9110, 7.6.1), and credentials.
_HOP_HEADERS = frozenset(
    {
        "authorization",
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


async def answer(call: Call, registry: Registry, pods: PodBackend | None) -> web.StreamResponse:
    """Hand the request on; raises StatusError (503) where nobody takes it."""
    request = call.request
    if (
        not call.target.rest
        and request.method in ("GET", "HEAD")
        and not request.path.endswith("/")
    ):
        query = f"?{request.rel_url.raw_query_string}" if request.query_string else ""
        location = f"{request.rel_url.raw_path}/{query}"  # as it was sent: nothing to escape
        return web.Response(status=301, headers={"Location": location})
    scheme, name, port = _split(call.target.name)
    if scheme not in ("", "http"):
        raise status.bad_request(f"the proxy has no scheme {scheme!r}")
    if call.resource.resource == "pods":
        pod, number = _pod_port(registry.get(call.resource, call.namespace, name), port)
    elif call.resource.resource == "services":
        service = registry.get(call.resource, call.namespace, name)
        pod, number = _endpoint(registry, service, port)
    else:
        raise call.not_allowed()
    if pods is None:
        raise status.unavailable("no kubelet runs Pods here")
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await pods.dial(pod, number)
            try:
                writer.write(_request(call))
                await writer.drain()
                return await _response(reader, request.method)
            finally:
                writer.close()
    except (OSError, ValueError, asyncio.IncompleteReadError) as error:
        raise status.unavailable(f"error trying to reach service: {error}") from None


def _split(text: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]`. Source: apimachinery util/net SplitSchemeNamePort."""
    parts = text.split(":")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    raise status.bad_request(f"invalid proxy name {text!r}")


def _pod_port(pod: Document, port: str) -> tuple[Document, int]:
    """A Pod's port by number; the first one that a container declares where none is named."""
    if port:
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise status.bad_request(f"invalid port {port!r}")
        return pod, int(port)
    for container in (pod.get("spec") or {}).get("containers") or ():
        for declared in container.get("ports") or ():
            return pod, int(declared["containerPort"])
    return pod, 80


def _endpoint(registry: Registry, service: Document, port: str) -> tuple[Document, int]:
    """A ready Pod behind a Service's port, by its name or number."""
    ports = (service.get("spec") or {}).get("ports") or ()
    wanted = [p for p in ports if not port or port in (p.get("name"), str(p.get("port")))]
    if not wanted or (not port and len(ports) > 1):
        raise status.unavailable(f'no service port "{port}" found for service "{name_of(service)}"')
    found = []
    slices = registry.list(
        _kind("endpointslices"),
        namespace_of(service),
        labels=f"{LABEL_SERVICE_NAME}={name_of(service)}",
    )
    for piece in slices:
        for slice_port in piece.get("ports") or ():
            if (slice_port.get("name") or "") != (wanted[0].get("name") or ""):
                continue
            for endpoint in piece.get("endpoints") or ():
                target = endpoint.get("targetRef") or {}
                ready = (endpoint.get("conditions") or {}).get("ready", True)
                if ready and target.get("kind") == "Pod" and slice_port.get("port"):
                    found.append((target["name"], int(slice_port["port"])))
    if not found:
        raise status.unavailable(f'no endpoints available for service "{name_of(service)}"')
    name, number = random.choice(found)
    return registry.get(_kind("pods"), namespace_of(service), name), number


def _kind(name: str) -> ResourceType:
    found = by_name(name)
    assert found is not None
    return found


def _request(call: Call) -> bytes:
    request = call.request
    path = "/" + quote(call.target.rest)
    if request.path.endswith("/") and call.target.rest:
        path += "/"
    if request.query_string:
        path += f"?{request.rel_url.raw_query_string}"
    lines = [f"{request.method} {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [
        f"{name}: {value}"
        for name, value in request.headers.items()
        if name.lower() not in _HOP_HEADERS
    ]
    if call.body:
        lines.append(f"Content-Length: {len(call.body)}")
    return "\r\n".join([*lines, "", ""]).encode() + call.body


async def _response(reader: asyncio.StreamReader, method: str) -> web.Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    version, _, rest = head[0].partition(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("the answer isn't HTTP")
    code = int(rest.split(" ")[0])
    pairs = [line.partition(":")[::2] for line in head[1:] if line]
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    body = b""
    if method != "HEAD" and code not in (204, 304):
        body = await _body(reader, headers)
    response = web.Response(status=code, body=body)
    for name, value in pairs:
        if name.strip().lower() not in _HOP_HEADERS and (name + value).strip().isprintable():
            response.headers[name.strip()] = value.strip()
    return response


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding", "").lower() == "chunked":
        pieces = []
        while size := int((await reader.readline()).split(b";")[0], 16):
            pieces.append(await reader.readexactly(_bounded(size)))
            await reader.readexactly(2)
        return b"".join(pieces)
    if "content-length" in headers:
        return await reader.readexactly(_bounded(int(headers["content-length"])))
    return await reader.read(ANSWER_LIMIT)


def _bounded(size: int) -> int:
    if not 0 <= size <= ANSWER_LIMIT:
        raise ValueError(f"a body of {size} bytes")
    return size
