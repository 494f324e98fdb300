"""The registry: what clients' writes do, and how they are refused."""

from __future__ import annotations

import random
from typing import Any

import pytest

from testbed.api.admission import Admission
from testbed.api.resources import ResourceType, by_name
from testbed.api.status import StatusError
from testbed.clock import ManualClock
from testbed.control.envelope import DeleteOptions, WriteOptions
from testbed.control.patching import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from testbed.control.registry import (
    Registry,
)
from testbed.control.store import Store

START = 1_700_000_000.0


def kind(name: str) -> ResourceType:
    found = by_name(name)
    assert found is not None
    return found


SERVICES = kind("services")
DEPLOYMENTS = kind("deployments")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def registry(clock: ManualClock) -> Registry:
    made = Registry(Store(clock), Admission(rng=random.Random(1)), clock, random.Random(1))
    made.create(kind("namespaces"), {"metadata": {"name": "default"}})
    return made


def service(name: str = "web", **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": 8080}]
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"app": "web"}, "ports": ports, **spec},
    }


def deployment(replicas: int = 3) -> dict[str, Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "app"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "web", "image": "nginx"}]},
            },
        },
    }


def create(
    registry: Registry, resource: ResourceType, document: dict[str, Any], **options: Any
) -> Any:
    namespace = "default" if resource.namespaced else ""
    chosen = WriteOptions(**options)
    return registry.create(resource, document, namespace=namespace, options=chosen).document


def refusal(call: Any, *arguments: Any, **named: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call(*arguments, **named)
    return caught.value


def test_a_created_object_has_identity_and_allocations(registry: Registry) -> None:
    made = create(registry, SERVICES, service())
    assert made["metadata"]["uid"]
    assert made["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z"
    assert made["spec"]["clusterIP"].startswith("10.96.")
    assert "generation" not in made["metadata"]  # Services have none


def test_a_second_object_of_the_name_is_refused_and_leaves_no_allocation(
    registry: Registry,
) -> None:
    create(registry, SERVICES, service())
    error = refusal(create, registry, SERVICES, service(type="NodePort", clusterIP="10.96.3.3"))
    assert (error.code, error.reason) == (409, "AlreadyExists")
    assert error.message == 'services "web" already exists'
    made = create(registry, SERVICES, service("other", clusterIP="10.96.3.3"))
    assert made["spec"]["clusterIP"] == "10.96.3.3"


def test_a_missing_namespace_is_named_in_the_refusal(registry: Registry) -> None:
    error = refusal(registry.create, SERVICES, service(), namespace="nowhere")
    assert error.document()["message"] == 'namespaces "nowhere" not found'
    assert error.code == 404


def test_a_name_is_made_from_generate_name(registry: Registry) -> None:
    document = service()
    document["metadata"] = {"generateName": "web-"}
    first, second = (create(registry, SERVICES, document)["metadata"]["name"] for _ in range(2))
    assert first != second
    assert first.startswith("web-")
    assert len(first) == len("web-") + 5


def test_a_stale_version_is_a_conflict(registry: Registry) -> None:
    made = create(registry, SERVICES, service())
    patch = {"metadata": {"labels": {"tier": "front"}}}
    registry.patch(SERVICES, "default", "web", MERGE_PATCH, patch)
    error = refusal(registry.update, SERVICES, "default", "web", made)
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message.startswith('Operation cannot be fulfilled on services "web": the object')


def test_an_update_of_a_missing_service_creates_it_and_of_a_slice_does_not(
    registry: Registry,
) -> None:
    assert registry.update(SERVICES, "default", "web", service()).created
    missing = {"metadata": {"name": "web"}}
    error = refusal(registry.update, kind("endpointslices"), "default", "web", missing)
    assert error.code == 404


def test_an_update_with_the_original_manifest_keeps_the_allocations(registry: Registry) -> None:
    made = create(registry, SERVICES, service(type="NodePort"))
    updated = registry.update(SERVICES, "default", "web", service(type="NodePort"))
    assert updated.document["spec"] == made["spec"]


def test_status_and_spec_are_written_apart(registry: Registry) -> None:
    made = create(registry, DEPLOYMENTS, deployment())
    registry.update(DEPLOYMENTS, "default", "app", {**made, "status": {"replicas": 9}})
    assert "replicas" not in registry.get(DEPLOYMENTS, "default", "app")["status"]
    sent = {**deployment(7), "status": {"replicas": 2}}
    registry.update(DEPLOYMENTS, "default", "app", sent, subresource="status")
    found = registry.get(DEPLOYMENTS, "default", "app")
    assert (found["spec"]["replicas"], found["status"]["replicas"]) == (3, 2)
    assert found["metadata"]["generation"] == 1


def test_a_dry_run_leaves_nothing(registry: Registry) -> None:
    version = registry.store.version
    made = create(registry, SERVICES, service(), dry_run=True)
    assert made["metadata"]["uid"]
    assert registry.store.version == version
    create(registry, SERVICES, service())
    patch = {"spec": {"type": "NodePort"}}
    options = WriteOptions(dry_run=True)
    shown = registry.patch(SERVICES, "default", "web", MERGE_PATCH, patch, options=options)
    assert shown.document["spec"]["type"] == "NodePort"
    assert registry.get(SERVICES, "default", "web")["spec"]["type"] == "ClusterIP"


def test_a_write_that_changes_nothing_makes_no_event(registry: Registry) -> None:
    create(registry, SERVICES, service())
    version = registry.store.version
    outcome = registry.patch(
        SERVICES, "default", "web", MERGE_PATCH, {"spec": {"type": "ClusterIP"}}
    )
    assert not outcome.changed
    assert registry.store.version == version


@pytest.mark.parametrize(
    ("patch_type", "patch"),
    [
        (JSON_PATCH, [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 9090}]),
        (MERGE_PATCH, {"spec": {"ports": [{"port": 80, "targetPort": 9090}]}}),
        (STRATEGIC_PATCH, {"spec": {"ports": [{"port": 80, "targetPort": 9090}]}}),
    ],
)
def test_each_kind_of_patch_changes_a_port(registry: Registry, patch_type: str, patch: Any) -> None:
    create(registry, SERVICES, service())
    patched = registry.patch(SERVICES, "default", "web", patch_type, patch).document
    assert patched["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 9090}]


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ([{"op": "test", "path": "/spec/type", "value": "NodePort"}], 422),
        ([{"op": "remove", "path": "/spec/nothing"}], 422),
        ([{"op": "fold", "path": "/spec"}], 422),
        ({"spec": {}}, 400),
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(
    registry: Registry, patch: Any, code: int
) -> None:
    create(registry, SERVICES, service())
    assert refusal(registry.patch, SERVICES, "default", "web", JSON_PATCH, patch).code == code


def test_scale_reads_and_writes_the_replica_count(registry: Registry) -> None:
    create(registry, DEPLOYMENTS, deployment())
    scale = registry.scale_of(DEPLOYMENTS, "default", "app")
    assert (scale["spec"]["replicas"], scale["status"]["selector"]) == (3, "app=web")
    patch = {"spec": {"replicas": 5}}
    registry.patch(DEPLOYMENTS, "default", "app", MERGE_PATCH, patch, subresource="scale")
    found = registry.get(DEPLOYMENTS, "default", "app")
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (5, 2)
    patch = {"spec": {"replicas": -1}}
    error = refusal(
        registry.patch, DEPLOYMENTS, "default", "app", MERGE_PATCH, patch, subresource="scale"
    )
    assert error.message == (
        'Scale.autoscaling "app" is invalid: spec.replicas: Invalid value: -1: '
        "must be greater than or equal to 0"
    )


def test_a_scale_is_of_the_object_that_was_read(registry: Registry) -> None:
    create(registry, DEPLOYMENTS, deployment())
    read = registry.scale_of(DEPLOYMENTS, "default", "app")

    def put(**changes: Any) -> StatusError:
        sent = {**read, **changes}
        return refusal(registry.update, DEPLOYMENTS, "default", "app", sent, subresource="scale")

    error = put(metadata={**read["metadata"], "uid": "u"})
    known = read["metadata"]["uid"]
    assert (error.code, error.message) == (
        409,
        'Operation cannot be fulfilled on deployments/scale.apps "app": Precondition failed: '
        f"UID in precondition: u, UID in object meta: {known}",
    )
    assert put(metadata={**read["metadata"], "name": "other"}).message == (
        "the name of the object (other) does not match the name on the URL (app)"
    )
    assert put(spec={"replicas": "5"}).message == (
        'Scale in version "v1" cannot be handled as a Scale: json: cannot unmarshal string '
        "into Go struct field ScaleSpec.spec.replicas of type int32"
    )


def test_a_scale_of_none_has_no_count(registry: Registry) -> None:
    create(registry, DEPLOYMENTS, deployment())
    patch = {"spec": {"replicas": 0}}
    registry.patch(DEPLOYMENTS, "default", "app", MERGE_PATCH, patch, subresource="scale")
    found = registry.scale_of(DEPLOYMENTS, "default", "app")
    assert (found["spec"], found["status"]["replicas"]) == ({}, 0)


def test_apply_says_what_it_did(registry: Registry) -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", **service()}
    assert registry.apply(manifest)[0] == "created"
    assert registry.apply(manifest)[0] == "unchanged"
    manifest["spec"]["ports"][0]["targetPort"] = 9090
    assert registry.apply(manifest)[0] == "configured"


def test_applying_over_another_managers_field_is_a_conflict_until_forced(
    registry: Registry, clock: ManualClock
) -> None:
    create(registry, DEPLOYMENTS, deployment(), manager="creator")
    options = WriteOptions(manager="applier")
    error = refusal(
        registry.patch, DEPLOYMENTS, "default", "app", APPLY_PATCH, deployment(5), options=options
    )
    assert (error.code, error.reason) == (409, "Conflict")
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "creator" using apps/v1: .spec.replicas'
    )
    assert error.details["causes"][0]["field"] == ".spec.replicas"
    forced = WriteOptions(manager="applier", force=True)
    made = registry.patch(
        DEPLOYMENTS, "default", "app", APPLY_PATCH, deployment(5), options=forced
    ).document
    assert made["spec"]["replicas"] == 5
    owners = {
        entry["manager"]: "f:replicas" in entry["fieldsV1"].get("f:spec", {})
        for entry in made["metadata"]["managedFields"]
    }
    assert owners == {"applier": True, "creator": False}


def test_what_a_manager_no_longer_applies_goes_unless_another_applied_it(
    registry: Registry,
) -> None:
    def apply(manager: str, labels: dict[str, str]) -> dict[str, Any]:
        manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        manifest["metadata"] = {"name": "c", "labels": labels}
        options = WriteOptions(manager=manager)
        outcome = registry.patch(
            kind("configmaps"), "default", "c", APPLY_PATCH, manifest, options=options
        )
        return dict(outcome.document["metadata"].get("labels") or {})

    apply("one", {"a": "1", "both": "x"})
    assert apply("two", {"b": "2", "both": "x"}) == {"a": "1", "b": "2", "both": "x"}
    assert apply("one", {}) == {"b": "2", "both": "x"}
    assert apply("two", {}) == {}


def test_a_manager_of_ports_owns_them_by_port_and_protocol(registry: Registry) -> None:
    manifest = {"apiVersion": "v1", "kind": "Service", **service()}
    options = WriteOptions(manager="one")
    made = registry.patch(
        SERVICES, "default", "web", APPLY_PATCH, manifest, options=options
    ).document
    (entry,) = made["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("one", "Apply")
    assert entry["fieldsV1"]["f:spec"]["f:ports"] == {
        'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}, "f:targetPort": {}},
    }
    assert "f:clusterIP" not in entry["fieldsV1"]["f:spec"]


def test_deleting_a_service_frees_its_address_and_takes_its_endpoints_along(
    registry: Registry,
) -> None:
    create(registry, SERVICES, service(clusterIP="10.96.3.3"))
    create(registry, kind("endpoints"), {"metadata": {"name": "web"}, "subsets": []})
    registry.delete(SERVICES, "default", "web")
    assert registry.list(kind("endpoints"), "default") == []
    create(registry, SERVICES, service("other", clusterIP="10.96.3.3"))


def test_a_scheduled_pod_is_given_its_grace_and_another_goes_at_once(registry: Registry) -> None:
    pods = kind("pods")
    for name, node in (("placed", "w1"), ("waiting", "")):
        spec = {"containers": [{"name": "c", "image": "x"}], "terminationGracePeriodSeconds": 7}
        create(
            registry,
            pods,
            {"metadata": {"name": name}, "spec": {**spec, **({"nodeName": node} if node else {})}},
        )
    assert registry.delete(pods, "default", "waiting")[1]
    marked, gone = registry.delete(pods, "default", "placed")
    assert not gone
    assert marked["metadata"]["deletionGracePeriodSeconds"] == 7
    status = {**marked, "status": {"phase": "Running"}}
    registry.update(pods, "default", "placed", status, subresource="status")
    assert registry.get(pods, "default", "placed")["status"]["phase"] == "Running"
    assert registry.delete(pods, "default", "placed", DeleteOptions(grace=0))[1]


def test_finalizers_hold_an_object_until_the_last_has_gone(registry: Registry) -> None:
    document = service()
    document["metadata"]["finalizers"] = ["example.com/a"]
    create(registry, SERVICES, document)
    assert not registry.delete(SERVICES, "default", "web")[1]
    patch = {"metadata": {"finalizers": None}}
    registry.patch(SERVICES, "default", "web", MERGE_PATCH, patch)
    assert refusal(registry.get, SERVICES, "default", "web").code == 404


def test_a_namespace_that_is_being_deleted_takes_no_new_objects(registry: Registry) -> None:
    namespaces = kind("namespaces")
    create(registry, namespaces, {"metadata": {"name": "n1"}})
    marked, gone = registry.delete(namespaces, "", "n1")
    assert (gone, marked["status"]["phase"]) == (False, "Terminating")
    error = refusal(registry.create, SERVICES, service(), namespace="n1")
    assert error.code == 403
    assert error.message == (
        'services "web" is forbidden: unable to create new content in namespace n1 because it is '
        "being terminated"
    )
    assert refusal(registry.delete, namespaces, "", "default").code == 403


def test_a_precondition_that_fails_keeps_the_object(registry: Registry) -> None:
    create(registry, SERVICES, service())
    error = refusal(registry.delete, SERVICES, "default", "web", DeleteOptions(uid="other"))
    assert error.code == 409
    assert registry.get(SERVICES, "default", "web")


def test_a_collection_is_deleted_by_selector(registry: Registry) -> None:
    for name, tier in (("a", "front"), ("b", "back")):
        document = service(name)
        document["metadata"]["labels"] = {"tier": tier}
        create(registry, SERVICES, document)
    registry.delete_collection(SERVICES, "default", labels="tier=front")
    assert [d["metadata"]["name"] for d in registry.list(SERVICES, "default")] == ["b"]


@pytest.mark.parametrize(
    ("labels", "fields", "names"),
    [
        ("app=web", "", ["a", "b"]),
        ("app=web,tier!=front", "", ["b"]),
        ("tier in (front, back)", "", ["a", "b"]),
        ("tier notin (front)", "", ["b", "c"]),
        ("!app", "", ["c"]),
        ("app", "metadata.name!=a", ["b"]),
        ("", "spec.type=NodePort", ["b"]),
        ("", "spec.clusterIP!=None", ["a", "b", "c"]),
    ],
)
def test_lists_are_chosen_by_labels_and_fields(
    registry: Registry, labels: str, fields: str, names: list[str]
) -> None:
    chosen: dict[str, dict[str, str]] = {
        "a": {"app": "web", "tier": "front"},
        "b": {"app": "web", "tier": "back"},
        "c": {},
    }
    for name, own in chosen.items():
        document = service(name, type="NodePort" if name == "b" else "ClusterIP")
        document["metadata"]["labels"] = own
        create(registry, SERVICES, document)
    found = registry.list(SERVICES, "default", labels=labels, fields=fields)
    assert [document["metadata"]["name"] for document in found] == names


@pytest.mark.parametrize(("labels", "fields"), [("a in (b", ""), ("", "spec.color=red"), ("", "x")])
def test_a_selector_that_cannot_be_read_is_a_bad_request(
    registry: Registry, labels: str, fields: str
) -> None:
    assert refusal(registry.list, SERVICES, labels=labels, fields=fields).code == 400


def test_every_cluster_ip_has_an_ip_address_object_as_long_as_it_lasts(registry: Registry) -> None:
    addresses = kind("ipaddresses")
    create(registry, SERVICES, service(clusterIP="10.96.3.3"))
    (found,) = registry.list(addresses)
    assert found["metadata"]["name"] == "10.96.3.3"
    parent = {"resource": "services", "namespace": "default", "name": "web"}
    assert found["spec"]["parentRef"] == parent
    patch = {"spec": {"type": "ExternalName", "externalName": "example.com", "clusterIP": ""}}
    registry.patch(SERVICES, "default", "web", MERGE_PATCH, patch)
    assert registry.list(addresses) == []


def test_a_failed_json_patch_test_is_refused_without_causes(registry: Registry) -> None:
    create(registry, SERVICES, service())
    patch = [{"op": "test", "path": "/spec/type", "value": "NodePort"}]
    error = refusal(registry.patch, SERVICES, "default", "web", JSON_PATCH, patch)
    assert (error.code, error.reason) == (422, "Invalid")
    assert error.document()["details"] == {}
    assert error.message == "the server rejected our request due to an error in our request"
