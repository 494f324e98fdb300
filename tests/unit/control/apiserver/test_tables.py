"""Cells of `kubectl get`."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.resources import RESOURCES
from testbed.control.apiserver.tables import table
from testbed.control.apiserver.tables.core import event_row, node_row, service_row
from testbed.control.apiserver.tables.network import endpoint_slice_row, ingress_row
from testbed.control.apiserver.tables.pod import pod_row
from testbed.control.apiserver.tables.text import human_duration

NOW = 1_700_000_100.0
MADE = "2023-11-14T22:13:20Z"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-0.5, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (10_799, "179m"),
        (10_800, "3h"),
        (11_000, "3h3m"),
        (8 * 3600, "8h"),
        (172_799, "47h"),
        (172_800, "2d"),
        (180_000, "2d2h"),
        (8 * 86_400, "8d"),
        (800 * 86_400, "2y70d"),
        (3000 * 86_400, "8y"),
    ],
)
def test_ages_read_as_kubectl_prints_them(seconds: float, text: str) -> None:
    assert human_duration(seconds) == text


def pod(status: dict[str, Any], **spec: Any) -> dict[str, Any]:
    spec = {"containers": [{"name": "c"}], **spec}
    return {"metadata": {"name": "p", "creationTimestamp": MADE}, "spec": spec, "status": status}


def running(ready: bool = True, restarts: int = 0) -> dict[str, Any]:
    state = {"running": {}}
    return {"name": "c", "ready": ready, "restartCount": restarts, "state": state}


def ended(code: int, reason: str = "") -> dict[str, Any]:
    terminated: dict[str, Any] = {"exitCode": code, **({"reason": reason} if reason else {})}
    return {"name": "c", "restartCount": 0, "state": {"terminated": terminated}}


@pytest.mark.parametrize(
    ("status", "spec", "cells"),
    [
        ({"phase": "Pending"}, {}, ["0/1", "Pending", "0"]),
        ({"phase": "Running", "containerStatuses": [running()]}, {}, ["1/1", "Running", "0"]),
        (
            {"phase": "Running", "containerStatuses": [running(False)]},
            {},
            ["0/1", "Running", "0"],
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    {
                        **running(True, 2),
                        "lastState": {"terminated": {"finishedAt": "2023-11-14T22:14:30Z"}},
                    }
                ],
            },
            {},
            ["1/1", "Running", "2 (30s ago)"],
        ),
        (
            {
                "phase": "Pending",
                "containerStatuses": [
                    {"restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}}
                ],
            },
            {},
            ["0/1", "ImagePullBackOff", "0"],
        ),
        (
            {"phase": "Failed", "containerStatuses": [ended(3)]},
            {},
            ["0/1", "ExitCode:3", "0"],
        ),
        (
            {"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]},
            {},
            ["0/1", "Completed", "0"],
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [{"name": "i", "state": {}}]},
            {"initContainers": [{"name": "i"}, {"name": "j"}]},
            ["0/1", "Init:0/2", "0"],
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]},
            {"initContainers": [{"name": "i"}]},
            ["0/1", "Init:Error", "0"],
        ),
        (
            {
                "phase": "Running",
                "initContainerStatuses": [
                    {"name": "s", "started": True, "ready": True, "state": {"running": {}}}
                ],
                "containerStatuses": [running()],
            },
            {"initContainers": [{"name": "s", "restartPolicy": "Always"}]},
            ["2/2", "Running", "0"],
        ),
    ],
)
def test_a_pods_row_says_what_holds_it_up(
    status: dict[str, Any], spec: dict[str, Any], cells: list[str]
) -> None:
    assert pod_row(pod(status, **spec), NOW)[1:4] == cells


def test_a_pod_that_is_deleted_is_terminating() -> None:
    document = pod({"phase": "Running", "containerStatuses": [running()]})
    document["metadata"]["deletionTimestamp"] = MADE
    assert pod_row(document, NOW)[2] == "Terminating"


@pytest.mark.parametrize(
    ("spec", "status", "external"),
    [
        ({"type": "ClusterIP"}, {}, "<none>"),
        ({"type": "ClusterIP", "externalIPs": ["1.1.1.1", "2.2.2.2"]}, {}, "1.1.1.1,2.2.2.2"),
        ({"type": "LoadBalancer"}, {}, "<pending>"),
        (
            {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
            {"loadBalancer": {"ingress": [{"ip": "1.1.1.1"}, {"hostname": "a.example"}]}},
            "1.1.1.1,a.example,9.9.9.9",
        ),
        ({"type": "ExternalName", "externalName": "db.example.com"}, {}, "db.example.com"),
    ],
)
def test_a_services_external_address(
    spec: dict[str, Any], status: dict[str, Any], external: str
) -> None:
    service = {"metadata": {"name": "s"}, "spec": spec, "status": status}
    assert service_row(service, NOW)[3] == external


def test_a_nodes_row_has_its_roles_and_states() -> None:
    node = {
        "metadata": {"name": "w1", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "False"}]},
    }
    assert node_row(node, NOW)[1:3] == ["NotReady,SchedulingDisabled", "control-plane"]


def test_slices_and_ingresses_show_three_and_count_the_rest() -> None:
    endpoints = [{"addresses": [f"10.0.0.{n}"]} for n in range(5)]
    row = endpoint_slice_row(
        {"metadata": {"name": "s"}, "endpoints": endpoints, "ports": [{"name": "http"}, {}]}, NOW
    )
    assert row[2:4] == ["http,*", "10.0.0.0,10.0.0.1,10.0.0.2 + 2 more..."]
    rules = [{"host": f"{n}.example"} for n in range(4)]
    ingress = {"metadata": {"name": "i"}, "spec": {"rules": rules, "tls": [{}]}}
    assert ingress_row(ingress, NOW)[2:5] == [
        "0.example,1.example,2.example + 1 more...",
        "",
        "80, 443",
    ]


def test_an_events_row_counts_its_series() -> None:
    event = {
        "metadata": {"name": "e"},
        "eventTime": "2023-11-14T22:14:00.000000Z",
        "series": {"count": 4, "lastObservedTime": "2023-11-14T22:14:50.000000Z"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "message": "hello\n",
    }
    row = event_row(event, NOW)
    assert (row[0], row[3], row[6], row[7], row[8]) == ("10s", "pod/p", "hello", "60s", 4)


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.resource)
def test_every_kinds_row_has_a_cell_for_each_column_even_when_empty(resource: Any) -> None:
    made = table(resource, [{"metadata": {"name": "x"}}], {}, "None", NOW)
    assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])
