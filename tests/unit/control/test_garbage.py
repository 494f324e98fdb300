"""Garbage collection: background, foreground, orphans, and owners that are none."""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.control.controllers.garbage import GarbageCollector
from tests.unit.control.world import Bench


def config(name: str, *owners: Document, namespace: str = "default", **meta: Any) -> Document:
    references = {"ownerReferences": list(owners)} if owners else {}
    metadata = {"name": name, "namespace": namespace, **references, **meta}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}


def by(owner: Document, *, blocks: bool = False) -> Document:
    meta = owner["metadata"]
    reference = {name: owner[name] for name in ("apiVersion", "kind")}
    return {**reference, "name": meta["name"], "uid": meta["uid"], "blockOwnerDeletion": blocks}


def bench() -> Bench:
    return Bench(GarbageCollector)


def left(made: Bench) -> list[str]:
    return [each["metadata"]["name"] for each in made.store.list("configmaps")]


def delete(made: Bench, name: str, propagation: str = "") -> None:
    made.api.delete("configmaps", "default", name, propagation=propagation)
    made.run()


def test_what_is_owned_by_what_is_owned_goes_too() -> None:
    made = bench()
    top = made.create("configmaps", config("top"))
    middle = made.create("configmaps", config("middle", by(top)))
    made.create("configmaps", config("bottom", by(middle)))
    made.create("configmaps", config("other"))
    delete(made, "top")
    assert left(made) == ["other"]


def test_another_owner_keeps_an_object_without_the_one_that_is_gone() -> None:
    made = bench()
    first, second = (made.create("configmaps", config(name)) for name in ("a", "b"))
    made.create("configmaps", config("shared", by(first), by(second)))
    delete(made, "a")
    (reference,) = made.store.get("configmaps", "default", "shared")["metadata"]["ownerReferences"]
    assert reference["uid"] == second["metadata"]["uid"]


def test_in_the_foreground_the_owner_waits_for_those_that_block_and_no_others() -> None:
    made = bench()
    top = made.create("configmaps", config("top"))
    made.create("configmaps", config("blocks", by(top, blocks=True), finalizers=["x/held"]))
    made.create("configmaps", config("follows", by(top)))
    delete(made, "top", "Foreground")
    assert left(made) == ["blocks", "follows", "top"]
    assert not made.store.get("configmaps", "default", "follows")["metadata"].get(
        "deletionTimestamp"
    )
    released = copy.deepcopy(made.store.get("configmaps", "default", "blocks"))
    released["metadata"]["finalizers"] = []
    made.store.update("configmaps", released)
    made.run()
    assert left(made) == []


def test_the_foreground_reaches_down_to_dependents_of_dependents() -> None:
    made = bench()
    top = made.create("configmaps", config("top"))
    middle = made.create("configmaps", config("middle", by(top, blocks=True)))
    made.create("configmaps", config("bottom", by(middle, blocks=True), finalizers=["x/held"]))
    delete(made, "top", "Foreground")
    held = {
        each["metadata"]["name"]: each["metadata"]["finalizers"]
        for each in made.store.list("configmaps")
    }
    assert held == {
        "top": ["foregroundDeletion"],
        "middle": ["foregroundDeletion"],
        "bottom": ["x/held"],
    }


def test_an_object_with_another_owner_is_let_go_by_one_that_waits() -> None:
    made = bench()
    first, second = (made.create("configmaps", config(name)) for name in ("a", "b"))
    made.create("configmaps", config("shared", by(first, blocks=True), by(second)))
    delete(made, "a", "Foreground")
    assert left(made) == ["b", "shared"]


def test_orphans_stay_without_their_owner() -> None:
    made = bench()
    top = made.create("configmaps", config("top"))
    made.create("configmaps", config("bottom", by(top)))
    delete(made, "top", "Orphan")
    assert left(made) == ["bottom"]
    assert "ownerReferences" not in made.store.list("configmaps")[0]["metadata"]


def test_an_owner_in_another_namespace_is_none_and_that_is_told() -> None:
    made = bench()
    far = made.create("configmaps", config("far", namespace="elsewhere"))
    made.create("configmaps", config("lost", by(far)))
    assert left(made) == ["far"]
    uid = far["metadata"]["uid"]
    message = (
        f"ownerRef [v1/ConfigMap, namespace: default, name: far, uid: {uid}] does not exist in "
        'namespace "default"'
    )
    assert ("Warning", "OwnerRefInvalidNamespace", message) in made.api.events


def test_a_namesake_is_not_the_owner() -> None:
    made = bench()
    there = made.create("configmaps", config("top"))
    stale = {**by(there), "uid": "00000000-0000-0000-0000-000000000000"}
    made.create("configmaps", config("bottom", stale))
    assert left(made) == ["top"]


def test_what_a_node_or_an_unknown_kind_owns_stays() -> None:
    made = bench()
    node = made.store.get("nodes", "", "w1")
    made.create("configmaps", config("of-a-node", by(node)))
    custom = {"apiVersion": "example.org/v1", "kind": "Thing", "name": "t", "uid": "u"}
    made.create("configmaps", config("of-a-thing", custom))
    assert left(made) == ["of-a-node", "of-a-thing"]
    made.api.delete("nodes", "", "w1")
    made.run()
    assert left(made) == ["of-a-thing"]


def test_what_an_ingress_owns_goes_with_it() -> None:
    made = bench()
    ingress = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "web", "namespace": "default"},
    }
    owner = made.create("ingresses", ingress)
    made.create("configmaps", config("config", by(owner)))
    made.api.delete("ingresses", "default", "web")
    made.run()
    assert left(made) == []
