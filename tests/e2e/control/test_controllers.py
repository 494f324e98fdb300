"""What users of the real kubectl see of the controllers: columns, conditions, Events."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.control.controllers.endpoints import EndpointsController
from testbed.control.controllers.mirroring import EndpointSliceMirroringController
from testbed.control.controllers.node_lifecycle import NodeLifecycleController
from testbed.control.controllers.scheduler import Scheduler
from testbed.control.controllers.statefulset import StatefulSetController
from tests.e2e.control.kubectl import Kubectl
from tests.unit.control.apiserver.live import live_server

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl isn't installed")

NODES = "---".join(
    f"""
apiVersion: v1
kind: Node
metadata: {{name: {name}, labels: {{topology.kubernetes.io/zone: {zone}}}}}
status:
  allocatable: {{cpu: "2", memory: 4Gi, pods: "110"}}
  conditions: [{{type: Ready, status: "True"}}]
"""
    for name, zone in (("w1", "a"), ("w2", "b"))
)
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, annotations: {team: a}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: nginx, ports: [{name: http, containerPort: 8080}]}]}
"""
MANUAL = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {ports: [{name: sql, port: 5432}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: db, annotations: {team: a}}
subsets:
- {addresses: [{ip: 192.0.2.7}, {ip: "2001:db8::7"}], ports: [{name: sql, port: 5432}]}
"""


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with live_server(tmp_path / "run") as live:
        home = tmp_path / "home"
        home.mkdir()
        more = (
            Scheduler,
            EndpointsController,
            EndpointSliceMirroringController,
            StatefulSetController,
            lambda client: NodeLifecycleController(client, lambda node: None),
        )
        made = Kubectl(live, home, more=more)
        assert made("apply -f -", NODES).code == 0
        yield made


def described(kubectl: Kubectl, what: str) -> str:
    """What `describe` prints, with single blanks."""
    return " ".join(kubectl(f"describe {what}").output.split())


def test_describe_says_why_a_pod_is_placed_nowhere(kubectl: Kubectl) -> None:
    kubectl("taint node w1 dedicated=db:NoSchedule")
    kubectl("cordon w2")
    kubectl("run picky --image=nginx")
    shown = described(kubectl, "pod picky")
    assert "Warning FailedScheduling" in shown
    assert (
        "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were "
        "unschedulable. no new claims to deallocate, preemption: 0/2 nodes are available: 2 "
        "Preemption is not helpful for scheduling."
    ) in shown
    kubectl("uncordon w2")
    assert "Successfully assigned default/picky to w2" in described(kubectl, "pod picky")


def test_a_cordoned_node_shows_its_taint(kubectl: Kubectl) -> None:
    assert "Taints: <none>" in described(kubectl, "node w1")
    kubectl("cordon w1")
    shown = described(kubectl, "node w1")
    assert "Taints: node.kubernetes.io/unschedulable:NoSchedule Unschedulable: true" in shown
    kubectl("uncordon w1")
    assert "Taints: <none> Unschedulable: false" in described(kubectl, "node w1")


def test_a_deployment_tells_its_rollout_its_pause_and_its_generation(kubectl: Kubectl) -> None:
    kubectl("apply -f -", WEB)
    generations = "{.metadata.generation} {.status.observedGeneration}"
    assert kubectl.run(["get", "deploy", "web", "-o", f"jsonpath={generations}"]).output == "1 1"
    name = kubectl("get rs -o name").output.strip().removeprefix("replicaset.apps/")
    assert f"Scaled up replica set {name} from 0 to 2" in described(kubectl, "deploy web")
    kubectl("rollout pause deploy/web")
    assert "Progressing Unknown DeploymentPaused" in described(kubectl, "deploy web")
    kubectl("annotate deploy web deployment.kubernetes.io/revision-")
    assert "deployment.kubernetes.io/revision: 1" in described(kubectl, "deploy web")


def test_hand_made_endpoints_are_mirrored_until_a_selector_comes(kubectl: Kubectl) -> None:
    assert kubectl("apply -f -", MANUAL).code == 0
    label = "-l kubernetes.io/service-name=db"
    rows = [line.split() for line in kubectl(f"get endpointslices {label}").output.splitlines()]
    assert sorted(row[1:4] for row in rows[1:]) == [
        ["IPv4", "5432", "192.0.2.7"],
        ["IPv6", "5432", "2001:db8::7"],
    ]
    patch = '{"spec":{"selector":{"app":"db"}}}'
    assert kubectl.run(["patch", "svc", "db", "-p", patch]).code == 0
    rows = [line.split() for line in kubectl(f"get endpointslices {label}").output.splitlines()]
    assert [row[1:4] for row in rows[1:]] == [["IPv4", "<unset>", "<unset>"]]


def test_a_namespace_that_is_held_says_what_is_left(kubectl: Kubectl) -> None:
    kubectl("create namespace shop")
    kubectl("create configmap held -n shop")
    finalizer = '{"metadata":{"finalizers":["example.org/held"]}}'
    kubectl.run(["patch", "cm", "held", "-n", "shop", "-p", finalizer])
    kubectl("delete namespace shop --wait=false")
    shown = described(kubectl, "namespace shop")
    assert "Status: Terminating" in shown
    assert "Some resources are remaining: configmaps. has 1 resource instances" in shown
    assert "Some finalizers are remaining: example.org/held in 1 resource instances" in shown
    kubectl.run(["patch", "cm", "held", "-n", "shop", "-p", '{"metadata":{"finalizers":null}}'])
    assert kubectl("wait --for=delete namespace/shop --timeout=10s").code == 0


def test_cascades_go_down_in_the_foreground_or_leave_orphans(kubectl: Kubectl) -> None:
    kubectl("cordon w1 w2")  # Nobody runs the Pods: without a node they can go at once.
    kubectl("apply -f -", WEB)
    assert kubectl("delete deploy web --cascade=orphan").code == 0
    assert len(kubectl("get rs,pods -o name").output.split()) == 3
    kubectl("apply -f -", WEB)
    assert kubectl("delete deploy web --cascade=foreground --timeout=20s").code == 0
    assert kubectl("get rs,pods -o name").output == ""
