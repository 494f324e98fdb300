"""Rules of workloads, their changes and their status, by the API server's sources."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import RESOURCE_OF, admission, answer, create, full, obj, trimmed

LABELS: Document = {"app": "a"}
CONTAINER: Document = {"name": "c", "image": "x"}
FORBIDDEN = (
    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', "
    "'template', 'updateStrategy', 'revisionHistoryLimit', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def workload(kind: str, pod: Document | None = None, **spec: Any) -> Document:
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER], **(pod or {})}}
    given = {"selector": {"matchLabels": LABELS}, "template": template, **spec}
    return obj(kind, "w", given)


def claim(name: str = "data", **spec: Any) -> Document:
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": name}, "spec": {**wanted, **spec}}


REFUSED: list[tuple[str, Document, str]] = [
    (
        "a StatefulSet's template is checked",
        workload("StatefulSet", {"containers": []}),
        "spec.template.spec.containers: Required value",
    ),
    (
        "a StatefulSet's mounts are of its volumes or claims",
        workload(
            "StatefulSet",
            {
                "containers": [
                    {
                        **CONTAINER,
                        "volumeMounts": [
                            {"name": "data", "mountPath": "/d"},
                            {"name": "other", "mountPath": "/o"},
                        ],
                    }
                ]
            },
            volumeClaimTemplates=[claim()],
        ),
        'spec.template.spec.containers[0].volumeMounts[1].name: Not found: "other"',
    ),
    (
        "a StatefulSet's Service has a label for its name",
        workload("StatefulSet", serviceName="a.b"),
        'spec.serviceName: Invalid value: "a.b": must not contain dots',
    ),
    (
        "a StatefulSet's claims ask for an amount",
        workload("StatefulSet", volumeClaimTemplates=[claim(resources={})], replicas=-1),
        "[spec.volumeClaimTemplates[0].spec.resources[storage]: Required value, "
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0]",
    ),
    (
        "a StatefulSet that deletes has no rolling update",
        workload(
            "StatefulSet", updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}}
        ),
        "spec.updateStrategy.rollingUpdate: Invalid value: "
        '{"Partition":1,"MaxUnavailable":null}: '
        "only allowed for updateStrategy 'RollingUpdate'",
    ),
    (
        "no Deployment's selector has an unknown operator",
        workload(
            "Deployment",
            {"containers": []},
            selector={"matchExpressions": [{"key": "a", "operator": "Is"}]},
        ),
        '[spec.selector.matchExpressions[0].operator: Invalid value: "Is": '
        "not a valid selector operator, "
        "spec.selector: Invalid value: "
        '{"matchExpressions":[{"key":"a","operator":"Is"}]}: invalid label selector]',
    ),
    (
        "a DaemonSet's numbers are read before they are compared",
        workload(
            "DaemonSet",
            updateStrategy={
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "101%", "maxSurge": "x"},
            },
        ),
        '[spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: "x": '
        "a valid percent string must be a numeric string followed by an ending '%' "
        "(e.g. '1%',  or '93%', regex used for validation is '[0-9]+%'), "
        "spec.updateStrategy.rollingUpdate.maxUnavailable: "
        'Invalid value: "101%": must not be greater than 100%]',
    ),
    (
        "a DaemonSet's strategy is shown whole",
        workload("DaemonSet", updateStrategy={"type": "Never"}),
        'spec.updateStrategy: Unsupported value: {"Type":"Never","RollingUpdate":null}: '
        'supported values: "RollingUpdate", "OnDelete"',
    ),
    (
        "a ReplicaSet's Pods don't end",
        workload("ReplicaSet", {"restartPolicy": "Never", "activeDeadlineSeconds": 1}),
        '[spec.template.spec.restartPolicy: Unsupported value: "Never": '
        'supported values: "Always", '
        "spec.template.spec.activeDeadlineSeconds: Forbidden: "
        "activeDeadlineSeconds in ReplicaSet is not Supported]",
    ),
]


@pytest.mark.parametrize(("rule", "given", "expected"), REFUSED, ids=[row[0] for row in REFUSED])
def test_workload_is_refused(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


def test_a_stateful_sets_own_pods_names_arent_checked() -> None:
    assert answer(workload("StatefulSet", {"hostname": "A_B", "subdomain": "c.d"})) == ""


def test_an_explicit_strategy_without_numbers_stays_so() -> None:
    given = workload("StatefulSet", updateStrategy={"type": "RollingUpdate"}, serviceName="")
    stored = create(given)[0]["spec"]
    assert stored["updateStrategy"] == {"type": "RollingUpdate"}
    default = create(workload("StatefulSet"))[0]["spec"]["updateStrategy"]
    assert default == {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": 0, "maxUnavailable": 1},
    }


def refusal(before: Document, *, subresource: str = "", **members: Any) -> StatusError | None:
    """The answer to a change of spec or status; None where it is accepted."""
    made = admission()
    stored, _ = create(before, admission=made)
    after = copy.deepcopy(stored)
    for name, value in members.items():
        after[name] = {**after.get(name, {}), **value}
    try:
        made.update(RESOURCE_OF[before["kind"]], after, stored, subresource=subresource)
    except StatusError as error:
        return error
    return None


def changed(before: Document, **members: Any) -> str:
    """What is wrong with a change; "" where it is accepted."""
    refused = refusal(before, **members)
    return trimmed(refused) if refused else ""


def test_a_stateful_sets_claims_and_service_are_fixed() -> None:
    before = workload("StatefulSet", serviceName="s", volumeClaimTemplates=[claim()])
    assert changed(before, spec={"serviceName": "t"}) == FORBIDDEN
    assert changed(before, spec={"volumeClaimTemplates": []}) == FORBIDDEN
    assert changed(before, spec={"replicas": 3, "minReadySeconds": 4}) == ""


def test_a_changed_selector_is_shown() -> None:
    labels = {"app": "b"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [CONTAINER]}}
    after: Document = {"selector": {"matchLabels": labels}, "template": template}
    refused = 'spec.selector: Invalid value: {"matchLabels":{"app":"b"}}: field is immutable'
    assert changed(workload("Deployment"), spec=after).endswith(refused)


@pytest.mark.parametrize(("kind", "times"), [("ReplicaSet", 2), ("Deployment", 1)])
def test_a_changed_replica_set_is_checked_as_a_new_one_too(kind: str, times: int) -> None:
    refused = refusal(workload(kind), spec={"replicas": -1})
    assert refused is not None
    words = "spec.replicas: Invalid value: -1: must be greater than or equal to 0"
    assert trimmed(refused) == words
    assert [cause["field"] for cause in refused.details["causes"]] == ["spec.replicas"] * times


STATUS: list[tuple[str, Document, str]] = [
    (
        "Deployment",
        {"collisionCount": -1, "terminatingReplicas": -1},
        "[status.terminatingReplicas: Invalid value: -1: must be greater than or equal to 0, "
        "status.collisionCount: Invalid value: -1: must be greater than or equal to 0]",
    ),
    (
        "Deployment",
        {"replicas": 1, "availableReplicas": 2, "readyReplicas": 1},
        "[status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas, "
        "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas]",
    ),
    (
        "StatefulSet",
        {"replicas": 1, "availableReplicas": 1},
        "status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas",
    ),
    (
        "DaemonSet",
        {"numberReady": -1},
        "status.numberReady: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        "ReplicaSet",
        {"replicas": 0, "fullyLabeledReplicas": 1},
        "status.fullyLabeledReplicas: Invalid value: 1: cannot be greater than status.replicas",
    ),
]


@pytest.mark.parametrize(("kind", "given", "expected"), STATUS)
def test_status_is_refused(kind: str, given: Document, expected: str) -> None:
    assert changed(workload(kind), subresource="status", status=given) == expected


POD = obj("Pod", "p", {"containers": [CONTAINER]})
POD_STATUS: list[tuple[Document, Document, str]] = [
    (
        POD,
        {"podIPs": [{"ip": "192.0.2.1"}, {"ip": "192.0.2.2"}]},
        'status.podIPs: Invalid value: [{"IP":"192.0.2.1"},{"IP":"192.0.2.2"}]: '
        "may specify no more than one IP for each IP family",
    ),
    (
        POD,
        {"hostIP": "192.0.2.1", "hostIPs": [{"ip": "192.0.2.2"}]},
        'status.hostIPs[0].ip: Invalid value: "192.0.2.2": must be equal to `hostIP`',
    ),
    (
        POD,
        {"conditions": [{"type": "a b", "status": "True", "observedGeneration": -1}]},
        "[status.conditions[0].observedGeneration: Invalid value: -1: "
        "must be a non-negative integer, "
        'status.conditions[0].Type: Invalid value: "a b": <Q>]',
    ),
    (
        POD,
        {"observedGeneration": -1, "qosClass": "Guaranteed"},
        "[status.observedGeneration: Invalid value: -1: must be a non-negative integer, "
        'status.qosClass: Invalid value: "Guaranteed": field is immutable]',
    ),
    (
        obj("Pod", "p", {"containers": [CONTAINER], "nodeName": "n"}),
        {"nominatedNodeName": "A"},
        '[status.nominatedNodeName: Invalid value: "A": <SD>, '
        "status.nominatedNodeName: Forbidden: "
        "may not be set on pods that are already bound to a node]",
    ),
]


@pytest.mark.parametrize(("before", "given", "expected"), POD_STATUS)
def test_pod_status_is_refused(before: Document, given: Document, expected: str) -> None:
    assert changed(before, subresource="status", status=given) == full(expected)


def test_a_write_of_status_keeps_what_it_leaves_out() -> None:
    made = admission()
    stored, _ = create(POD, admission=made)
    stored["status"] |= {
        "observedGeneration": 2,
        "conditions": [{"type": "Ready", "status": "True", "observedGeneration": 3}],
    }
    after = copy.deepcopy(stored)
    after["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
    kept = made.update("pods", after, stored, subresource="status").document["status"]
    assert kept["conditions"][0].pop("observedGeneration") == 3
    assert kept.pop("conditions")[0]["status"] == "False"
    assert kept == {"phase": "Running", "qosClass": "BestEffort", "observedGeneration": 2}


RULE: Document = {"action": "Restart", "exitCodes": {"operator": "NotIn", "values": [0, 9]}}


@pytest.mark.parametrize(
    ("own", "policy", "code", "again"),
    [
        ({}, "Never", 0, False),
        ({}, "OnFailure", 1, True),
        ({}, "OnFailure", 0, False),
        ({}, "Always", 0, True),
        ({"restartPolicy": "Never"}, "Always", 1, False),
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE]}, "Never", 1, True),
        ({"restartPolicy": "Never", "restartPolicyRules": [RULE]}, "Never", 9, False),
    ],
)
def test_a_container_that_ended_for_good_doesnt_run_again(
    own: Document, policy: str, code: int, again: bool
) -> None:
    given = obj("Pod", "p", {"containers": [{**CONTAINER, **own}], "restartPolicy": policy})
    made = admission()
    stored, _ = create(given, admission=made)
    stored["status"]["containerStatuses"] = [
        {"name": "c", "state": {"terminated": {"exitCode": code}}}
    ]
    after = copy.deepcopy(stored)
    after["status"]["containerStatuses"] = [{"name": "c", "state": {"running": {}}}]
    try:
        made.update("pods", after, stored, subresource="status")
        refused = ""
    except StatusError as error:
        refused = trimmed(error)
    assert refused == (
        ""
        if again
        else "status.containerStatuses[0].state: Forbidden: "
        "may not be transitioned to non-terminated state"
    )


def test_added_tolerations_are_checked() -> None:
    added = [{"key": "a", "operator": "Exists", "value": "b"}]
    made = admission()
    stored, _ = create(POD, admission=made)
    after = copy.deepcopy(stored)
    after["spec"]["tolerations"] += added
    with pytest.raises(StatusError) as refused:
        made.update("pods", after, stored)
    assert trimmed(refused.value) == (
        'spec.tolerations[2].operator: Invalid value: "b": '
        "value must be empty when `operator` is 'Exists'"
    )
