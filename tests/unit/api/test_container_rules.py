"""Rules of containers, their resources and their security, by the API server's sources."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.documents import Document

from .rules import answer, create, full, obj

CONTAINER: Document = {"name": "c", "image": "x"}
C = "spec.containers[0]"
INIT = "spec.initContainers[0]"


def pod(container: Document | None = None, **spec: Any) -> Document:
    return obj("Pod", "p", {"containers": [{**CONTAINER, **(container or {})}], **spec})


def init(**entry: Any) -> Document:
    return pod(initContainers=[{"name": "i", "image": "x", **entry}])


def resources(**kinds: Document) -> Document:
    return pod({"resources": kinds})


def secure(context: Document, **spec: Any) -> Document:
    return pod({"securityContext": context}, **spec)


def annotated(annotations: dict[str, str], **spec: Any) -> Document:
    return obj("Pod", "p", {"containers": [CONTAINER], **spec}, meta={"annotations": annotations})


SPREAD: Document = {"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}
RULE: Document = {"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}
FILE: Document = {"volumeName": "v", "path": "f", "key": "A"}
SECCOMP = "container.seccomp.security.alpha.kubernetes.io/c"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/c"
COST = "controller.kubernetes.io/pod-deletion-cost"

REFUSED: list[tuple[str, Document, str]] = [
    (
        "a file with variables is in a volume of the Pod",
        pod({"env": [{"name": "A", "valueFrom": {"fileKeyRef": FILE}}]}),
        f'{C}.env[0].valueFrom.fileKeyRef.volumeName: Not found: "v"',
    ),
    (
        "a file with variables is in an empty directory",
        pod(
            {"env": [{"name": "A", "valueFrom": {"fileKeyRef": FILE}}]},
            volumes=[{"name": "v", "configMap": {"name": "m"}}],
        ),
        f'{C}.env[0].valueFrom.fileKeyRef.volumeName: Invalid value: "v": '
        "referenced volume must be of type emptyDir",
    ),
    (
        "tolerations don't compare numbers",
        pod(tolerations=[{"key": "a", "operator": "Gt", "value": "1"}]),
        'spec.tolerations[0].operator: Unsupported value: "Gt": '
        'supported values: "Equal", "Exists", "Lt", "Gt"',
    ),
    (
        "a user's number has 31 bits",
        secure({"runAsUser": 2**31}),
        f"{C}.securityContext.runAsUser: Invalid value: 2147483648: "
        "must be between 0 and 2147483647, inclusive",
    ),
    (
        "restart rules need a policy of the container",
        pod({"restartPolicyRules": [RULE]}),
        f"{C}.restartPolicy: Required value: "
        "must specify restartPolicy when restart rules are used",
    ),
    (
        "a restart rule has a known action",
        pod({"restartPolicy": "Never", "restartPolicyRules": [{**RULE, "action": "Stop"}]}),
        f'{C}.restartPolicyRules[0].action: Unsupported value: "Stop": '
        'supported values: "Restart", "RestartAllContainers"',
    ),
    (
        "a restart rule has exit codes",
        pod({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]}),
        f"{C}.restartPolicyRules[0].exitCodes: Required value: must be specified",
    ),
    (
        "there are at most twenty restart rules",
        pod({"restartPolicy": "Never", "restartPolicyRules": [RULE] * 21}),
        f"{C}.restartPolicyRules: Too many: 21: must have at most 20 items",
    ),
    (
        "only a sidecar is restarted to be resized",
        init(resizePolicy=[{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
        f'{INIT}.resizePolicy[0].restartPolicy: Invalid value: "RestartContainer": '
        "must not be set to 'RestartContainer' for non-sidecar initContainers",
    ),
    (
        "the rules of an init container without a policy aren't looked at",
        init(restartPolicyRules=[{"action": "Stop"}]),
        f"{INIT}.restartPolicy: Required value: "
        "must specify restartPolicy when restart rules are used",
    ),
    (
        "a container's own restart policy is a known one",
        pod({"restartPolicy": "Sometimes"}),
        f'{C}.restartPolicy: Unsupported value: "Sometimes": '
        'supported values: "Always", "Never", "OnFailure"',
    ),
    (
        "a Pod with users of its own has no network of its node and no devices",
        pod(
            {"volumeDevices": [{"name": "v", "devicePath": "/d"}]},
            hostUsers=False,
            hostNetwork=True,
            volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "v"}}],
        ),
        "[spec.hostNetwork: Forbidden: when `hostUsers` is false, "
        f"{C}.volumeDevices: Forbidden: when `hostUsers` is false]",
    ),
    (
        "a hostname in place of the Pod's own is a short name of a Pod with a network of its own",
        pod(hostnameOverride="A", hostNetwork=True, setHostnameAsFQDN=True, nodeName="N"),
        "[spec.hostnameOverride: Forbidden: may not be specified when setHostnameAsFQDN is true, "
        "spec.hostnameOverride: Forbidden: may not be specified when hostNetwork is true, "
        'spec.hostnameOverride: Invalid value: "A": <SD>, '
        'spec.nodeName: Invalid value: "N": <SD>]',
    ),
    (
        "a file with variables is below its volume",
        pod(
            {"env": [{"name": "A", "valueFrom": {"fileKeyRef": {**FILE, "path": "/a/../b"}}}]},
            volumes=[{"name": "v", "emptyDir": {}}],
        ),
        f"{C}.env[0].valueFrom.fileKeyRef.path: Invalid value: \"/a/../b\": must not contain '..'",
    ),
    (
        "labels aren't changed by mounting",
        pod(securityContext={"seLinuxChangePolicy": "MountOption"}),
        'spec.securityContext.seLinuxChangePolicy: Unsupported value: "MountOption": '
        'supported values: "Recursive"',
    ),
    (
        "an operating system has a name",
        pod(os={}),
        "spec.os.name: Required value",
    ),
    (
        "a Windows Pod has no resources of its own",
        pod(os={"name": "windows"}, resources={"claims": [{"name": "a"}]}),
        "spec.resources: Forbidden: may not be set for a windows pod",
    ),
    (
        "keys of labels need a selector, and aren't looked at without one",
        pod(topologySpreadConstraints=[{**SPREAD, "matchLabelKeys": ["A/B/C"]}]),
        "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: "
        "must not be specified when labelSelector is not set",
    ),
    (
        "a Pod's claims are looked up although it can't have them as a whole",
        pod(resources={"claims": [{"name": "a"}]}),
        "[spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level, "
        'spec.resources.claims[0]: Not found: "a": '
        "must be one of the names in pod.spec.resourceClaims which is empty]",
    ),
    (
        "a Pod as a whole has no claims",
        pod(resources={"claims": []}),
        "spec.resources.claims: Forbidden: claims may not be set for Resources at pod-level",
    ),
    (
        "a policy of resizing is of cpu or memory",
        pod({"resizePolicy": [{"resourceName": "disk", "restartPolicy": "NotRequired"}]}),
        f'{C}.resizePolicy: Unsupported value: "disk": supported values: "cpu", "memory"',
    ),
    (
        "a Pod that never restarts isn't restarted to be resized",
        pod(
            {"resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]},
            restartPolicy="Never",
        ),
        f'{C}.resizePolicy: Invalid value: "RestartContainer": '
        "must be 'NotRequired' when pod `restartPolicy` is 'Never'",
    ),
    (
        "huge pages come in whole pages",
        resources(limits={"hugepages-2Mi": "3Mi", "cpu": "1"}, requests={"hugepages-2Mi": "3Mi"}),
        f'[{C}.resources.limits[hugepages-2Mi]: Invalid value: "3Mi": '
        "3Mi is not positive integer multiple of hugepages-2Mi, "
        f'{C}.resources.requests[hugepages-2Mi]: Invalid value: "3Mi": '
        "3Mi is not positive integer multiple of hugepages-2Mi]",
    ),
    (
        "a resource that is counted is whole, and not a container's",
        resources(requests={"pods": "1500m"}),
        f'[{C}.resources.requests[pods]: Invalid value: "pods": '
        "must be a standard resource for containers, "
        f'{C}.resources.requests[pods]: Invalid value: "1500m": must be an integer]',
    ),
    (
        "a container's claim is one of the Pod's",
        pod({"resources": {"claims": [{"name": "a"}]}}),
        f'{C}.resources.claims[0]: Not found: "a": '
        "must be one of the names in pod.spec.resourceClaims which is empty",
    ),
    (
        "a Pod's claim has one source",
        pod(resourceClaims=[{"name": "a"}]),
        'spec.resourceClaims[0]: Invalid value: {"Name":"a","ResourceClaimName":null,'
        '"ResourceClaimTemplateName":null}: '
        "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
    ),
    (
        "containers don't ask for more than their Pod",
        pod(
            {"resources": {"requests": {"memory": "2Gi"}}},
            resources={"requests": {"memory": "1Gi"}},
        ),
        'spec.resources.requests[memory]: Invalid value: "1Gi": '
        "must be greater than or equal to aggregate container requests of 2Gi",
    ),
    (
        "a Pod as a whole has few resources",
        pod(resources={"limits": {"ephemeral-storage": "1Gi"}}),
        'spec.resources.limits[ephemeral-storage]: Unsupported value: "ephemeral-storage": '
        'supported values: "cpu", "hugepages-", "memory"',
    ),
    (
        "an unmasked /proc needs a user namespace",
        secure({"procMount": "Unmasked"}),
        f'{C}.securityContext.procMount: Invalid value: "Unmasked": '
        "`hostUsers` must be false to use `Unmasked`",
    ),
    (
        "a seccomp profile's file is below the profiles' directory",
        secure({"seccompProfile": {"type": "Localhost", "localhostProfile": "/a"}}),
        f'{C}.securityContext.seccompProfile.localhostProfile: Invalid value: "/a": '
        "must be a relative path",
    ),
    (
        "an AppArmor profile has a known type",
        secure({"appArmorProfile": {"type": "None"}}),
        f'{C}.securityContext.appArmorProfile.type: Unsupported value: "None": '
        'supported values: "Localhost", "RuntimeDefault", "Unconfined"',
    ),
    (
        "groups are merged or strict",
        pod(securityContext={"supplementalGroupsPolicy": "Loose"}),
        'spec.securityContext.supplementalGroupsPolicy: Unsupported value: "Loose": '
        'supported values: "Merge", "Strict"',
    ),
    (
        "a Linux Pod has no Windows options",
        secure({"windowsOptions": {"runAsUserName": "a"}}, os={"name": "linux"}),
        f"{C}.securityContext.windowsOptions: Forbidden: "
        "windows options cannot be set for a linux pod",
    ),
    (
        "a Windows Pod has no Linux options",
        secure({"privileged": True}, os={"name": "windows"}, hostPID=True),
        "[spec.hostPID: Forbidden: cannot be set for a windows pod, "
        f"{C}.securityContext.privileged: Forbidden: cannot be set for a windows pod]",
    ),
    (
        "host processes are on the host's network",
        secure({"windowsOptions": {"hostProcess": True}}),
        "spec.hostNetwork: Invalid value: false: "
        "hostNetwork must be true if pod contains any hostProcess containers",
    ),
    (
        "a cost of deletion is a number",
        annotated({COST: "+1"}),
        f'metadata.annotations[{COST}]: Invalid value: "+1": must be a 32bit integer',
    ),
    (
        "a mirror Pod is on a node",
        annotated({"kubernetes.io/config.mirror": "x"}),
        'metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": '
        "must set spec.nodeName if mirror pod annotation is set",
    ),
    (
        "a seccomp annotation agrees with the field",
        obj(
            "Pod",
            "p",
            {
                "containers": [
                    {**CONTAINER, "securityContext": {"seccompProfile": {"type": "Unconfined"}}}
                ]
            },
            meta={"annotations": {SECCOMP: "runtime/default"}},
        ),
        f"{C}.securityContext.seccompProfile.type: Forbidden: "
        "seccomp type in annotation and field must match",
    ),
    (
        "a variable from a file names the file",
        pod({"env": [{"name": "A", "valueFrom": {"fileKeyRef": {"key": "K"}}}]}),
        f"[{C}.env[0].valueFrom.fileKeyRef.volumeName: Required value, "
        f"{C}.env[0].valueFrom.fileKeyRef.path: Required value, "
        f'{C}.env[0].valueFrom.fileKeyRef.volumeName: Not found: ""]',
    ),
]


@pytest.mark.parametrize(
    ("rule", "given", "expected"), REFUSED, ids=[rule for rule, _, _ in REFUSED]
)
def test_container_is_refused(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == full(expected)


FORBIDDEN: list[tuple[str, Document, str]] = [
    (
        "only a PriorityClass says who is preempted",
        pod(preemptionPolicy="Never"),
        "the string value of PreemptionPolicy (Never) must not be provided in pod spec; "
        "priority admission controller computed PreemptLowerPriority from the given "
        "PriorityClass name",
    ),
    (
        "a RuntimeClass that isn't there",
        pod(runtimeClassName="r"),
        'pod rejected: RuntimeClass "r" not found',
    ),
    (
        "only a RuntimeClass has an overhead",
        pod(overhead={"cpu": "1"}),
        "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
    ),
]


@pytest.mark.parametrize(
    ("rule", "given", "expected"), FORBIDDEN, ids=[rule for rule, _, _ in FORBIDDEN]
)
def test_pod_is_forbidden(rule: str, given: Document, expected: str) -> None:
    assert answer(given) == f'pods "p" is forbidden: {expected}'


def test_amounts_are_rounded_up_to_a_thousandth() -> None:
    made, _ = create(resources(requests={"memory": "100500u", "cpu": "0.0001"}))
    assert made["spec"]["containers"][0]["resources"]["requests"] == {"memory": "101m", "cpu": "1m"}


def test_a_huge_amount_is_an_amount() -> None:
    amounts = {"memory": "1e40", "example.com/a": "1e40", "hugepages-2Mi": "1e40"}
    made, _ = create(resources(limits=amounts, requests=amounts))
    assert made["spec"]["containers"][0]["resources"]["limits"]["memory"] == "10e39"


def test_a_pods_requests_are_its_containers_and_else_its_limits() -> None:
    limits = {"cpu": "2", "memory": "1Gi"}
    given = pod({"resources": {"requests": {"cpu": "500m"}}}, resources={"limits": limits})
    made, _ = create(given)
    requests = {"cpu": "500m", "memory": "1Gi"}
    assert made["spec"]["resources"] == {"limits": limits, "requests": requests}
    assert made["status"]["qosClass"] == "Burstable"


def test_equal_amounts_written_otherwise_are_guaranteed() -> None:
    both = {"cpu": "1", "memory": "1073741824"}
    made, _ = create(resources(limits={**both, "memory": "1Gi"}, requests=both))
    assert made["status"]["qosClass"] == "Guaranteed"


def test_a_pod_templates_gated_fields_are_dropped() -> None:
    hooks = {"lifecycle": {"stopSignal": "SIGTERM"}}
    given = obj("PodTemplate", "t", template={"spec": {"containers": [{**CONTAINER, **hooks}]}})
    (container,) = create(given)[0]["template"]["spec"]["containers"]
    assert "lifecycle" not in container


def test_fields_whose_gates_are_off_are_dropped() -> None:
    given = pod({"lifecycle": {"stopSignal": "SIGTERM"}}, schedulingGroup={"podGroupName": "g"})
    made, _ = create(given)
    assert "schedulingGroup" not in made["spec"]
    assert "lifecycle" not in made["spec"]["containers"][0]


def test_an_app_armor_annotation_becomes_the_field() -> None:
    made, _ = create(annotated({APP_ARMOR: "localhost/a"}))
    profile = {"type": "Localhost", "localhostProfile": "a"}
    assert made["spec"]["containers"][0]["securityContext"] == {"appArmorProfile": profile}


def test_annotations_of_init_containers_are_dropped() -> None:
    made, _ = create(annotated({"pod.beta.kubernetes.io/init-containers": "[]", "a": "b"}))
    assert made["metadata"]["annotations"] == {"a": "b"}


def test_a_new_pods_labels_join_the_selectors_that_name_them() -> None:
    spread = {
        "maxSkew": 1,
        "topologyKey": "zone",
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
        "matchLabelKeys": ["version", "absent"],
    }
    spec = {"containers": [CONTAINER], "topologySpreadConstraints": [spread]}
    made, _ = create(obj("Pod", "p", spec, meta={"labels": {"version": "1"}}))
    joined = [{"key": "version", "operator": "In", "values": ["1"]}]
    constraint = made["spec"]["topologySpreadConstraints"][0]
    assert constraint["labelSelector"]["matchExpressions"] == joined
    assert constraint["matchLabelKeys"] == ["version", "absent"]
