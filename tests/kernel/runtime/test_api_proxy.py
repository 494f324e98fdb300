"""The proxy subresource reaches what a Pod serves at its address, not what it keeps to itself."""

from __future__ import annotations

import pytest

from tests.kernel.runtime.conftest import Kubectl
from tests.kernel.runtime.test_pods import until

pytestmark = pytest.mark.kernel

MANIFEST = """\
apiVersion: v1
kind: Pod
metadata: {name: served, labels: {app: served}}
spec:
  containers:
  - name: open
    image: python
    command: [sh, -c, 'cd / && exec python3 -m http.server 8000 --bind "$IP"']
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}]
  - name: closed
    image: python
    command: [python3, -m, http.server, "8001", --bind, 127.0.0.1]
---
apiVersion: v1
kind: Service
metadata: {name: served}
spec:
  selector: {app: served}
  ports: [{port: 80, targetPort: 8000}]
"""


def test_a_pod_and_a_service_answer_at_the_pods_address(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", input=MANIFEST).returncode == 0

    def get(name: str) -> str:
        asked = kubectl("get", "--raw", f"/api/v1/namespaces/default/{name}/proxy/etc/hostname")
        return asked.stdout + asked.stderr

    assert until(lambda: get("pods/served:8000") == "served\n")
    assert until(lambda: get("services/served:80") == "served\n")
    address = kubectl("get", "pod", "served", "-o", "jsonpath={.status.podIP}").stdout
    words = f"error trying to reach service: dial tcp {address}:8001: connect: connection refused"
    assert words in get("pods/served:8001")
