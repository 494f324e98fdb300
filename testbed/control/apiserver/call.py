"""One request on a resource, as the handlers get it, and the answers they give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from testbed.api import status
from testbed.api.documents import Document
from testbed.api.resources import ResourceType, by_resource
from testbed.control.apiserver import events_v1, tables
from testbed.control.apiserver.answers import answer
from testbed.control.apiserver.auth import User
from testbed.control.apiserver.requests import Form, Target, flag
from testbed.control.envelope import Outcome

#: Resources whose every use warns.
DEPRECATED = {
    "endpoints": "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
}


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose path, Accept header and body have been read; `wall` is the time it came."""

    request: web.BaseRequest
    target: Target
    form: Form
    body: bytes
    user: User
    wall: float

    @property
    def query(self) -> Mapping[str, str]:
        return self.request.query

    @property
    def content_type(self) -> str:
        return self.request.headers.get("Content-Type", "")

    @property
    def agent(self) -> str:
        return self.request.headers.get("User-Agent", "")

    @property
    def resource(self) -> ResourceType:
        """The resource under which the objects are stored: Events of both groups are one."""
        if self.target.resource.group == events_v1.GROUP:
            core = by_resource("", "events")
            assert core is not None
            return core
        return self.target.resource

    @property
    def namespace(self) -> str:
        """The namespace of the path; "" for a cluster-wide object."""
        return self.target.namespace or ""

    def inward(self, document: Any) -> Any:
        """What the client sent, as it is stored."""
        if self.target.resource.group == events_v1.GROUP and isinstance(document, dict):
            return events_v1.to_core(document)
        return document

    def outward(self, document: Document) -> Document:
        """A stored object, as this client sees it."""
        if self.target.resource.group == events_v1.GROUP and document.get("kind") == "Event":
            return events_v1.from_core(document)
        return document

    def warnings(self, more: Sequence[str] = ()) -> list[str]:
        name = self.target.resource.resource
        return [*((DEPRECATED[name],) if name in DEPRECATED else ()), *more]

    def answer(
        self, document: Document, *, code: int = 200, warnings: Sequence[str] = ()
    ) -> web.Response:
        """One object, in the form that was asked for."""
        document = self.outward(document)
        value: Document = document
        if self.form.shape == "Table":
            value = self.table([document], _list_meta(document))
        elif self.form.shape == "PartialObjectMetadata":
            value = tables.partial(document)
        return self.send(value, code=code, warnings=warnings)

    def table(self, documents: list[Document], meta: Document) -> Document:
        """Stored objects as a Table."""
        include = self.query.get("includeObject", "Metadata")
        return tables.table(self.resource, documents, meta, include, self.wall)

    def outcome(self, outcome: Outcome) -> web.Response:
        """What a write left."""
        code = 201 if outcome.created else 200
        return self.answer(outcome.document, code=code, warnings=outcome.warnings)

    def send(
        self, value: Document | bytes, *, code: int = 200, warnings: Sequence[str] = ()
    ) -> web.Response:
        return answer(
            value,
            self.form,
            code=code,
            warnings=self.warnings(warnings),
            pretty=flag(self.query, "pretty"),
        )

    def not_allowed(self) -> status.StatusError:
        """405 for this method."""
        return status.no_such_method()


def _list_meta(document: Document) -> Document:
    return {"resourceVersion": document["metadata"].get("resourceVersion", "")}
