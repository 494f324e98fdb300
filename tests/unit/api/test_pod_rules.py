"""Rules of Pods and templates beyond the catalogue's, as the API server's sources have them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError

from .rules import admission, answer, create, full, obj, trimmed

CONTAINER: Document = {"name": "c", "image": "x"}


def pod(container: Document | None = None, **spec: Any) -> Document:
    return obj("Pod", "p", {"containers": [{**CONTAINER, **(container or {})}], **spec})


def labelled(labels: dict[str, str], **spec: Any) -> Document:
    return obj("Pod", "p", {"containers": [dict(CONTAINER)], **spec}, meta={"labels": labels})


def env(**source: Any) -> Document:
    return pod({"env": [{"name": "A", "valueFrom": source}]})


def deployment(**spec: Any) -> Document:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [dict(CONTAINER)]}}
    selector = {"matchLabels": {"a": "b"}}
    return obj("Deployment", "d", {"selector": selector, "template": template, **spec})


SPREAD: Document = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
CONTAINER_0 = "spec.containers[0]"
FIELD_PATH = f"{CONTAINER_0}.env[0].valueFrom.fieldRef.fieldPath"
RESOURCE_REF = f"{CONTAINER_0}.env[0].valueFrom.resourceFieldRef"
MOUNTS = f"{CONTAINER_0}.volumeMounts"
MATCH_KEYS = "spec.topologySpreadConstraints[0].matchLabelKeys"
SECCOMP = "spec.securityContext.seccompProfile"
SYSCTLS = "spec.securityContext.sysctls[0].name"
UNAVAILABLE = "spec.strategy.rollingUpdate.maxUnavailable"

REFUSED: list[tuple[str, Document, str]] = [
    (
        "an ephemeral container is only for a running Pod",
        pod(ephemeralContainers=[{"name": "e", "image": "x"}]),
        "spec.ephemeralContainers: Forbidden: cannot be set on create",
    ),
    (
        "a gated Pod has no node",
        pod(nodeName="n", schedulingGates=[{"name": "example.com/g"}]),
        "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
    ),
    (
        "a variable can't have the Pod's phase",
        env(fieldRef={"fieldPath": "status.phase"}),
        f'{FIELD_PATH}: Unsupported value: "status.phase": supported values: "metadata.name", '
        '"metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName", '
        '"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"',
    ),
    (
        "cpu is divided by 1 or 1m",
        env(resourceFieldRef={"resource": "limits.cpu", "divisor": "2"}),
        f'{RESOURCE_REF}.divisor: Invalid value: "limits.cpu": '
        "only divisor's values 1m and 1 are supported with the cpu resource",
    ),
    (
        "memory is divided by a unit",
        env(resourceFieldRef={"resource": "limits.memory", "divisor": "3"}),
        f'{RESOURCE_REF}.divisor: Invalid value: "limits.memory": only divisor\'s values 1, 1k, '
        "1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei are supported with the memory resource",
    ),
    (
        "subPath and subPathExpr exclude one another, in this order",
        pod(
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "/a"}]},
            volumes=[{"name": "v", "emptyDir": {}}],
        ),
        f'{MOUNTS}.subPath: Invalid value: "/a": must be a relative path',
    ),
    (
        "subPathExpr is checked after the exclusion",
        pod(
            {
                "volumeMounts": [
                    {"name": "v", "mountPath": "/v", "subPath": "a", "subPathExpr": "/b"}
                ]
            },
            volumes=[{"name": "v", "emptyDir": {}}],
        ),
        f'[{MOUNTS}[0].subPathExpr: Invalid value: "/b": subPathExpr and subPath are mutually '
        f'exclusive, {MOUNTS}.subPathExpr: Invalid value: "/b": must be a relative path]',
    ),
    (
        "mounts propagate back from privileged containers only",
        pod(
            {
                "volumeMounts": [
                    {"name": "v", "mountPath": "/v", "mountPropagation": "Bidirectional"}
                ]
            },
            volumes=[{"name": "v", "emptyDir": {}}],
        ),
        f"{MOUNTS}.mountPropagation: Forbidden: "
        "Bidirectional mount propagation is available only to privileged containers",
    ),
    (
        "a device is limited as it is requested",
        pod({"resources": {"requests": {"example.com/gpu": "1"}}}),
        f"{CONTAINER_0}.resources.limits: Required value: "
        "Limit must be set for non overcommitable resources",
    ),
    (
        "devices are whole",
        pod({"resources": {"limits": {"example.com/gpu": "500m"}}}),
        f"[{CONTAINER_0}.resources.limits[example.com/gpu]: "
        'Invalid value: "500m": must be an integer, '
        f"{CONTAINER_0}.resources.requests[example.com/gpu]: "
        'Invalid value: "500m": must be an integer]',
    ),
    (
        "a Pod shares its processes with itself or the node",
        pod(shareProcessNamespace=True, hostPID=True),
        "spec.securityContext.shareProcessNamespace: Invalid value: true: "
        "ShareProcessNamespace and HostPID cannot both be enabled",
    ),
    (
        "a Pod in the node's network leaves the node's sysctls alone",
        pod(
            hostNetwork=True,
            securityContext={"sysctls": [{"name": "net.ipv4.ip_forward", "value": "1"}]},
        ),
        f'{SYSCTLS}: Invalid value: "net.ipv4.ip_forward": '
        "may not be specified when 'hostNetwork' is true",
    ),
    (
        "a seccomp profile has a type",
        pod(securityContext={"seccompProfile": {}}),
        f"{SECCOMP}.type: Required value: type is required when seccompProfile is set",
    ),
    (
        "only a local seccomp profile has a file",
        pod(
            securityContext={
                "seccompProfile": {"type": "RuntimeDefault", "localhostProfile": "a.json"}
            }
        ),
        f"{SECCOMP}.localhostProfile: Invalid value: "
        '{"Type":"RuntimeDefault","LocalhostProfile":"a.json"}: '
        "can only be set when seccomp type is Localhost",
    ),
    (
        "an affinity term without key",
        pod(
            affinity={
                "podAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}]
                }
            }
        ),
        "[{0}: Required value: can not be empty, "
        '{0}: Invalid value: "": name part must be non-empty, '
        '{0}: Invalid value: "": <Q>]'.replace(
            "{0}",
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]"
            ".topologyKey",
        ),
    ),
    (
        "matchLabelKeys join a selector",
        pod(topologySpreadConstraints=[{**SPREAD, "matchLabelKeys": ["a"]}]),
        f"{MATCH_KEYS}: Forbidden: must not be specified when labelSelector is not set",
    ),
    (
        "matchLabelKeys are not in the selector",
        labelled(
            {"a": "b"},
            topologySpreadConstraints=[
                {**SPREAD, "matchLabelKeys": ["a"], "labelSelector": {"matchLabels": {"a": "b"}}}
            ],
        ),
        'spec.topologySpreadConstraints[0][0]: Invalid value: "a": '
        "exists in both matchLabelKeys and labelSelector",
    ),
    (
        "an unusable selector ends the look at the template",
        deployment(selector={"matchLabels": {"a": "b c"}}, template={}),
        '[spec.selector.matchLabels: Invalid value: "b c": a valid label must be an empty string '
        "or consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
        "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
        "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?'), "
        'spec.selector: Invalid value: {"matchLabels":{"a":"b c"}}: invalid label selector]',
    ),
    (
        "a selector prints labels before expressions",
        deployment(
            selector={
                "matchExpressions": [{"key": "a", "operator": "Is"}],
                "matchLabels": {"a": "b"},
            }
        ),
        '[spec.selector.matchExpressions[0].operator: Invalid value: "Is": '
        "not a valid selector operator, spec.selector: Invalid value: "
        '{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"Is"}]}: '
        "invalid label selector]",
    ),
    (
        "a signed percentage is none, and counts as 0",
        deployment(
            strategy={
                "type": "RollingUpdate",
                "rollingUpdate": {"maxUnavailable": "+5%", "maxSurge": 0},
            }
        ),
        f'[{UNAVAILABLE}: Invalid value: "+5%": a valid percent string must be a numeric string '
        "followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
        f"'[0-9]+%'), {UNAVAILABLE}: Invalid value: \"+5%\": may not be 0 when `maxSurge` is 0]",
    ),
]


@pytest.mark.parametrize(
    ("rule", "given", "expected"), REFUSED, ids=[rule for rule, _, _ in REFUSED]
)
def test_pod_or_template_is_refused(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


def test_privilege_escalation_shows_the_whole_context() -> None:
    context = {"allowPrivilegeEscalation": False, "privileged": True}
    assert answer(pod({"securityContext": context})) == (
        f"{CONTAINER_0}.securityContext: Invalid value: "
        '{"Capabilities":null,"Privileged":true,"SELinuxOptions":null,"WindowsOptions":null,'
        '"RunAsUser":null,"RunAsGroup":null,"RunAsNonRoot":null,"ReadOnlyRootFilesystem":null,'
        '"AllowPrivilegeEscalation":false,"ProcMount":null,"SeccompProfile":null,'
        '"AppArmorProfile":null}: '
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
    )


def changed(before: Document, **spec: Any) -> str:
    """What is wrong with a change of a Pod's spec; "" where it is accepted."""
    made = admission()
    stored, _ = create(before, admission=made)
    after = copy.deepcopy(stored)
    after["spec"] |= spec
    try:
        made.update("pods", after, stored)
    except StatusError as error:
        return trimmed(error).split("\n")[0]
    return ""


def test_a_deadline_may_only_come_closer() -> None:
    before = pod(activeDeadlineSeconds=10)
    assert changed(before, activeDeadlineSeconds=5) == ""
    assert changed(before, activeDeadlineSeconds=20) == (
        "spec.activeDeadlineSeconds: Invalid value: 20: "
        "must be less than or equal to previous value"
    )


def test_gates_are_only_taken_away() -> None:
    gate, other = {"name": "example.com/a"}, {"name": "example.com/b"}
    before = pod(schedulingGates=[gate])
    assert changed(before, schedulingGates=[]) == ""
    assert changed(before, schedulingGates=[gate, other]) == (
        "spec.schedulingGates[1].name: Forbidden: "
        "only deletion is allowed, but found new scheduling gate 'example.com/b'"
    )


def test_a_gated_pods_node_selector_may_grow() -> None:
    before = pod(schedulingGates=[{"name": "example.com/a"}], nodeSelector={"a": "b"})
    assert changed(before, nodeSelector={"a": "b", "c": "d"}) == ""
    assert changed(before, nodeSelector={"c": "d"}) == (
        'spec.nodeSelector: Invalid value: {"c":"d"}: '
        "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
    )


def test_a_pods_grace_period_is_fixed() -> None:
    refused = changed(pod(terminationGracePeriodSeconds=5), terminationGracePeriodSeconds=6)
    assert refused.startswith("spec: Forbidden: pod updates may not change fields other than")
