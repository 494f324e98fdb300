"""Subresources that open a stream to a Pod: log, exec, attach, portforward; proxy to a Service."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime

from aiohttp import web

from testbed.api import status
from testbed.api.documents import Document, name_of
from testbed.api.gotimes import utc
from testbed.control.apiserver import channelforward, portforward, proxy, remote, upgrade, websocket
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.pods import LogOptions, PodBackend, Streams
from testbed.control.apiserver.requests import flag, number
from testbed.control.registry import Registry

#: Subresources whose requests are streams, not objects.
CONNECTED = frozenset({"log", "exec", "attach", "portforward", "proxy"})


class Connector:
    """Answers the streaming subresources of Pods, and the proxy of Pods and Services."""

    def __init__(self, registry: Registry, pods: PodBackend | None) -> None:
        self._registry = registry
        self._pods = pods

    async def answer(self, call: Call) -> web.StreamResponse:
        """The answer to a request on a subresource in CONNECTED."""
        if call.target.subresource == "proxy":
            return await proxy.answer(call, self._registry, self._pods)
        pod = self._registry.get(call.resource, call.namespace, call.target.name)
        if self._pods is None or not (pod.get("spec") or {}).get("nodeName"):
            raise status.bad_request(f"pod {name_of(pod)} does not have a host assigned")
        if call.target.subresource == "log" and call.request.method == "GET":
            return await self._log(call, self._pods, pod)
        if call.target.subresource in ("exec", "attach"):
            return await self._exec(call, self._pods, pod)
        if call.target.subresource == "portforward":
            dial = self._pods.dial
            by_channels = channelforward.is_wanted(call.request)
            serve = channelforward.serve if by_channels else portforward.serve
            sandbox = pod["metadata"]["uid"].replace("-", "")
            return await serve(call.request, sandbox, lambda port: dial(pod, port))
        raise call.not_allowed()

    async def _exec(self, call: Call, pods: PodBackend, pod: Document) -> web.StreamResponse:
        container = container_of(pod, call.query)
        tty, stdin = flag(call.query, "tty"), flag(call.query, "stdin")
        if call.target.subresource == "attach":
            return await _serve(
                call, lambda streams: pods.attach(pod, container, streams, tty=tty, stdin=stdin)
            )
        command = call.request.query.getall("command", [])
        if not command:
            raise status.bad_request("you must specify at least one command for the container")
        return await _serve(
            call,
            lambda streams: pods.execute(pod, container, command, streams, tty=tty, stdin=stdin),
        )

    async def _log(self, call: Call, pods: PodBackend, pod: Document) -> web.StreamResponse:
        options = log_options(call.query, call.target.name, call.wall)
        container = container_of(pod, call.query)
        async with aclosing(pods.logs(pod, container, options)) as pieces:
            first = await anext(pieces, b"")  # a refusal comes before the answer has begun
            response = web.StreamResponse(headers={"Content-Type": "text/plain"})
            await response.prepare(call.request)
            if first:
                await response.write(first)
            async for piece in pieces:
                await response.write(piece)
            await response.write_eof()
        return response


async def _serve(call: Call, run: Callable[[Streams], Awaitable[int]]) -> web.StreamResponse:
    if upgrade.wants_spdy(call.request):
        return await remote.serve(call.request, call.query, run)
    return await websocket.serve(call.request, run)


def log_options(query: Mapping[str, str], name: str, now: float) -> LogOptions:
    """What part of Pod `name`'s log the query wants; raises StatusError (400, 422).

    Source: ValidatePodLogOptions; choosing a stream is behind a feature gate that is off.
    """
    tail, limit = number(query, "tailLines"), number(query, "limitBytes")
    since: float | None = number(query, "sinceSeconds")
    moment = _moment(query.get("sinceTime", ""))
    errors = []
    if tail is not None and tail < 0:
        words = "must be greater than or equal to 0"
        errors.append(status.FieldError.invalid("tailLines", tail, words))
    if limit is not None and limit < 1:
        errors.append(status.FieldError.invalid("limitBytes", limit, "must be greater than 0"))
    if since is not None and moment is not None:
        words = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(status.FieldError.forbidden("", words))
    elif since is not None and since < 1:
        errors.append(status.FieldError.invalid("sinceSeconds", since, "must be greater than 0"))
    if "stream" in query:
        errors.append(status.FieldError.forbidden("stream", "may not be specified"))
    if errors:
        raise status.invalid("PodLogOptions", "", name, errors)
    if moment is not None:
        since = max(0.0, now - moment)
    return LogOptions(
        follow=flag(query, "follow"),
        previous=flag(query, "previous"),
        timestamps=flag(query, "timestamps"),
        tail=tail,
        since=since,
        limit_bytes=limit,
    )


def _moment(text: str) -> float | None:
    """An RFC 3339 time in seconds since the epoch; raises StatusError."""
    try:
        found = utc(text, micro=False) if text else ""
    except ValueError as error:
        raise status.bad_request(str(error)) from None
    return datetime.fromisoformat(found).timestamp() if found else None


def container_of(pod: Document, query: Mapping[str, str]) -> str:
    """The container that the query names, or the only one; raises StatusError.

    Source: pkg/registry/core/pod/strategy.go LogLocation, streamLocation.
    """
    spec = pod.get("spec") or {}
    names = [str(c.get("name")) for c in spec.get("containers") or ()]
    initial = [str(c.get("name")) for c in spec.get("initContainers") or ()]
    debugging = [str(c.get("name")) for c in spec.get("ephemeralContainers") or ()]
    wanted = query.get("container", "")
    if wanted:
        if wanted not in [*names, *initial, *debugging]:
            raise status.bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    if len(names) == 1:
        return names[0]
    choice = f"choose one of: [{' '.join(names)}]"
    if initial:
        choice += f" or one of the init containers: [{' '.join(initial)}]"
    raise status.bad_request(f"a container name must be specified for pod {name_of(pod)}, {choice}")
