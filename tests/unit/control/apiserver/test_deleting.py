"""DeleteOptions, evictions and bindings: what is refused leaves everything as it was."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.control.apiserver.live import Document, Live

NAMESPACE = "/api/v1/namespaces/default"
WEB = f"{NAMESPACE}/services/web"
POD = f"{NAMESPACE}/pods/p"


def prepare(live: Live) -> None:
    service = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    assert live.call("POST", f"{NAMESPACE}/services", service).code == 201
    pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    assert live.call("POST", f"{NAMESPACE}/pods", pod).code == 201


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        (
            b"[1]",
            400,
            "couldn't get version/kind; json parse error: json: cannot unmarshal array into Go "
            "value of type struct {",
        ),
        (b"{", 400, "couldn't get version/kind; json parse error: unexpected end of JSON input"),
        (
            {"preconditions": "x"},
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.preconditions",
        ),
        ({"kind": "Foo", "apiVersion": "v1"}, 400, 'no kind "Foo" is registered for version "v1"'),
        (
            {"dryRun": ["Foo"]},
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Foo"]: '
            'supported values: "All"',
        ),
        (
            {"orphanDependents": True, "propagationPolicy": "Orphan"},
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Invalid value: "Orphan": '
            "orphanDependents and deletionPropagation cannot be both set",
        ),
        (
            {"propagationPolicy": "Sideways"},
            422,
            'DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: '
            '"Sideways": supported values: "Foreground", "Background", "Orphan", "nil"',
        ),
        ({"preconditions": {"uid": ""}}, 409, "Operation cannot be fulfilled on Service"),
    ],
)
def test_options_that_do_not_hold_leave_the_object(
    live: Live, body: Any, code: int, words: str
) -> None:
    prepare(live)
    reply = live.call("DELETE", WEB, body)
    assert (reply.code, reply.document["message"][: len(words)]) == (code, words)
    reply = live.call("DELETE", f"{NAMESPACE}/services", body)
    assert reply.code == code
    assert live.call("GET", WEB).code == 200


def test_a_body_stands_for_the_query(live: Live) -> None:
    prepare(live)
    assert live.call("DELETE", f"{WEB}?dryRun=All").code == 200
    assert live.call("GET", WEB).code == 200
    kind = {"kind": "DeleteOptions", "apiVersion": "apps/v1"}
    assert live.call("DELETE", f"{WEB}?propagationPolicy=Sideways", kind).code == 200
    assert live.call("GET", WEB).code == 404


def bind(live: Live, **metadata: str) -> Document:
    binding = {"metadata": {"name": "p", **metadata}, "target": {"kind": "Node", "name": "w1"}}
    reply = live.call("POST", f"{POD}/binding", binding)
    return reply.document


def test_a_negative_grace_is_a_second(live: Live) -> None:
    prepare(live)
    assert bind(live)["code"] == 201
    reply = live.call("DELETE", POD, {"gracePeriodSeconds": -5})
    assert reply.document["metadata"]["deletionGracePeriodSeconds"] == 1


def test_an_eviction_is_of_the_pod_that_it_names(live: Live) -> None:
    prepare(live)
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "other"}}
    reply = live.call("POST", f"{POD}/eviction", eviction)
    assert reply.code == 400
    assert reply.document["message"] == "name in URL does not match name in Eviction object"
    assert live.call("POST", f"{POD}/eviction", {"kind": "Service"}).code == 400
    eviction["metadata"] = {"name": "p"}
    for query, options in (("?dryRun=All", None), ("", {"dryRun": ["All"]})):
        body = {**eviction, "deleteOptions": options} if options else eviction
        assert live.call("POST", f"{POD}/eviction{query}", body).code == 201
        assert live.call("GET", POD).code == 200
    assert live.call("POST", f"{POD}/eviction", eviction).code == 201
    assert live.call("GET", POD).code == 404


def test_a_binding_brings_its_annotations_and_the_condition(live: Live) -> None:
    prepare(live)
    target = {"kind": "Node", "name": "w1"}
    binding = {"metadata": {"name": "p", "annotations": {"a": "b"}}, "target": target}
    assert live.call("POST", f"{POD}/binding?dryRun=All", binding).code == 201
    assert "nodeName" not in live.call("GET", POD).document["spec"]
    assert live.call("POST", f"{POD}/binding", binding).code == 201
    pod = live.call("GET", POD).document
    assert pod["spec"]["nodeName"] == "w1"
    assert pod["metadata"]["annotations"] == {"a": "b"}
    (condition,) = [c for c in pod["status"]["conditions"] if c["type"] == "PodScheduled"]
    assert condition["status"] == "True"
    again = live.call("POST", f"{POD}/binding", binding)
    assert again.code == 409
    assert again.document["message"] == (
        'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "w1"'
    )


@pytest.mark.parametrize(
    ("binding", "code", "message"),
    [
        (
            {"metadata": {"name": "q"}, "target": {"name": "w1"}},
            400,
            "name in URL does not match name in Binding object",
        ),
        (
            {"metadata": {"name": "p"}, "target": {"kind": "Rack"}},
            500,
            '[target.kind: Unsupported value: "Rack": supported values: "Node", "<empty>", '
            "target.name: Required value]",
        ),
        (
            {"metadata": {"name": "p", "uid": "u"}, "target": {"name": "w1"}},
            409,
            None,
        ),
    ],
)
def test_a_binding_that_does_not_fit_is_refused(
    live: Live, binding: Document, code: int, message: str | None
) -> None:
    prepare(live)
    reply = live.call("POST", f"{POD}/binding", binding)
    assert reply.code == code
    assert message in (None, reply.document["message"])
    assert "nodeName" not in live.call("GET", POD).document["spec"]


def test_finalizing_a_namespace_checks_what_it_is_given(live: Live) -> None:
    path = "/api/v1/namespaces/kube-system"
    found = live.call("GET", path).document
    stale = {**found, "metadata": {**found["metadata"], "resourceVersion": "1"}}
    stale["spec"] = {"finalizers": ["example.com/a"]}
    assert live.call("PUT", f"{path}/finalize", stale).code == 409
    named = {"metadata": {"name": "other"}, "spec": {"finalizers": []}}
    assert live.call("PUT", f"{path}/finalize", named).code == 400
    found["spec"] = {"finalizers": ["kubernetes", "example.com/a"]}
    assert live.call("PUT", f"{path}/finalize?dryRun=All", found).code == 200
    assert live.call("GET", path).document["spec"] == {"finalizers": ["kubernetes"]}
    reply = live.call("PUT", f"{path}/finalize", found)
    assert reply.code == 200, reply.body
    assert live.call("GET", path).document["spec"] == found["spec"]


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"name": "other"}, 400, "the name of the object (other) does not match the name on the"),
        ({"uid": "u"}, 409, 'Operation cannot be fulfilled on deployments/scale.apps "d": Prec'),
        ({"namespace": "kube-system"}, 400, "the namespace of the provided object does not match"),
        ({"resourceVersion": "1"}, 409, 'Operation cannot be fulfilled on deployments.apps "d"'),
    ],
)
def test_a_scale_is_of_the_object_that_it_names(
    live: Live, change: dict[str, str], code: int, words: str
) -> None:
    deployments = "/apis/apps/v1/namespaces/default/deployments"
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    reply = live.call("POST", deployments, {"metadata": {"name": "d"}, "spec": spec})
    assert reply.code == 201, reply.body
    path = f"{deployments}/d/scale"
    scale = live.call("GET", path).document
    scale["spec"]["replicas"] = 3
    wrong = {**scale, "metadata": {**scale["metadata"], **change}}
    reply = live.call("PUT", path, wrong)
    assert (reply.code, reply.document["message"][: len(words)]) == (code, words)
    assert live.call("PUT", path, scale).document["spec"]["replicas"] == 3
