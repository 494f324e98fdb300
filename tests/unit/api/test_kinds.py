"""Defaults and rules of the kinds that the catalogue says less about."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.resources import RESOURCES
from testbed.api.status import StatusError
from testbed.api.strategies import STRATEGIES
from testbed.api.subsets import repack

from .rules import admission, answer, create, full, obj, svc

TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "c", "image": "i"}]},
}
SELECTOR = {"matchLabels": {"a": "b"}}


def workload(kind: str, **spec: Any) -> Document:
    return obj(kind, "w", {"selector": SELECTOR, "template": copy.deepcopy(TEMPLATE), **spec})


def test_every_stored_resource_has_a_strategy() -> None:
    stored = {(r.group, r.resource) for r in RESOURCES if "list" in r.verbs}
    assert stored == set(STRATEGIES)


def test_stateful_set_defaults() -> None:
    stored, _ = create(workload("StatefulSet", serviceName="s"))
    spec = stored["spec"]
    assert (spec["podManagementPolicy"], spec["replicas"]) == ("OrderedReady", 1)
    assert spec["updateStrategy"]["rollingUpdate"]["partition"] == 0
    retain = {"whenDeleted": "Retain", "whenScaled": "Retain"}
    assert spec["persistentVolumeClaimRetentionPolicy"] == retain
    assert stored["status"] == {"replicas": 0, "availableReplicas": 0}


def test_daemon_set_counts_template_changes() -> None:
    made = admission()
    stored, _ = create(workload("DaemonSet"), admission=made)
    annotation = "deprecated.daemonset.template.generation"
    assert stored["metadata"]["annotations"] == {annotation: "1"}
    assert stored["spec"]["updateStrategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    new = copy.deepcopy(stored)
    new["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    changed = made.update("daemonsets", new, stored).document
    assert changed["metadata"]["annotations"] == {annotation: "2"}


def test_namespace_gets_its_finalizer_label_and_phase() -> None:
    stored, _ = create(obj("Namespace", "team"))
    assert stored["metadata"]["labels"] == {"kubernetes.io/metadata.name": "team"}
    assert stored["spec"] == {"finalizers": ["kubernetes"]}
    assert stored["status"] == {"phase": "Active"}


def test_secret_strings_become_data() -> None:
    stored, _ = create(obj("Secret", "s", stringData={"a": "b"}))
    assert (stored["type"], stored["data"]) == ("Opaque", {"a": "Yg=="})
    assert "stringData" not in stored


def test_node_pod_cidr_is_the_first_of_its_list() -> None:
    stored, _ = create(obj("Node", "n", {"podCIDR": "10.244.1.0/24"}))
    assert stored["spec"]["podCIDRs"] == ["10.244.1.0/24"]


def test_node_brings_its_status_and_changes_it_by_the_subresource() -> None:
    made = admission()
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    stored, _ = create(obj("Node", "n", {}, status=ready), admission=made)
    assert stored["status"]["conditions"][0]["status"] == "True"
    new = copy.deepcopy(stored)
    new["status"]["conditions"][0]["status"] = "False"
    assert made.update("nodes", new, stored).document["status"] == stored["status"]
    changed = made.update("nodes", new, stored, subresource="status").document
    assert changed["status"]["conditions"][0]["status"] == "False"


def test_namespace_finalizers_go_by_their_subresource_only() -> None:
    made = admission()
    stored, _ = create(obj("Namespace", "team"), admission=made)
    new = copy.deepcopy(stored)
    new["spec"]["finalizers"] = []
    kept = made.update("namespaces", new, stored).document
    assert kept["spec"]["finalizers"] == ["kubernetes"]
    gone = made.update("namespaces", new, stored, subresource="finalize").document
    assert "finalizers" not in gone["spec"]


def test_generated_name_has_five_letters_more() -> None:
    given = svc("")
    given["metadata"] = {"generateName": "web-"}
    name = create(given)[0]["metadata"]["name"]
    assert (name[:4], len(name)) == ("web-", 9)


REFUSED: list[tuple[Document, str]] = [
    (
        workload("DaemonSet", updateStrategy={"rollingUpdate": {"maxUnavailable": 0}}),
        "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: "
        "cannot be 0 when maxSurge is 0",
    ),
    (
        workload("ReplicaSet", selector={"matchLabels": {"a": "c"}}),
        'spec.template.metadata.labels: Invalid value: {"a":"b"}: '
        "`selector` does not match template `labels`",
    ),
    (
        obj("ConfigMap", "c", data={"a b": "x"}),
        'data[a b]: Invalid value: "a b": a valid config key must consist of alphanumeric '
        "characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used "
        "for validation is '[-._a-zA-Z0-9]+')",
    ),
    (
        obj("Secret", "s", type="kubernetes.io/tls"),
        "[data[tls.crt]: Required value, data[tls.key]: Required value]",
    ),
    (
        obj("Lease", "l", {"leaseDurationSeconds": 0}),
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
    ),
    (
        obj("IngressClass", "i", {"controller": "x"}),
        'spec.controller: Invalid value: "x": '
        'must be a domain-prefixed path (such as "acme.io/foo")',
    ),
    (
        obj("Node", "n", {"taints": [{"key": "k", "effect": "Never"}]}),
        'metadata.taints[0].effect: Unsupported value: "Never": '
        'supported values: "NoSchedule", "PreferNoSchedule", "NoExecute"',
    ),
    (
        svc("", ports=[{"port": 80}]),
        "metadata.name: Required value: name or generateName is required",
    ),
    (
        svc(meta={"finalizers": ["mine"]}),
        'metadata.finalizers[0]: Invalid value: "mine": '
        "name is neither a standard finalizer name nor is it fully qualified",
    ),
    (
        obj("Pod", "p", {"containers": [{"name": "c", "image": "i", "env": [{}]}]}),
        "spec.containers[0].env[0].name: Required value",
    ),
    (
        obj(
            "Pod",
            "p",
            {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v"}]}]},
        ),
        '[spec.containers[0].volumeMounts[0].name: Not found: "v", '
        "spec.containers[0].volumeMounts[0].mountPath: Required value]",
    ),
    (
        obj(
            "Pod",
            "p",
            {
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
                    }
                ]
            },
        ),
        'spec.containers[0].resources.requests: Invalid value: "2": '
        "must be less than or equal to cpu limit of 1",
    ),
]


@pytest.mark.parametrize(("given", "expected"), REFUSED, ids=[r[0]["kind"] for r in REFUSED])
def test_object_is_refused(given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


def test_immutable_config_map_stays() -> None:
    made = admission()
    stored, _ = create(obj("ConfigMap", "c", data={"a": "1"}, immutable=True), admission=made)
    new = copy.deepcopy(stored)
    new["data"]["a"] = "2"
    with pytest.raises(StatusError, match="data: Forbidden: field is immutable when `immutable`"):
        made.update("configmaps", new, stored)


def test_wrong_namespace_and_version_are_bad_requests() -> None:
    with pytest.raises(StatusError, match="namespace of the provided object") as refused:
        create(svc(meta={"namespace": "other"}))
    assert refused.value.code == 400
    with pytest.raises(StatusError, match='no kind "Service" is registered for version "v2"'):
        create(svc() | {"apiVersion": "v2"})


def test_subsets_are_merged_and_sorted() -> None:
    ports = [{"port": 80, "protocol": "TCP"}]
    given = [
        {"addresses": [{"ip": "10.0.0.2"}], "ports": ports},
        {
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.3"}],
            "notReadyAddresses": [{"ip": "10.0.0.3"}],
            "ports": ports,
        },
    ]
    assert repack(given) == [
        {
            "addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
            "notReadyAddresses": [{"ip": "10.0.0.3"}],
            "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
        }
    ]


def test_quality_of_service_follows_requests_and_limits() -> None:
    def quality(resources: Document) -> str:
        container = {"name": "c", "image": "i", "resources": resources}
        return str(create(obj("Pod", "p", {"containers": [container]}))[0]["status"]["qosClass"])

    both = {"cpu": "1", "memory": "64Mi"}
    assert quality({}) == "BestEffort"
    assert quality({"limits": both}) == "Guaranteed"
    assert quality({"requests": both}) == "Burstable"


IDENTITIES: list[tuple[Document, str]] = [
    (
        {"kind": "service"},
        'service in version "v1" cannot be handled as a Service: no kind "service" is registered '
        'for version "v1" in scheme "pkg/api/legacyscheme/scheme.go:30"',
    ),
    (
        {"apiVersion": "apps/v1", "kind": "Deployment"},
        'Deployment in version "v1" cannot be handled as a Service: '
        "converting (v1.Deployment) to (core.Service): unknown conversion",
    ),
    (
        {"apiVersion": "apps/v1"},
        'Service in version "v1" cannot be handled as a Service: no kind "Service" is registered '
        'for version "apps/v1" in scheme "pkg/api/legacyscheme/scheme.go:30"',
    ),
    (
        {"kind": 5},
        "the object provided is unrecognized (must be of type Service): couldn't get version/kind; "
        "json parse error: json: cannot unmarshal number into Go struct field .kind of type string "
        '({"apiVersion":"v1","kind":5,"m ...)',
    ),
]


@pytest.mark.parametrize(("given", "expected"), IDENTITIES)
def test_a_document_of_another_kind_is_a_bad_request(given: Document, expected: str) -> None:
    with pytest.raises(StatusError) as refused:
        admission().create("services", svc() | given, namespace="default")
    assert (refused.value.code, refused.value.message) == (400, expected)


def test_what_a_document_does_not_name_is_the_resources() -> None:
    for name in ("kind", "apiVersion"):
        given = svc()
        del given[name]
        stored = admission().create("services", given, namespace="default").document
        assert (stored["kind"], stored["apiVersion"]) == ("Service", "v1")


def test_a_wrong_label_of_an_update_is_a_cause_three_times() -> None:
    stored, _ = create(svc())
    new = copy.deepcopy(stored)
    new["metadata"]["labels"] = {"a": "b c"}
    with pytest.raises(StatusError) as refused:
        admission().update("services", new, stored)
    assert len(refused.value.details["causes"]) == 3
    assert refused.value.message.count("metadata.labels") == 1
