"""The proxy subresource: an HTTP request handed to a Pod, or to a Pod behind a Service.

Source: apimachinery pkg/util/proxy, pkg/registry/core/{pod,service}/proxy.
"""

from __future__ import annotations

import asyncio
import random
import ssl

from aiohttp import web

from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.gojson import quote
from testbed.api.objects import LABEL_SERVICE_NAME
from testbed.api.resources import ResourceType, by_name
from testbed.control.apiserver import dialing
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.passing import AnswerError, Way, pass_on, unreachable
from testbed.control.apiserver.pods import PodBackend
from testbed.control.registry import Registry

#: Seconds in which a connection is made.
SECONDS = 30.0
#: Parts of a path up to and with `proxy`, of objects in a namespace.
_PREFIX_PARTS = 8


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
    kind = call.resource.resource
    if kind not in ("pods", "services"):
        raise call.not_allowed()
    scheme, name, port = _split(call.target.name, kind.removesuffix("s"))
    if kind == "pods":
        pod, number = _pod_port(registry.get(call.resource, call.namespace, name), port, scheme)
    else:
        service = registry.get(call.resource, call.namespace, name)
        pod, number = _endpoint(registry, service, port)
    if pods is None:
        raise status.unavailable("no kubelet runs Pods here")
    address = str((pod.get("status") or {}).get("podIP") or "")
    if not address:
        raise status.bad_request("address not allowed")
    return await _pass_on(call, pods, pod, address, number, secure=scheme == "https")


async def _pass_on(
    call: Call, pods: PodBackend, pod: Document, address: str, number: int, *, secure: bool
) -> web.StreamResponse:
    try:
        async with asyncio.timeout(SECONDS):
            reader, writer = await pods.dial(pod, number, address)
    except OSError as error:
        raise unreachable(dialing.to_address(address, number, error)) from None
    try:
        if secure:
            await _start_tls(writer)
        way = Way(_path(call), dialing.joined(address, number), _prefix(call))
        return await pass_on(call.request, way, reader, writer)
    except (AnswerError, ssl.SSLError) as error:
        raise unreachable(str(error)) from None
    finally:
        writer.close()


async def _start_tls(writer: asyncio.StreamWriter) -> None:
    """TLS with whoever is there: a Pod's certificate is nobody's concern here."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with asyncio.timeout(SECONDS):
        await writer.start_tls(context)


def _split(text: str, kind: str) -> tuple[str, str, str]:
    """`[scheme:]name[:port]`. Source: apimachinery util/net SplitSchemeNamePort."""
    parts = text.split(":")
    scheme, name = (parts[0], parts[1]) if len(parts) == 3 else ("", parts[0])
    if scheme not in ("", "http", "https") or not name:
        raise status.bad_request(f"invalid {kind} request {quote(text)}")
    if len(parts) == 1:
        return "", parts[0], ""
    if len(parts) == 2:
        return "", parts[0], parts[1]
    if len(parts) == 3:
        return parts[0], parts[1], parts[2]
    raise status.bad_request(f"invalid {kind} request {quote(text)}")


def _pod_port(pod: Document, port: str, scheme: str) -> tuple[Document, int]:
    """A Pod's port by number; the first one that a container declares where none is named."""
    if port:
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise unreachable(f"dial tcp: lookup tcp/{port}: unknown port")
        return pod, int(port)
    for container in (pod.get("spec") or {}).get("containers") or ():
        for declared in container.get("ports") or ():
            return pod, int(declared["containerPort"])
    return pod, 443 if scheme == "https" else 80


def _endpoint(registry: Registry, service: Document, port: str) -> tuple[Document, int]:
    """A ready Pod behind a Service's port, by its name or number."""
    ports = (service.get("spec") or {}).get("ports") or ()
    if port.isdecimal():
        numbered = [p.get("name") or "" for p in ports if p.get("port") == int(port)]
        if not numbered:
            words = f"no service port {port} found for service {quote(name_of(service))}"
            raise status.unavailable(words)
        port = numbered[0]
    found = []
    slices = registry.list(
        _kind("endpointslices"),
        namespace_of(service),
        labels=f"{LABEL_SERVICE_NAME}={name_of(service)}",
    )
    for piece in slices:
        for slice_port in piece.get("ports") or ():
            if (slice_port.get("name") or "") != port:
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


def _path(call: Call) -> str:
    """The path for the other end, with the query, as the client wrote them."""
    path = call.request.rel_url.raw_path
    path = path[len(_prefix(call)) :] or "/"
    query = call.request.rel_url.raw_query_string
    return f"{path}?{query}" if query else path


def _prefix(call: Call) -> str:
    """What stands in front of that path: /api/v1/namespaces/…/proxy."""
    path = call.request.rel_url.raw_path
    return "/".join(path.split("/")[:_PREFIX_PARTS])
