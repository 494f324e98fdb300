"""kubectl's view of StatefulSets and DaemonSets: rollout status, undo, scale."""

from __future__ import annotations

import pytest

from testbed.cluster import Cluster
from tests.kernel.runtime.conftest import Kubectl

pytestmark = pytest.mark.kernel

SETS = """
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: "db:1"}]}
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: c, image: "agent:1"}]}
"""


def test_sets_roll_out_and_back(lab: Cluster, kubectl: Kubectl) -> None:
    lab.apply(SETS)
    listed = kubectl("get", "statefulset,daemonset", "--no-headers").stdout.split()
    assert listed[:2] == ["statefulset.apps/db", "2/2"]
    assert listed[3:9] == ["daemonset.apps/agent", "3", "3", "3", "3", "3"]
    for name, image in (("statefulset/db", "db:2"), ("daemonset/agent", "agent:2")):
        assert kubectl("set", "image", name, f"c={image}").returncode == 0
        done = kubectl("rollout", "status", name, "--timeout=20s")
        assert done.returncode == 0, done.stderr
        assert kubectl("rollout", "undo", name).returncode == 0
        assert kubectl("rollout", "status", name, "--timeout=20s").returncode == 0
    images = "jsonpath={.items[*].spec.containers[0].image}"
    found = kubectl("get", "pods", "-l", "app in (db,agent)", "-o", images).stdout.split()
    assert sorted(found) == ["agent:1"] * 3 + ["db:1"] * 2


def test_a_stateful_pod_is_named_in_its_slice(lab: Cluster, kubectl: Kubectl) -> None:
    assert kubectl("scale", "statefulset/db", "--replicas=3").returncode == 0
    assert kubectl("wait", "pod/db-2", "--for=condition=Ready", "--timeout=10s").returncode == 0
    names = "jsonpath={.items[*].endpoints[*].hostname}"
    label = "kubernetes.io/service-name=db"
    found = kubectl("get", "endpointslices", "-l", label, "-o", names).stdout.split()
    assert sorted(found) == ["db-0", "db-1", "db-2"]


def test_every_namespace_has_its_account_and_the_ca(lab: Cluster, kubectl: Kubectl) -> None:
    assert kubectl("create", "namespace", "team").returncode == 0
    assert kubectl("get", "serviceaccount", "default", "-n", "team").returncode == 0
    data = kubectl("get", "configmap", "kube-root-ca.crt", "-n", "team", "-o", "jsonpath={.data}")
    assert "BEGIN CERTIFICATE" in data.stdout


def test_a_service_gets_an_address_of_an_added_range(lab: Cluster, kubectl: Kubectl) -> None:
    added = """
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: extra}
spec: {cidrs: [203.0.114.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere}
spec: {clusterIP: 203.0.114.10, selector: {app: db}, ports: [{port: 80}]}
"""
    applied = kubectl("apply", "-f", "-", input=added)
    assert applied.returncode == 0, applied.stderr
    assert kubectl("delete", "servicecidr", "extra", "--wait=false").returncode == 0
    held = kubectl("get", "servicecidr", "extra", "-o", "jsonpath={.status.conditions[0].reason}")
    assert held.stdout == "Terminating"
    assert kubectl("delete", "service", "elsewhere").returncode == 0
    assert kubectl("get", "servicecidr", "extra").returncode == 1
    assert kubectl("get", "servicecidr", "kubernetes").returncode == 0
