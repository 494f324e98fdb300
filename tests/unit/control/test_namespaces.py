"""Namespace deletion: Pods first, then the rest; conditions say what is left."""

from __future__ import annotations

import copy

from testbed.api.documents import Document
from testbed.api.status import forbidden
from testbed.control.controllers.namespace import NamespaceController
from tests.unit.control.world import Bench, pod


def bench() -> Bench:
    made = Bench(NamespaceController)
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
    made.store.create("namespaces", namespace)
    return made


def inside(document: Document, **meta: object) -> Document:
    document["metadata"] |= {"namespace": "shop", **meta}
    return document


def config(name: str, **meta: object) -> Document:
    return inside({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}, **meta)


def delete(made: Bench) -> None:
    made.api.delete("namespaces", "", "shop")
    made.run()


def conditions(made: Bench) -> dict[str, tuple[str, str, str]]:
    status = made.store.get("namespaces", "", "shop")["status"]
    assert status["phase"] == "Terminating"
    return {c["type"]: (c["status"], c["reason"], c["message"]) for c in status["conditions"]}


def test_an_empty_namespace_goes_at_once() -> None:
    made = bench()
    delete(made)
    assert made.store.list("namespaces") == []


def test_everything_else_waits_for_the_pods() -> None:
    made = bench()
    made.create("pods", inside(pod("web", nodeName="w1")))
    made.create("configmaps", config("c"))
    delete(made)
    assert made.store.get("pods", "shop", "web")["metadata"]["deletionTimestamp"]
    assert not made.store.get("configmaps", "shop", "c")["metadata"].get("deletionTimestamp")
    assert conditions(made) == {
        "NamespaceDeletionDiscoveryFailure": (
            "False",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ),
        "NamespaceDeletionGroupVersionParsingFailure": (
            "False",
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        "NamespaceDeletionContentFailure": (
            "False",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ),
        "NamespaceContentRemaining": (
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: pods. has 1 resource instances",
        ),
        "NamespaceFinalizersRemaining": (
            "False",
            "ContentRemoved",
            "All content successfully removed",
        ),
    }
    made.api.delete("pods", "shop", "web", grace=0)
    made.run()
    assert made.store.list("configmaps") == []
    assert made.store.list("namespaces") == []


def test_what_finalizers_hold_is_counted_until_they_go() -> None:
    made = bench()
    for name in ("a", "b"):
        made.create("configmaps", config(name, finalizers=["example.org/held"]))
    delete(made)
    found = conditions(made)
    assert found["NamespaceContentRemaining"][2] == (
        "Some resources are remaining: configmaps. has 2 resource instances"
    )
    assert found["NamespaceFinalizersRemaining"] == (
        "True",
        "SomeFinalizerRemain",
        "Some finalizers are remaining: example.org/held in 2 resource instances",
    )
    for name in ("a", "b"):
        free = copy.deepcopy(made.store.get("configmaps", "shop", name))
        free["metadata"]["finalizers"] = []
        made.store.update("configmaps", free)
    made.run()
    assert made.store.list("namespaces") == []


def test_a_refusal_is_told_and_tried_again() -> None:
    made = bench()
    made.create("configmaps", config("c"))
    refusal = forbidden("configmaps", "c", "", "no")
    remove = made.api.delete

    def refuse(resource: str, *args: str, **options: object) -> None:
        if resource == "configmaps":
            raise refusal
        remove(resource, *args, **options)  # type: ignore[arg-type]

    made.api.delete = refuse  # type: ignore[method-assign]
    delete(made)
    assert conditions(made)["NamespaceDeletionContentFailure"] == (
        "True",
        "ContentDeletionFailed",
        f"Failed to delete all resource types, 1 remaining: {refusal}",
    )
    made.api.delete = remove  # type: ignore[method-assign]
    made.run(5)
    assert made.store.list("namespaces") == []


def test_another_finalizer_of_the_namespace_holds_it() -> None:
    made = bench()
    held = copy.deepcopy(made.store.get("namespaces", "", "shop"))
    held["spec"]["finalizers"].append("example.org/held")
    made.store.update("namespaces", held)
    delete(made)
    assert made.store.get("namespaces", "", "shop")["spec"]["finalizers"] == ["example.org/held"]
