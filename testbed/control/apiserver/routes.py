"""From an HTTP request to its answer: who asks, for what, in which form.

Every refusal is a Status; a bug is a 500 with its trace in the log, never in the answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from typing import Any

from aiohttp import ClientPayloadError, web

from testbed.api import status
from testbed.api.resources import NOT_RUN
from testbed.control.apiserver import authorization, discovery, openapi, openapi_v2, requests
from testbed.control.apiserver.answers import answer, refusal
from testbed.control.apiserver.auth import (
    PUBLIC_PATHS,
    User,
    authenticate,
    bearer_of,
    with_credential,
)
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.connect import CONNECTED, Connector
from testbed.control.apiserver.encoding import encode
from testbed.control.apiserver.reading import Reader
from testbed.control.apiserver.requests import BODY_LIMIT, Form, parse_accept, parse_path
from testbed.control.apiserver.tokens import ServiceAccountTokens
from testbed.control.apiserver.watchers import Watchers
from testbed.control.apiserver.writing import Writer
from testbed.control.registry import Registry

log = logging.getLogger(__name__)

#: A body has to arrive within this time.
BODY_SECONDS = 30.0
#: Longest path that is looked at.
PATH_LIMIT = 8192
HEALTH_PATHS = ("/healthz", "/livez", "/readyz")
HEALTH_CHECKS, READY_CHECKS = ("ping", "log", "etcd"), ("informer-sync", "shutdown")
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


class Routes:
    """The request handler of an aiohttp server."""

    def __init__(
        self,
        registry: Registry,
        token: str,
        connector: Connector,
        watchers: Watchers,
        tokens: ServiceAccountTokens,
    ) -> None:
        self._registry = registry
        self._bearer = bearer_of(token, tokens.user)
        self._reader = Reader(registry, watchers)
        self._writer = Writer(registry, self._bearer, tokens)
        self._connector = connector

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        try:
            return await self._answer(request)
        except status.StatusError as error:
            return refusal(error)
        except ConnectionError:
            return web.Response()  # the client has left; nobody reads this
        except OSError as error:
            log.exception("%s %s", request.method, request.path[:200])
            return refusal(status.internal(f"the store can't be written: {error}"))
        except Exception:
            log.exception("%s %s", request.method, request.path[:200])
            return refusal(status.internal("the testbed's API server failed; see its log"))

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        user = self._user(request)
        if user is None and path not in PUBLIC_PATHS:
            raise status.unauthorized()
        if len(path) > PATH_LIMIT:
            raise status.unknown_path()
        target = parse_path(path)
        wanted = authorization.attributes_of(request.method, path, target, request.query)
        if user is not None:
            user = authorization.impersonated(user, request.headers)
            authorization.check(user, wanted)
        if request.method in ("GET", "HEAD"):
            found = _static(request, path)
            if found is not None:
                return found
        if target is None or user is None:
            raise status.unknown_path()
        if target.subresource and target.subresource not in discovery.SUBRESOURCES:
            raise status.unknown_path()
        if request.method not in METHODS or not _is_served(request.method, wanted, target):
            raise _refused(target)
        connected = target.subresource in CONNECTED
        reads = request.method in ("GET", "HEAD")
        body = b"" if reads or connected else await _body(request)
        form = Form() if connected else parse_accept(request.headers.get("Accept", ""))
        call = Call(request, target, form, body, user, self._registry.clock.wall())
        if connected:
            return await self._connector.answer(call)
        if reads:
            return await self._reader.answer(call)
        return self._writer.answer(call)

    def _user(self, request: web.BaseRequest) -> User | None:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport else None
        header = request.headers.get("Authorization", "")
        user = authenticate(certificate, header, self._bearer)
        tls = transport.get_extra_info("ssl_object") if transport else None
        if user is not None and certificate and tls is not None:
            user = with_credential(user, tls.getpeercert(binary_form=True))
        return user


async def _body(request: web.BaseRequest) -> bytes:
    """The request's body; raises StatusError for one that is too large or too slow."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise status.too_large(BODY_LIMIT)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while piece := await request.content.readany():
                size += len(piece)
                if size > BODY_LIMIT:
                    raise status.too_large(BODY_LIMIT)
                pieces.append(piece)
    except TimeoutError:
        raise status.timeout("the request body didn't arrive") from None
    except (web.HTTPException, ClientPayloadError, ValueError) as error:
        raise status.bad_request(f"the request body can't be read: {error}") from None
    return b"".join(pieces)


def _static(request: web.BaseRequest, path: str) -> web.Response | None:
    """Answers that don't depend on the objects; None where the path isn't one of those."""
    path = path.rstrip("/") or "/"
    if path.startswith(HEALTH_PATHS):
        return _health(request, path)
    if path == "/version":
        return answer(discovery.version(), Form(), pretty=True)
    if path == "/":
        return answer({"paths": _paths()}, Form(), pretty=True)
    if path in ("/api", "/apis"):
        return _groups(request, path)
    if path == "/openapi/v2":
        return _openapi_v2(request)
    if path == "/openapi/v3":
        return answer(openapi.index(), Form())
    if path.startswith("/openapi/v3/"):
        return _openapi_v3(request, path.removeprefix("/openapi/v3/"))
    parts = path.strip("/").split("/")
    found: Any = None
    if parts == ["api", "v1"]:
        found = discovery.resource_list("")
    elif parts[0] == "apis" and len(parts) == 2:
        found = discovery.group(parts[1])
    elif parts[0] == "apis" and len(parts) == 3 and parts[2] == "v1":
        found = discovery.resource_list(parts[1])
    return None if found is None else answer(found, parse_accept(request.headers.get("Accept", "")))


def _health(request: web.BaseRequest, path: str) -> web.Response | None:
    """Source: apiserver pkg/server/healthz/healthz.go."""
    name, _, check = path.removeprefix("/").partition("/")
    checks = HEALTH_CHECKS + (READY_CHECKS if name == "readyz" else ())
    if f"/{name}" not in HEALTH_PATHS or check not in ("", *checks):
        return None
    if check or "verbose" not in request.query:
        return web.Response(text="ok")
    excluded = {each for text in request.query.getall("exclude", []) for each in text.split(",")}
    lines = [f"[+]{each} {'excluded: ' * (each in excluded)}ok" for each in checks]
    if unknown := sorted(excluded - {*checks, ""}):
        named = ",".join(f'"{each}"' for each in unknown)
        lines.append(f"warn: some health checks cannot be excluded: no matches for {named}")
    return web.Response(text="\n".join([*lines, f"{name} check passed", ""]))


def _refused(target: requests.Target) -> status.StatusError:
    """405 for a verb that the resource doesn't have."""
    resource = target.resource
    if resource not in NOT_RUN:
        return status.no_such_method()
    name = status.qualified(resource.resource, resource.group)
    return status.StatusError(
        405,
        "MethodNotAllowed",
        f"the testbed does not run {name}: it has none, and none can be made",
        {},
    )


def _is_served(method: str, wanted: authorization.Attributes, target: requests.Target) -> bool:
    """Whether the resource has the verb."""
    if target.watch and method not in ("GET", "HEAD"):
        return False
    return bool(target.subresource) or wanted.verb in target.resource.verbs


def _groups(request: web.BaseRequest, path: str) -> web.Response:
    for clause in request.headers.get("Accept", "").split(","):
        for version in ("v2", "v2beta1"):
            wanted = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            if clause.replace(" ", "") == wanted:
                body = encode(discovery.aggregated(path == "/api", version))
                return web.Response(body=body, headers={"Content-Type": wanted})
    if path == "/api":
        return answer(discovery.api_versions(request.host), Form())
    return answer(discovery.group_list(), Form())


def _openapi_v2(request: web.BaseRequest) -> web.Response:
    accept = request.headers.get("Accept", "*/*")
    for clause in accept.split(","):
        media = clause.split(";")[0].strip()
        if media in openapi_v2.PROTOBUF_TYPES:
            return _cached(request, openapi_v2.swagger_protobuf(), openapi_v2.PROTOBUF_TYPE)
        if media in (requests.JSON_TYPE, "application/*", "*/*"):
            return _cached(request, openapi_v2.swagger())
    raise status.not_acceptable((requests.JSON_TYPE, openapi_v2.PROTOBUF_TYPE))


def _openapi_v3(request: web.BaseRequest, path: str) -> web.Response | None:
    document = openapi.document(path)
    return None if document is None else _cached(request, document)


def _cached(
    request: web.BaseRequest, document: bytes, media: str = requests.JSON_TYPE
) -> web.Response:
    """`document` with an ETag; to be kept for good where its hash is part of the address."""
    tag = f'"{hashlib.sha256(document).hexdigest()[:64].upper()}"'
    headers = {"ETag": tag}
    if "hash" in request.query:
        headers["Cache-Control"] = "public, immutable"
    if request.headers.get("If-None-Match") == tag:
        return web.Response(status=304, headers=headers)
    return web.Response(body=document, content_type=media, headers=headers)


def _paths() -> list[str]:
    named = [f"/apis/{name}" for name in discovery.groups()]
    return [
        "/api",
        "/api/v1",
        "/apis",
        *(path for name in named for path in (name, f"{name}/v1")),
        *HEALTH_PATHS,
        "/openapi/v2",
        "/openapi/v3",
        "/version",
    ]
