"""create, update, patch, delete and deletecollection."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from testbed.api import status
from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.control import scale
from testbed.control.apiserver import reviews
from testbed.control.apiserver.answers import success
from testbed.control.apiserver.auth import Bearer
from testbed.control.apiserver.call import Call
from testbed.control.apiserver.options import delete_options, write_options
from testbed.control.apiserver.requests import body_media, parse_patch, read_object
from testbed.control.apiserver.subresources import Subresources
from testbed.control.apiserver.tokens import ServiceAccountTokens
from testbed.control.envelope import Outcome, WriteOptions
from testbed.control.registry import Registry

#: Kinds whose delete answers with the object. Source: ReturnDeletedObject of the storages.
RETURNED = frozenset({"pods", "services", "serviceaccounts", "podtemplates"})
#: Subresources that a PUT or PATCH may write.
WRITTEN = frozenset({"", "status", "scale", "ephemeralcontainers"})


class Writer:
    """Answers writes. All methods raise StatusError."""

    def __init__(self, registry: Registry, bearer: Bearer, tokens: ServiceAccountTokens) -> None:
        self._registry = registry
        self._store = registry.store
        self._bearer = bearer
        self._subresources = Subresources(registry, tokens)

    def answer(self, call: Call) -> web.Response:
        """The answer to a POST, PUT, PATCH or DELETE."""
        method, target = call.request.method, call.target
        if method == "POST" and target.subresource:
            return call.send(self._subresources.post(call), code=201)
        if method == "POST" and not target.name:
            return self._create(call)
        if method == "PUT" and target.name:
            return self._put(call)
        if method == "PATCH" and target.name and target.subresource in WRITTEN:
            return self._patch(call)
        if method == "DELETE" and not target.subresource:
            return self._delete(call) if target.name else self._delete_all(call)
        raise call.not_allowed()

    def _create(self, call: Call) -> web.Response:
        document, options = self._read(call, call.target.resource, "Create")
        if call.resource.group in reviews.GROUPS:
            review = reviews.review(call.resource, document, call.user, self._bearer)
            return call.send(review, code=201, warnings=options.warnings)
        if call.resource.namespaced and call.target.namespace is None:
            raise status.bad_request("an empty namespace may not be set during creation")
        return call.outcome(
            self._registry.create(
                call.resource, document, namespace=call.namespace, options=options
            )
        )

    def _read(self, call: Call, resource: ResourceType, verb: str) -> tuple[Document, WriteOptions]:
        """The object in the body, as it is stored, and how it is to be written."""
        media = body_media(call.content_type)
        options = write_options(call.query, call.agent, verb)
        document, warnings = read_object(call.body, media, resource, options.field_validation)
        return call.inward(document), replace(options, warnings=tuple(warnings))

    def _put(self, call: Call) -> web.Response:
        target = call.target
        if target.subresource not in (*WRITTEN, "finalize"):
            raise call.not_allowed()
        kind = scale.RESOURCE if target.subresource == "scale" else target.resource
        document, options = self._read(call, kind, "Update")
        outcome = self._registry.update(
            call.resource,
            call.namespace,
            target.name,
            document,
            subresource=target.subresource,
            options=options,
        )
        return self._written(call, outcome)

    def _patch(self, call: Call) -> web.Response:
        kind, patch = parse_patch(call.body, call.content_type)
        options = write_options(call.query, call.agent, "Patch", kind)
        outcome = self._registry.patch(
            call.resource,
            call.namespace,
            call.target.name,
            kind,
            call.inward(patch),
            subresource=call.target.subresource,
            options=options,
        )
        return self._written(call, outcome)

    def _written(self, call: Call, outcome: Outcome) -> web.Response:
        if call.target.subresource == "scale":
            return call.send(scale.scale_of(outcome.document))
        return call.outcome(outcome)

    def _delete(self, call: Call) -> web.Response:
        target, resource = call.target, call.resource
        options = delete_options(call.query, call.body, call.content_type)
        last, gone = self._registry.delete(resource, call.namespace, target.name, options)
        if gone and resource.resource not in RETURNED:
            return call.send(success(last, target.resource.group, resource.resource))
        return call.answer(last, code=202 if options.cascades and not gone else 200)

    def _delete_all(self, call: Call) -> web.Response:
        if call.resource.namespaced and call.target.namespace is None:
            raise call.not_allowed()
        deleted = self._registry.delete_collection(
            call.resource,
            call.target.namespace,
            delete_options(call.query, call.body, call.content_type),
            labels=call.query.get("labelSelector", ""),
            fields=call.query.get("fieldSelector", ""),
        )
        resource = call.target.resource
        meta = {"resourceVersion": str(self._store.version)}
        if call.form.shape == "Table":
            return call.send(call.table(deleted, meta))
        return call.send(
            {
                "kind": f"{resource.kind}List",
                "apiVersion": resource.api_version,
                "metadata": meta,
                "items": [call.outward(document) for document in deleted],
            }
        )
