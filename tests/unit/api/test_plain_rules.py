"""Rules of Namespace, Node, Secret, ServiceAccount, Event, Lease, IPAddress and ServiceCIDR."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import RESOURCE_OF, admission, answer, create, full, obj, trimmed

REDACTED = "<secret contents redacted>"


def dockercfg(text: str) -> Document:
    data = {".dockercfg": base64.b64encode(text.encode()).decode()}
    return obj("Secret", "s", type="kubernetes.io/dockercfg", data=data)


def event(**members: Any) -> Document:
    involved = {"kind": "Pod", "name": "p", "namespace": "default"}
    return obj("Event", "e", involvedObject=involved) | members


def node(spec: Document | None = None, **status: Any) -> Document:
    return obj("Node", "n", spec or {}, status=status)


REFUSED: list[tuple[str, Document, str]] = [
    (
        "a node's amounts aren't negative",
        node(capacity={"cpu": "-1"}),
        'status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',
    ),
    (
        "a node's Pods and devices are counted",
        node(allocatable={"pods": "1500m", "example.com/gpu": "0.5", "cpu": "1500m"}),
        '[status.allocatable.example.com/gpu: Invalid value: "500m": must be an integer, '
        'status.allocatable.pods: Invalid value: "1500m": must be an integer]',
    ),
    (
        "a docker configuration is JSON",
        dockercfg("{x"),
        f'data[.dockercfg]: Invalid value: "{REDACTED}": '
        "invalid character 'x' looking for beginning of object key string",
    ),
    (
        "a docker configuration is an object",
        dockercfg("[]"),
        f'data[.dockercfg]: Invalid value: "{REDACTED}": '
        "json: cannot unmarshal array into Go value of type map[string]interface {}",
    ),
    (
        "a docker configuration is something",
        dockercfg(""),
        f'data[.dockercfg]: Invalid value: "{REDACTED}": unexpected end of JSON input',
    ),
    (
        "an old event's metadata is checked, though its own rules don't",
        event(metadata={"name": "e", "labels": {"bad key!": "v"}}),
        'metadata.labels: Invalid value: "bad key!": <Q>',
    ),
    (
        "an event's name is a path segment",
        event(metadata={"name": "a%b"}),
        "metadata.name: Invalid value: \"a%b\": may not contain '%'",
    ),
    (
        "a generated path segment",
        event(metadata={"generateName": "a/", "name": "e"}),
        "metadata.generateName: Invalid value: \"a/\": may not contain '/'",
    ),
    (
        "an address isn't generated",
        obj(
            "IPAddress",
            "10.0.0.1",
            {"parentRef": {"resource": "services", "name": "s"}},
            meta={"generateName": "10.0.0.-"},
        ),
        'metadata.generateName: Invalid value: "10.0.0.-": <IP>',
    ),
]


@pytest.mark.parametrize(
    ("given", "expected"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_object_is_refused(given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


def test_a_leases_finalizers_need_no_domain() -> None:
    create(obj("Lease", "l", {}, meta={"finalizers": ["mine"]}))


def test_coordinated_leader_election_is_off() -> None:
    made = admission()
    spec = {"strategy": "OldestEmulationVersion", "preferredHolder": "b", "holderIdentity": "a"}
    stored = create(obj("Lease", "l", spec), admission=made)[0]
    assert stored["spec"] == {"holderIdentity": "a"}
    in_use = {**stored, "spec": spec}
    assert made.update("leases", copy.deepcopy(in_use), in_use).document["spec"] == spec


def test_secrets_of_a_service_account_are_names() -> None:
    references = [{"name": "a", "namespace": "x", "uid": "1"}, {"kind": "Secret"}]
    stored = create(obj("ServiceAccount", "s", secrets=references))[0]
    assert stored["secrets"] == [{"name": "a"}, {}]


def test_mountable_secrets_and_dead_node_fields_get_warnings() -> None:
    name = "kubernetes.io/enforce-mountable-secrets"
    account = obj("ServiceAccount", "s", meta={"annotations": {name: "true"}})
    assert create(account)[1] == (
        f"metadata.annotations[{name}]: deprecated in v1.32+; "
        "prefer separate namespaces to isolate access to mounted secrets",
    )
    assert create(node({"externalID": "x"}))[1] == (
        "spec.externalID: this field is deprecated, and is unused by Kubernetes",
    )


def test_a_nodes_single_range_is_the_right_one() -> None:
    spec = {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.2.0.0/24", "fd00::/64"]}
    stored = create(node(spec))[0]["spec"]
    assert stored == {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}


def test_a_service_cidrs_status_comes_with_it() -> None:
    status = {"conditions": [{"type": "Ready", "status": "True", "reason": "x", "message": "",
                              "lastTransitionTime": "2026-01-01T00:00:00Z"}]}  # fmt: skip
    stored = create(obj("ServiceCIDR", "c", {"cidrs": ["10.9.0.0/24"]}, status=status))[0]
    assert stored["status"]["conditions"][0]["type"] == "Ready"


def refusal(document: Document, **changes: Any) -> list[str]:
    """The causes of a refused update, as `field: message`."""
    made = admission()
    stored = create(document, admission=made)[0]
    new = copy.deepcopy(stored)
    for path, value in changes.items():
        target, names = new, path.split("__")
        for name in names[:-1]:
            target = target.setdefault(name, {})
        target[names[-1]] = value
    with pytest.raises(StatusError) as caught:
        made.update(RESOURCE_OF[document["kind"]], new, stored)
    return [f"{cause.get('field')}: {cause['message']}" for cause in caught.value.details["causes"]]


def test_a_namespaces_update_is_checked_once_more_than_others() -> None:
    causes = refusal(obj("Namespace", "n"), metadata__annotations={"bad key!": ""})
    assert causes == [full('metadata.annotations: Invalid value: "bad key!": <Q>')] * 4


def test_a_nodes_update_is_checked_once_more_than_others() -> None:
    taint = {"key": "k", "effect": "Never"}
    causes = refusal(node(), spec__taints=[taint])
    assert [cause.partition(":")[0] for cause in causes] == ["metadata.taints[0].effect"] * 2


def test_an_address_keeps_its_parent_which_must_be_whole() -> None:
    given = obj("IPAddress", "10.0.0.1", {"parentRef": {"resource": "services", "name": "s"}})
    causes = refusal(given, spec__parentRef={"resource": "services"})
    assert [cause.partition(": ")[0] for cause in causes] == [
        "spec.parentRef.name",
        "spec.parentRef",
    ]


def test_a_new_events_past_is_fixed() -> None:
    made = admission()
    given = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "c",
        "reportingInstance": "i",
        "action": "a",
        "reason": "r",
        "type": "Normal",
    }
    stored = made.create("events", copy.deepcopy(given), namespace="default").document
    new = copy.deepcopy(stored)
    new["reason"] = "other"
    new["regarding"]["name"] = "q"
    new["series"] = {"count": 1}
    with pytest.raises(StatusError) as caught:
        made.update("events", new, stored)
    reference = (
        '{"Kind":"Pod","Namespace":"default","Name":"q","UID":"","APIVersion":"",'
        '"ResourceVersion":"","FieldPath":""}'
    )
    assert trimmed(caught.value) == (
        '[series.count: Invalid value: "": should be at least 2, '
        "series.lastObservedTime: Required value, "
        f"involvedObject: Invalid value: {reference}: field is immutable, "
        'reason: Invalid value: "other": field is immutable]'
    )
