"""The objects of a running lab: reads as views, writes as a user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import EndpointSlice, NamespacedName, Node, Pod, Service
from testbed.api.resources import ResourceType, by_kind, by_name
from testbed.control.envelope import WriteOptions
from testbed.control.patching import MERGE_PATCH
from testbed.errors import UsageError
from testbed.lab.control_plane import ControlPlane

_APPLY = WriteOptions(manager="testbed", force=True, field_validation="Strict")


def key_of(word: str) -> NamespacedName:
    """`name` or `namespace/name` as a key."""
    namespace, _, name = word.rpartition("/")
    return NamespacedName(namespace or "default", name)


class Objects:
    """A part of LabCore; its methods belong to the event loop's thread."""

    control: ControlPlane

    # reading

    def nodes(self) -> list[Node]:
        """The Nodes, in order of their names."""
        return [Node.from_document(d) for d in self.control.store.list("nodes")]

    def pods(self, namespace: str | None = None) -> list[Pod]:
        """The Pods, in order of namespace and name."""
        return [Pod.from_document(d) for d in self.control.store.list("pods", namespace)]

    def services(self, namespace: str | None = None) -> list[Service]:
        """The Services, in order of namespace and name."""
        return [Service.from_document(d) for d in self.control.store.list("services", namespace)]

    def slices_of(self, service: NamespacedName) -> list[Document]:
        """The EndpointSlices of a Service, in order of their names."""
        return [
            document
            for document in self.control.store.list("endpointslices", service.namespace)
            if EndpointSlice.from_document(document).service == service
        ]

    # writing

    def apply(
        self, documents: Iterable[Document], tell: Callable[[str], None] = lambda line: None
    ) -> list[str]:
        """Apply manifests; one line each, in kubectl's words, which `tell` gets at once.

        Raises UsageError, before anything is applied, where a kind isn't known, and StatusError at
        the first that is refused (an unknown field too): those before it stay applied.
        """
        documents, lines = list(documents), []
        for document in documents:
            resource_of(document)
        for document in documents:
            word, outcome = self.control.registry.apply(document, options=_APPLY)
            lines.append(f"{describe(outcome.document)} {word}")
            tell(lines[-1])
        return lines

    def find(self, resource: str, key: NamespacedName) -> Document:
        """An object by resource name; raises UsageError where it isn't there."""
        kind = by_name(resource)
        if kind is None:
            raise UsageError(f"no resource {resource!r}")
        return self.control.registry.get(kind, key.namespace if kind.namespaced else "", key.name)

    def scale(self, workload: str, replicas: int) -> None:
        """Scale `deployment/NAME` and the like; raises UsageError for what can't be scaled."""
        word, _, name = workload.partition("/")
        kind = by_name(word if word.endswith("s") else f"{word}s")
        if kind is None or "scale" not in kind.subresources or not name:
            raise UsageError(f"{workload!r} can't be scaled: write deployment/NAME")
        patch = {"spec": {"replicas": replicas}}
        self.control.registry.patch(kind, "default", name, MERGE_PATCH, patch)

    def patch(
        self, resource: str, key: NamespacedName, patch: Document, subresource: str = ""
    ) -> Document:
        """Merge-patch an object (or its status)."""
        kind = by_name(resource)
        if kind is None:
            raise UsageError(f"no resource {resource!r}")
        namespace = key.namespace if kind.namespaced else ""
        outcome = self.control.registry.patch(
            kind, namespace, key.name, MERGE_PATCH, patch, subresource=subresource
        )
        return outcome.document

    def delete(self, documents: Iterable[Document]) -> list[str]:
        """Delete what manifests name; raises StatusError for what isn't there."""
        lines = []
        for document in documents:
            resource = resource_of(document)
            namespace = (namespace_of(document) or "default") if resource.namespaced else ""
            self.control.registry.delete(resource, namespace, name_of(document))
            lines.append(f"{describe(document)} deleted")
        return lines


def resource_of(document: Document) -> ResourceType:
    """The resource type of a manifest; raises UsageError for a kind that isn't known."""
    found = by_kind(document["apiVersion"], document["kind"])
    if found is None:
        raise UsageError(
            f"{name_of(document) or 'an object without a name'}: no matches for kind "
            f'"{document["kind"]}" in version "{document["apiVersion"]}"'
        )
    return found


def describe(document: Document) -> str:
    """`deployment.apps/my-app`, as kubectl names objects."""
    group, _, _ = document["apiVersion"].rpartition("/")
    kind = document["kind"].lower()
    return f"{kind}.{group}/{name_of(document)}" if group else f"{kind}/{name_of(document)}"
