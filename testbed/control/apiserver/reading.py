"""get, list and watch."""

from __future__ import annotations

from aiohttp import web

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.resources import SERVED
from testbed.control.apiserver import events_v1, lists, tables
from testbed.control.apiserver import watch as watches
from testbed.control.apiserver.answers import warning
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.encoding import Encoder, encode
from testbed.control.apiserver.history import ExpiredError, History
from testbed.control.apiserver.requests import flag
from testbed.control.apiserver.watchers import Watchers
from testbed.control.registry import Registry


class Reader:
    """Answers reads. All methods raise StatusError."""

    def __init__(self, registry: Registry, watchers: Watchers) -> None:
        self._watchers = watchers
        self._registry = registry
        self._store = registry.store
        self._encoder = Encoder()
        self._histories: dict[str, History] = {}
        for name in {resource.resource for resource in SERVED}:
            self._histories[name] = History(self._store.version, self._encoder)
            self._store.watch(name, self._histories[name].add)

    async def answer(self, call: Call) -> web.StreamResponse:
        """The answer to a GET."""
        target = call.target
        if refresh := self._registry.before_reading.get(call.resource.resource):
            refresh()
        if target.subresource:
            return call.answer(self._subresource(call))
        if target.watch or (flag(call.query, "watch") and not target.name):
            return await self._watch(call)
        if target.name:
            return call.answer(self._registry.get(call.resource, call.namespace, target.name))
        return self._list(call)

    def _subresource(self, call: Call) -> Document:
        target = call.target
        if target.subresource == "scale":
            return self._registry.scale_of(call.resource, call.namespace, target.name)
        if target.subresource in ("status", "ephemeralcontainers"):
            return self._registry.get(call.resource, call.namespace, target.name)
        raise call.not_allowed()

    def _list(self, call: Call) -> web.Response:
        piece = lists.parse(call.query, self._store.version)
        version = self._store.version if piece.version is None else piece.version
        try:
            items, meta = piece.cut(self._chosen(call, version), version)
        except ExpiredError:
            raise piece.expired() from None
        resource = call.target.resource
        if call.form.shape == "Table":
            return call.send(call.table(items, meta))
        if call.form.shape.startswith("PartialObjectMetadata"):
            head = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return call.send(
                {**head, "metadata": meta, "items": [tables.partial(item) for item in items]}
            )
        if resource.group == events_v1.GROUP:
            head = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
            return call.send(
                {**head, "metadata": meta, "items": [call.outward(item) for item in items]}
            )
        return call.send(self._encoder.list(resource.kind, resource.api_version, meta, items))

    def _chosen(self, call: Call, version: int) -> list[Document]:
        """What the selectors choose of the state at `version`; raises ExpiredError."""
        namespace, query = call.target.namespace, call.query
        labels, fields = query.get("labelSelector", ""), query.get("fieldSelector", "")
        if version >= self._store.version:
            return self._registry.list(call.resource, namespace, labels=labels, fields=fields)
        chosen = self._registry.selector(call.resource, labels, fields)
        name = call.resource.resource
        return [
            document
            for document in self._histories[name].state(version, self._store.list(name))
            if (not namespace or namespace_of(document) == namespace)
            and (chosen is None or chosen(document))
        ]

    async def _watch(self, call: Call) -> web.StreamResponse:
        query, resource = call.query, call.resource
        asked = watches.parse(
            query,
            resource,
            call.target.namespace,
            call.target.name,
            self._registry.selector(
                resource, query.get("labelSelector", ""), query.get("fieldSelector", "")
            ),
            self._rendering(call),
        )
        version, state = self._store.version, []
        if asked.start is None:
            state = self._chosen(call, version)
            if call.target.name:
                state = [d for d in state if name_of(d) == call.target.name]
        response = web.StreamResponse()
        response.content_type = "application/json"
        for text in call.warnings():
            response.headers.add("Warning", warning(text))
        response.enable_chunked_encoding()
        watch = watches.Watch(asked, self._histories[resource.resource], self._store)
        with self._watchers.entered(call.request.remote or "", resource.resource, watch):
            await response.prepare(call.request)
            await watch.run(watches.Connection(call.request), state, version)
        await response.write_eof()
        return response

    def _rendering(self, call: Call) -> watches.Rendering | None:
        """How a watch's objects are encoded; None: as they are stored."""
        if call.form.shape == "Table":
            include = call.query.get("includeObject", "Metadata")
            stream = tables.Stream(call.resource, include, self._registry.clock.wall)
            return lambda document: encode(stream.table(document))
        if call.form.shape.startswith("PartialObjectMetadata"):
            return lambda document: encode(tables.partial(document))
        if call.target.resource.group == events_v1.GROUP:
            return lambda document: encode(call.outward(document))
        return None
