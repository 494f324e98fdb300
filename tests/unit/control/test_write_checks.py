"""What a write is checked for around its kind's own rules: names, versions, uids, namespaces."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.resources import RESOURCES, ResourceType, by_name
from testbed.api.status import StatusError
from testbed.clock import ManualClock
from testbed.control.envelope import DeleteOptions, WriteOptions
from testbed.control.patching import MERGE_PATCH
from testbed.control.registry import Registry
from testbed.control.store import Store


def kind(name: str) -> ResourceType:
    found = by_name(name)
    assert found is not None
    return found


SERVICES, NODES, LEASES = kind("services"), kind("nodes"), kind("leases")
MAPS, SLICES, ADDRESSES = kind("configmaps"), kind("endpointslices"), kind("ipaddresses")
DRY = WriteOptions(dry_run=True)
UID_WORDS = "StorageError: invalid object, Code: 4, Key: /registry/{}, ResourceVersion: 0, "


@pytest.fixture
def registry() -> Registry:
    clock = ManualClock(1_700_000_000.0)
    made = Registry(Store(clock), Admission(rng=random.Random(1)), clock, random.Random(1))
    made.create(kind("namespaces"), {"metadata": {"name": "default"}})
    return made


def service(name: str = "web", **meta: Any) -> Document:
    return {"metadata": {"name": name, **meta}, "spec": {"ports": [{"port": 80}]}}


def config(**meta: Any) -> Document:
    return {"metadata": {"name": "c", **meta}}


def refusal(call: Any, *args: Any, **options: Any) -> StatusError:
    with pytest.raises(StatusError) as caught:
        call(*args, **options)
    return caught.value


def put(registry: Registry, resource: ResourceType, document: Document, name: str = "") -> Document:
    namespace = "default" if resource.namespaced else ""
    name = name or document["metadata"]["name"]
    return registry.update(resource, namespace, name, document).document


def test_what_the_cluster_shares_is_in_no_namespace(registry: Registry) -> None:
    stored = registry.create(NODES, {"metadata": {"name": "w1", "namespace": "x"}}).document
    assert "namespace" not in stored["metadata"]
    changed = {"metadata": {"name": "w1", "namespace": "y"}, "spec": {"unschedulable": True}}
    assert put(registry, NODES, changed)["spec"] == {"unschedulable": True}


def test_a_new_objects_version_is_refused_after_everything_else(registry: Registry) -> None:
    bad = {**service(resourceVersion="7"), "spec": {}}
    assert refusal(registry.create, SERVICES, bad, namespace="default").code == 422
    error = refusal(registry.create, SERVICES, service(resourceVersion="7"), namespace="default")
    words = "resourceVersion should not be set on objects to be created"
    assert (error.code, error.reason, error.message) == (500, "", words)
    for number, version in enumerate(("0", "abc", "")):
        name = f"web{number}"
        registry.create(SERVICES, service(name, resourceVersion=version), namespace="default")
    registry.create(SERVICES, service(resourceVersion="7"), namespace="default", options=DRY)


def test_what_cannot_be_read_is_said_before_that_its_namespace_is_missing(
    registry: Registry,
) -> None:
    bad = {**service(), "spec": {"ports": "all"}}
    assert refusal(registry.create, SERVICES, bad, namespace="nowhere").code == 400
    error = refusal(registry.create, SERVICES, {**service(), "spec": {}}, namespace="nowhere")
    assert (error.code, error.message) == (404, 'namespaces "nowhere" not found')
    assert refusal(registry.update, SLICES, "default", "s", {"metadata": {"name": "s"},
                   "endpoints": 1}).code == 400  # fmt: skip


def test_a_name_that_was_to_be_generated_is_taken(registry: Registry) -> None:
    registry.create(SERVICES, service(), namespace="default")
    error = refusal(registry.create, SERVICES, service(generateName="web-"), namespace="default")
    assert error.message == (
        'services "web" already exists, '
        "the server was not able to generate a unique name for the object"
    )
    assert error.details == {"name": "web", "kind": "services", "retryAfterSeconds": 1}


def test_the_name_of_what_is_being_deleted_is_taken(registry: Registry) -> None:
    registry.create(SERVICES, service(finalizers=["a/b"]), namespace="default")
    registry.delete(SERVICES, "default", "web")
    error = refusal(registry.create, SERVICES, service(), namespace="default")
    assert error.message == 'object is being deleted: services "web" already exists'


def test_an_address_is_named_by_its_client(registry: Registry) -> None:
    parent = {"parentRef": {"resource": "services", "name": "s", "namespace": "default"}}
    given = {"metadata": {"generateName": "10.9.8.7"}, "spec": parent}
    assert registry.create(ADDRESSES, given).document["metadata"]["name"] == "10.9.8.7"


def test_a_put_without_a_name_is_a_bad_request(registry: Registry) -> None:
    error = refusal(put, registry, SERVICES, {**service(), "metadata": {}}, "web")
    assert (error.code, error.message) == (
        400,
        "the name of the object (web based on URL) was undeterminable: name must be provided",
    )


@pytest.mark.parametrize(
    ("resource", "key"),
    [
        (SERVICES, "services/specs/default/web"),
        (MAPS, "configmaps/default/web"),
        (NODES, "minions/web"),
    ],
    ids=["services", "configmaps", "nodes"],
)
def test_a_put_is_for_the_object_of_its_uid(
    registry: Registry, resource: ResourceType, key: str
) -> None:
    document = service() if resource is SERVICES else {"metadata": {"name": "web"}}
    namespace = "default" if resource.namespaced else ""
    stored = registry.create(resource, document, namespace=namespace).document
    changed = copy.deepcopy(document)
    changed["metadata"] |= {"uid": "other", "resourceVersion": "1"}
    error = refusal(put, registry, resource, changed)
    assert error.code == 409
    assert error.message == (
        f'Operation cannot be fulfilled on {resource.resource} "web": '
        f"{UID_WORDS.format(key)}AdditionalErrorMsg: Precondition failed: "
        f"UID in precondition: other, UID in object meta: {stored['metadata']['uid']}"
    )


def test_a_put_of_a_missing_object_names_no_uid(registry: Registry) -> None:
    error = refusal(put, registry, SERVICES, service(uid="other"))
    assert error.message.endswith("UID in precondition: other, UID in object meta: ")
    assert put(registry, SERVICES, service(resourceVersion="9"))["metadata"]["name"] == "web"


def test_a_patch_cannot_change_a_uid(registry: Registry) -> None:
    registry.create(SERVICES, service(), namespace="default")
    patch = {"metadata": {"uid": "other"}}
    error = refusal(registry.patch, SERVICES, "default", "web", MERGE_PATCH, patch)
    causes = [(cause["field"], cause["message"]) for cause in error.details["causes"]]
    assert causes == [("metadata.uid", 'Invalid value: "other": field is immutable')] * 2


def test_only_the_server_marks_an_object_as_being_deleted(registry: Registry) -> None:
    registry.create(MAPS, config(), namespace="default")
    stamp = "2026-01-01T00:00:00Z"
    changed = config(deletionTimestamp=stamp, deletionGracePeriodSeconds=30)
    error = refusal(put, registry, MAPS, changed)
    assert [cause["field"] for cause in error.details["causes"]] == [
        "metadata.deletionTimestamp",
        "metadata.deletionGracePeriodSeconds",
    ] * 2
    assert error.details["causes"][0]["message"] == (
        f'Invalid value: "{stamp}": field is immutable'
    )


@pytest.mark.parametrize(
    ("version", "words"),
    [("abc", "invalid syntax"), ("-1", "invalid syntax"), ("1" * 21, "value out of range")],
)
def test_a_version_that_is_no_number_is_the_servers_failure(
    registry: Registry, version: str, words: str
) -> None:
    registry.create(MAPS, config(), namespace="default")
    error = refusal(put, registry, MAPS, config(resourceVersion=version))
    expected = f'strconv.ParseUint: parsing "{version}": {words}'
    assert (error.code, error.message) == (500, expected)


def test_a_lease_is_changed_by_version_only(registry: Registry) -> None:
    lease: Document = {"metadata": {"name": "l"}, "spec": {}}
    registry.create(LEASES, lease, namespace="default")
    error = refusal(put, registry, LEASES, lease)
    assert error.message == (
        'leases.coordination.k8s.io "l" is invalid: metadata.resourceVersion: '
        "Invalid value: 0: must be specified for an update"
    )
    assert error.details["kind"] == "leases"


def test_a_put_replaces_what_the_name_was_generated_from(registry: Registry) -> None:
    registry.create(MAPS, config(generateName="c-"), namespace="default")
    assert "generateName" not in put(registry, MAPS, config())["metadata"]


def test_a_clients_generation_counts_where_the_server_counts_none(registry: Registry) -> None:
    stored = registry.create(MAPS, config(generation=5), namespace="default").document
    assert stored["metadata"]["generation"] == 5
    changed = {**config(generation=9), "data": {"a": "b"}}
    assert put(registry, MAPS, changed)["metadata"]["generation"] == 5
    error = refusal(
        registry.create, MAPS, {"metadata": {"name": "d", "generation": -1}}, namespace="default"
    )
    assert error.details["causes"][0]["field"] == "metadata.generation"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            DeleteOptions(uid="other"),
            "the UID in the precondition (other) does not match the UID in record ({uid}). "
            "The object might have been deleted and then recreated",
        ),
        (
            DeleteOptions(resource_version="1"),
            "the ResourceVersion in the precondition (1) does not match the ResourceVersion in "
            "record ({resourceVersion}). The object might have been modified",
        ),
    ],
    ids=["uid", "version"],
)
def test_a_delete_names_what_its_precondition_misses(
    registry: Registry, options: DeleteOptions, words: str
) -> None:
    stored = registry.create(SERVICES, service(), namespace="default").document
    error = refusal(registry.delete, SERVICES, "default", "web", options)
    assert error.message == (
        'Operation cannot be fulfilled on Service "web": ' + words.format(**stored["metadata"])
    )
    assert error.details == {"name": "web", "kind": "Service"}


def test_an_owner_named_twice_is_named_once(registry: Registry) -> None:
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u"}
    outcome = registry.create(
        MAPS, config(ownerReferences=[owner, {**owner, "uid": "v"}, dict(owner)]),
        namespace="default",
    )  # fmt: skip
    assert [r["uid"] for r in outcome.document["metadata"]["ownerReferences"]] == ["u", "v"]
    assert outcome.warnings == (
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references "
        "in 1.20+, and may reject such requests as early as 1.24; please fix your requests; "
        "duplicate UID(s) observed: u",
    )


def test_a_write_of_a_service_cidrs_status_leaves_its_metadata(registry: Registry) -> None:
    ranges = kind("servicecidrs")
    given = {"metadata": {"name": "c"}, "spec": {"cidrs": ["10.9.0.0/24"]}}
    registry.create(ranges, given)
    changed = {**given, "metadata": {"name": "c", "labels": {"a": "b"}}}
    written = registry.update(ranges, "", "c", changed, subresource="status").document
    assert "labels" not in written["metadata"]


def test_a_namespaces_precondition_has_words_of_its_own(registry: Registry) -> None:
    namespaces = kind("namespaces")
    stored = registry.create(namespaces, {"metadata": {"name": "team"}}).document
    error = refusal(registry.delete, namespaces, "", "team", DeleteOptions(uid="other"))
    assert error.message == (
        'Operation cannot be fulfilled on namespaces "team": Precondition failed: '
        f"UID in precondition: other, UID in object meta: {stored['metadata']['uid']}"
    )


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_the_first_namespaces_stay_before_anything_is_asked(registry: Registry, name: str) -> None:
    options = DeleteOptions(uid="other")
    error = refusal(registry.delete, kind("namespaces"), "", name, options)
    assert (error.code, error.message) == (
        403,
        f'namespaces "{name}" is forbidden: this namespace may not be deleted',
    )


def ingress(name: str, annotations: Document | None = None, **spec: Any) -> Document:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    meta = {"name": name, "annotations": annotations or {}}
    return {"metadata": meta, "spec": {"defaultBackend": backend, **spec}}


def test_an_ingress_without_a_class_gets_the_default_one(registry: Registry) -> None:
    def class_of(document: Document) -> Any:
        made = registry.create(kind("ingresses"), document, namespace="default").document
        return made["spec"].get("ingressClassName")

    assert class_of(ingress("before")) is None
    for name, default in (("b", "true"), ("a", "true"), ("c", "false")):
        annotations = {"ingressclass.kubernetes.io/is-default-class": default}
        document = {
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"controller": "example.com/x"},
        }
        registry.create(kind("ingressclasses"), document)
    assert class_of(ingress("plain")) == "a"
    assert class_of(ingress("named", ingressClassName="c")) == "c"
    assert class_of(ingress("old", {"kubernetes.io/ingress.class": "nginx"})) is None
    error = refusal(
        registry.create, kind("ingresses"), {"metadata": {"name": "bad"}, "spec": 1},
        namespace="default",
    )  # fmt: skip
    assert error.code == 400


WITH_STATUS = [r for r in RESOURCES if "status" in r.subresources]


@pytest.mark.parametrize("resource", WITH_STATUS, ids=lambda r: r.resource)
def test_a_status_can_be_put_without_the_rest(registry: Registry, resource: ResourceType) -> None:
    """The rest is the stored object's; what is wrong with the sent rest is said all the same."""
    namespace = "default" if resource.namespaced else ""
    spec: Document = {
        "pods": {"containers": [{"name": "c", "image": "i"}]},
        "services": {"ports": [{"port": 80}], "type": "LoadBalancer"},
        "ingresses": ingress("x")["spec"],
        "servicecidrs": {"cidrs": ["10.9.0.0/24"]},
    }.get(resource.resource, {})
    if resource.group == "apps":
        inner = {"containers": [{"name": "c", "image": "i"}]}
        labels = {"matchLabels": {"a": "b"}}
        spec = {"selector": labels, "template": {"metadata": {"labels": {"a": "b"}}, "spec": inner}}
    made = registry.create(
        resource, {"metadata": {"name": "x"}, "spec": spec}, namespace=namespace
    ).document
    body = {"metadata": {"name": "x"}, "status": made.get("status", {})}
    put = registry.update(resource, namespace, "x", body, subresource="status").document
    assert put.get("spec") == made.get("spec")
    body["spec"] = 1
    error = refusal(registry.update, resource, namespace, "x", body, subresource="status")
    assert error.code == 400


def test_an_address_mode_is_only_made_up_for_a_load_balancer(registry: Registry) -> None:
    given = service()
    given["spec"]["type"] = "LoadBalancer"
    registry.create(SERVICES, given, namespace="default")
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    body = {"metadata": {"name": "web"}, "status": status}
    error = refusal(registry.update, SERVICES, "default", "web", body, subresource="status")
    assert error.details["causes"][0]["field"] == "status.loadBalancer.ingress[0].ipMode"
    body["spec"] = {"type": "LoadBalancer"}
    put = registry.update(SERVICES, "default", "web", body, subresource="status").document
    assert put["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]


@pytest.mark.parametrize(
    ("meta", "shown"),
    [({"name": "web"}, "web"), ({"generateName": "web-"}, "web-"), ({}, "Unknown")],
    ids=["name", "generateName", "neither"],
)
def test_a_refusal_for_a_namespaces_sake_names_what_was_asked_for(
    registry: Registry, meta: Document, shown: str
) -> None:
    registry.create(kind("namespaces"), {"metadata": {"name": "team"}})
    registry.delete(kind("namespaces"), "", "team")
    error = refusal(registry.create, SERVICES, {**service(), "metadata": meta}, namespace="team")
    assert error.message == (
        f'services "{shown}" is forbidden: unable to create new content in namespace team '
        "because it is being terminated"
    )


def test_a_negative_grace_is_a_second(registry: Registry) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "nodeName": "w1"}
    pods = kind("pods")
    registry.create(pods, {"metadata": {"name": "p"}, "spec": spec}, namespace="default")
    marked, gone = registry.delete(pods, "default", "p", DeleteOptions(grace=-5))
    assert (marked["metadata"]["deletionGracePeriodSeconds"], gone) == (1, False)


def test_a_new_node_takes_no_pods_until_it_is_ready(registry: Registry) -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    other = {"key": "a", "effect": "NoExecute", "value": "b"}
    for name, given, expected in (
        ("bare", None, [taint]),
        ("tainted", [other], [other, taint]),
        ("known", [taint, other], [taint, other]),
    ):
        document = {"metadata": {"name": name}, "spec": {"taints": given}}
        assert registry.create(NODES, document).document["spec"]["taints"] == expected
    assert put(registry, NODES, {"metadata": {"name": "bare"}}).get("spec") == {}
