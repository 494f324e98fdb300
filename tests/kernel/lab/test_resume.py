"""The control plane of a lab is killed and started again while traffic flows."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.fabric import marks
from testbed.fabric.namespace import Namespace, open_namespaces
from tests.kernel.host import leftovers

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: c
        image: any
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {type: LoadBalancer, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ticker}
spec:
  containers:
  - {name: c, image: busybox, command: [sh, -c, "while echo tick; do sleep 0.05; done"]}
---
apiVersion: v1
kind: Pod
metadata: {name: brief}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: busybox
    command: [sh, -c, "while [ ! -e /machine/%s ]; do sleep 0.05; done; exit 7"]
    volumeMounts: [{name: machine, mountPath: /machine}]
  volumes: [{name: machine, hostPath: {path: /tmp}}]
"""
RESOURCES = "pods,services,endpointslices,deployments,replicasets,nodes,ipaddresses"


class Lab:
    """A lab in the background, with a run directory of its own."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.name = f"r{os.getpid()}"
        self.environment = {**os.environ, "TESTBED_RUN_DIR": str(runs)}
        self.flag = f"{self.name}-flag"

    def __call__(self, verb: str, *words: str, input: str = "", status: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "testbed.cli.main", verb, "--lab", self.name, *words],
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    def objects(self, resources: str = RESOURCES) -> dict[tuple[str, ...], dict[str, Any]]:
        """Objects by kind, namespace and name, as kubectl gets them."""
        found = json.loads(self("kubectl", "get", resources, "-A", "-o", "json"))["items"]
        return {
            (o["kind"], o["metadata"].get("namespace", ""), o["metadata"]["name"]): o for o in found
        }

    def kill(self) -> None:
        (process,) = marks.lock_holders([self.name])
        handle = os.pidfd_open(process)
        os.kill(process, signal.SIGKILL)
        select.select([handle], [], [], 10)
        os.close(handle)

    def log(self, pod: str) -> list[str]:
        return self("kubectl", "logs", pod).splitlines()


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    runs = Path(tempfile.mkdtemp(prefix="tb-"))
    monkeypatch.setenv("TESTBED_RUN_DIR", str(runs))
    lab = Lab(runs)
    lab("up", "-f", "-", input=MANIFEST.replace("%s", lab.flag))
    yield lab
    Path("/tmp", lab.flag).unlink(missing_ok=True)
    lab("clean", "--force")
    assert leftovers(runs) == []
    shutil.rmtree(runs)


class Traffic(threading.Thread):
    """Exchanges lines with an address from a namespace, until it is told to stop.

    One connection stays for all of the time, others are made anew again and again.
    """

    def __init__(self, origin: Namespace, address: str, port: int) -> None:
        super().__init__()
        self._origin = origin
        self._target = (address, port)
        self._over = threading.Event()
        self.kept = self.fresh = 0
        self.failures: list[str] = []
        self.answered_by: set[str] = set()

    def _connect(self) -> socket.socket:
        sock = self._origin.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(3)
        sock.connect(self._target)
        return sock

    def run(self) -> None:
        try:
            with self._connect() as kept:
                while not self._over.wait(0.005):
                    self.answered_by.add(_exchange(kept)["pod"])
                    self.kept += 1
                    with self._connect() as fresh:
                        _exchange(fresh)
                        self.fresh += 1
        except (OSError, ValueError) as error:
            self.failures.append(f"{self._target}: {error!r}")

    def stop(self) -> None:
        self._over.set()
        self.join()


def _exchange(sock: socket.socket) -> Any:
    sock.sendall(b"hello\n")
    return json.loads(sock.recv(4096))


def test_nothing_is_lost_and_no_exchange_fails(lab: Lab) -> None:
    before = lab.objects()
    service = before["Service", "default", "web"]
    vip = service["status"]["loadBalancer"]["ingress"][0]["ip"]
    node_port = service["spec"]["ports"][0]["nodePort"]
    mounts = lab.runs / lab.name / "netns"
    client, node = open_namespaces(lab.name, mounts, ["client", "w1"])
    traffic = [
        Traffic(node, service["spec"]["clusterIP"], 80),
        Traffic(client, "172.18.0.12", node_port),
        Traffic(client, vip, 80),
    ]
    for each in traffic:
        each.start()
    try:
        lab.kill()
        counts = [(each.kept, each.fresh) for each in traffic]
        ticks = len((lab.runs / lab.name / "logs" / "default_ticker_c.log").read_text().split())
        assert "has died" in lab("list", "--lab", lab.name, status=2)
        assert "testbed resume" in lab("up", status=2)
        lab("resume")
        assert lab.objects() == before
        during = [(each.kept, each.fresh) for each in traffic]
    finally:
        for each in traffic:
            each.stop()
        client.close()
        node.close()
    assert [each.failures for each in traffic] == [[], [], []]
    assert [len(each.answered_by) for each in traffic] == [1, 1, 1]
    for (kept, fresh), (kept_then, fresh_then) in zip(counts, during, strict=True):
        assert kept_then > kept + 20
        assert fresh_then > fresh + 20
    assert len(lab.log("ticker")) > ticks


def test_the_lab_lives_on_as_if_nothing_had_been(lab: Lab) -> None:
    addresses = {o["spec"].get("clusterIP") for o in lab.objects("services").values()}
    version = max(int(o["metadata"]["resourceVersion"]) for o in lab.objects().values())
    lab.kill()
    Path("/tmp", lab.flag).touch()  # a program ends while nobody watches
    lab("resume")
    lab("kubectl", "wait", "--for=jsonpath={.status.phase}=Failed", "pod/brief", "--timeout=10s")
    brief = lab.objects("pods")["Pod", "default", "brief"]
    ended = brief["status"]["containerStatuses"][0]["state"]["terminated"]
    assert ended["exitCode"] == 7
    lab("kubectl", "scale", "deployment/web", "--replicas=5")
    lab("kubectl", "expose", "deployment", "web", "--name=two", "--port=80")
    two = lab.objects("services")["Service", "default", "two"]
    assert two["spec"]["clusterIP"] not in addresses
    assert int(two["metadata"]["resourceVersion"]) > version
    lab("kubectl", "rollout", "status", "deployment/web", "--timeout=20s")
    pods = [o for o in lab.objects("pods").values() if o["metadata"]["name"].startswith("web-")]
    assert len({o["status"]["podIP"] for o in pods}) == 5
    lab("probe", "pod/" + pods[0]["metadata"]["name"], "svc/two")
    lab("kubectl", "delete", "pod", "ticker", "--now")
    assert "default.ticker" not in marks.mounted_namespaces(lab.name).values()
    lab.kill()
    lab("resume")
    assert lab("kubectl", "get", "pods", "-o", "name").count("pod/web-") == 5
    lab("down")
