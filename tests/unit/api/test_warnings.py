"""Warnings that go with accepted writes of Pods, workloads, Endpoints and Ingresses."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from testbed.api.documents import Document

from .rules import admission, create, obj, svc

PORT: Document = {"containerPort": 80, "protocol": "TCP"}
LABELS = "a DNS label is recommended: [must not contain dots]"
NO_SELECTOR = "a null labelSelector results in matching no pod"


def pod(name: str = "p", container: Document | None = None, **spec: Any) -> Document:
    entry = {"name": "c", "image": "x", **(container or {})}
    return obj("Pod", name, {"containers": [entry], **spec})


def ports(*entries: Document) -> Document:
    return pod(container={"ports": [{**PORT, **entry} for entry in entries]})


def deployment(name: str = "d", **spec: Any) -> Document:
    inner = {"containers": [{"name": "c", "image": "x"}], **spec}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": inner}
    return obj("Deployment", name, {"selector": {"matchLabels": {"a": "b"}}, "template": template})


def ingress(spec: Document | None = None) -> Document:
    backend = {"service": {"name": "s", "port": {"number": 80}}}
    annotations = {"kubernetes.io/ingress.class": "nginx"}
    given = {"defaultBackend": backend, **(spec or {})}
    return obj("Ingress", "i", given, meta={"annotations": annotations})


def volumes(*entries: Document) -> Document:
    return pod(volumes=list(entries), serviceAccountName="default")


ODD: Document = {
    "weight": 1,
    "preference": {
        "matchExpressions": [
            {"key": "node-role.kubernetes.io/master", "operator": "In", "values": ["-1"]}
        ]
    },
}
PREFERRED = (
    "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference"
    ".matchExpressions"
)
ITEMS: list[Document] = [{"key": "a", "path": "a"}, {"key": "b", "path": "a/b"}]

TABLE: list[tuple[Document, list[str]]] = [
    (pod(), []),
    (
        pod("p.q"),
        [
            "metadata.name: this is used in the Pod's hostname, "
            f"which can result in surprising behavior; {LABELS}"
        ],
    ),
    (
        deployment("d.e"),
        [
            "metadata.name: this is used in Pod names and hostnames, "
            f"which can result in surprising behavior; {LABELS}"
        ],
    ),
    (
        ports({}, {}),
        ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"],
    ),
    (
        ports({"hostPort": 8080}, {}),
        [
            "spec.containers[0].ports[1]: "
            "overlapping port definition with spec.containers[0].ports[0]"
        ],
    ),
    (
        ports({"hostPort": 8080}, {"hostPort": 8080, "hostIP": "192.0.2.1"}),
        [
            "spec.containers[0].ports[1]: "
            "dangerously ambiguous port definition with spec.containers[0].ports[0]"
        ],
    ),
    (ports({}, {"protocol": "UDP"}), []),
    (
        ports({"hostIP": "192.0.2.1"}),
        [
            "spec.containers[0].ports[0]: hostIP set without hostPort: "
            "{Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:192.0.2.1}"
        ],
    ),
    (
        pod(hostAliases=[{"ip": "192.0.2.1"}, {"ip": "192.0.2.1"}]),
        ['spec.hostAliases[1].ip: duplicate ip "192.0.2.1"'],
    ),
    (
        pod(dnsConfig={"nameservers": ["2001:DB8::1"]}),
        [
            'spec.dnsConfig.nameservers[0]: IPv6 address "2001:DB8::1" '
            'should be in RFC 5952 canonical format ("2001:db8::1")'
        ],
    ),
    (
        pod(imagePullSecrets=[{"name": "a"}, {"name": "a"}, {}]),
        [
            'spec.imagePullSecrets[1].name: duplicate name "a"',
            'spec.imagePullSecrets[2].name: invalid empty name ""',
        ],
    ),
    (
        pod(container={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}),
        [
            'spec.containers[0].env[1]: hides previous definition of "A", '
            "which may be dropped when using apply"
        ],
    ),
    (pod(container={"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}]}), []),
    (
        pod(container={"resources": {"requests": {"memory": "1500m"}}}),
        [
            'spec.containers[0].resources.requests[memory]: fractional byte value "1500m" '
            "is invalid, must be an integer"
        ],
    ),
    (
        pod(
            topologySpreadConstraints=[
                {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
            ]
        ),
        [f"spec.topologySpreadConstraints[0].labelSelector: {NO_SELECTOR}"],
    ),
    (pod(terminationGracePeriodSeconds=-1), []),
    (
        deployment(terminationGracePeriodSeconds=-1),
        [
            "spec.template.spec.terminationGracePeriodSeconds: "
            "must be >= 0; negative values are invalid and will be treated as 1"
        ],
    ),
    (
        pod(nodeSelector={"beta.kubernetes.io/os": "linux", "a": "b"}),
        [
            "spec.nodeSelector[beta.kubernetes.io/os]: "
            'deprecated since v1.14; use "kubernetes.io/os" instead'
        ],
    ),
    (
        pod(affinity={"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [ODD]}}),
        [
            f"{PREFERRED}[0].key: node-role.kubernetes.io/master is "
            'use "node-role.kubernetes.io/control-plane" instead',
            f"{PREFERRED}[0].values[0]: -1 is invalid, a valid label must be an empty string or "
            "consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
            "validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
        ],
    ),
    (
        {
            **pod(),
            "metadata": {
                "name": "p",
                "annotations": {
                    "scheduler.alpha.kubernetes.io/critical-pod": "",
                    "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
                },
            },
        },
        [
            "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: "
            'non-functional in v1.16+; use the "priorityClassName" field instead',
            "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: "
            'non-functional in v1.27+; use the "seccompProfile" field instead',
        ],
    ),
    (
        volumes({"name": "v", "gitRepo": {"repository": "https://example.com/r"}}),
        ["spec.volumes[0].gitRepo: deprecated in v1.11, and disabled by default in v1.33+"],
    ),
    (
        volumes({"name": "v", "configMap": {"name": "m", "items": ITEMS}}),
        ['volume "v" (ConfigMap "m"): overlapping paths: "a/b" with "a"'],
    ),
    (
        volumes({"name": "v", "secret": {"secretName": "s", "items": ITEMS}}),
        ['volume "v" (Secret "s"): overlapping paths: "a/b" with "a"'],
    ),
    (
        volumes(
            {
                "name": "v",
                "projected": {
                    "sources": [
                        {},
                        {"configMap": {"name": "m", "items": ITEMS[:1]}},
                        {"serviceAccountToken": {"path": "a/"}},
                    ]
                },
            }
        ),
        [
            'volume "v" (Projected) has no sources provided',
            'volume "v" (Projected): overlapping paths: '
            '"a" (ServiceAccountToken) with "a" (ConfigMap "m")',
        ],
    ),
    (
        pod(
            container={"ports": [{"containerPort": 80, "name": "a"}]},
            initContainers=[
                {"name": "i", "image": "x", "ports": [{"containerPort": 81, "name": "a"}]}
            ],
        ),
        [
            'spec.containers[0].ports[0]: duplicate port name "a" with '
            "spec.initContainers[0].ports[0], services and probes that select ports by name "
            "will use spec.initContainers[0].ports[0]"
        ],
    ),
    (
        ingress(),
        [
            'annotation "kubernetes.io/ingress.class" is deprecated, '
            "please use 'spec.ingressClassName' instead"
        ],
    ),
    (ingress({"ingressClassName": "nginx"}), []),
    (
        obj("Endpoints", "e", subsets=[{"addresses": [{"ip": "FD00::1"}]}]),
        [
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
            'subsets[0].addresses[0].ip: IPv6 address "FD00::1" '
            'should be in RFC 5952 canonical format ("fd00::1")',
        ],
    ),
    (
        svc(type="LoadBalancer", loadBalancerIP="::ffff:192.0.2.1"),
        [
            'spec.loadBalancerIP: non-standard IP address "::ffff:192.0.2.1" is invalid: '
            'use "192.0.2.1"'
        ],
    ),
]


@pytest.mark.parametrize(("given", "expected"), TABLE)
def test_accepted_with_warnings(given: Document, expected: list[str]) -> None:
    assert list(create(given)[1]) == expected


def test_a_template_is_warned_about_when_it_changes() -> None:
    stored, first = create(deployment(imagePullSecrets=[{}]))
    assert len(first) == 1
    same, changed = copy.deepcopy(stored), copy.deepcopy(stored)
    same["metadata"]["labels"] = {"a": "b"}
    changed["spec"]["replicas"] = 2
    assert admission().update("deployments", same, stored).warnings == ()
    assert admission().update("deployments", changed, stored).warnings == first


def test_changes_of_pods_bring_no_warnings() -> None:
    stored, first = create(ports({}, {}))
    assert len(first) == 1
    assert admission().update("pods", copy.deepcopy(stored), stored).warnings == ()


def test_a_templates_old_app_armor_annotation_is_warned_about() -> None:
    given = deployment()
    key = "container.apparmor.security.beta.kubernetes.io/c"
    given["spec"]["template"]["metadata"]["annotations"] = {key: "unconfined"}
    assert create(given)[1] == (
        f"spec.template.metadata.annotations[{key}]: "
        'deprecated since v1.30; use the "appArmorProfile" field instead',
    )
