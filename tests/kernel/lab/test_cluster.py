"""A whole lab: from manifests to packets, isolation, clean-up after a kill."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from testbed.errors import UsageError
from testbed.flow import DELIVERED
from tests.kernel.host import host_state, leftovers

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
      containers: [{name: web, image: anything}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: PreferDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30007}]
"""


@pytest.mark.testbed("three_nodes")
@pytest.mark.parametrize("family", ["IPv4", "IPv6"])
def test_a_node_port_answers_in_both_families(lab: Cluster, family: str) -> None:
    lab.apply(MANIFEST)
    address = lab.node_addresses("w2")[family == "IPv6"]
    bracketed = f"[{address}]" if ":" in address else address
    path = lab.probe("client", f"{bracketed}:30007")
    assert path.verdict.kind == DELIVERED, path
    assert path.masqueraded_at() == ("w2",)


def test_the_host_is_the_same_before_during_and_after() -> None:
    before = host_state()
    with Cluster("three_nodes", name=f"host-{os.getpid()}") as lab:
        lab.apply(MANIFEST)
        lab.probe("client", "172.18.0.11:30007")
        during = host_state()
    assert during == before
    assert host_state() == before


def test_two_labs_with_the_same_addresses_do_not_meet() -> None:
    with (
        Cluster("three_nodes", name=f"one-{os.getpid()}") as one,
        Cluster("three_nodes", name=f"two-{os.getpid()}", proxy="nftables") as two,
    ):
        one.apply(MANIFEST)
        two.apply(MANIFEST)
        for lab in (one, two):
            path = lab.probe("client", "172.18.0.13:30007")
            assert path.verdict.kind == DELIVERED, path
            pods = {p.key.name for p in lab.pods("web")}
            assert path.backend.split(".", 1)[1] in pods


def test_a_name_in_use_is_refused_and_the_first_lab_lives_on() -> None:
    name = f"taken-{os.getpid()}"
    with Cluster("single_node", name=name) as lab:
        with pytest.raises(UsageError, match=name):
            Cluster("single_node", name=name)
        lab.apply(MANIFEST)


def test_a_command_runs_in_its_pod_and_its_output_is_kept(tmp_path: Path) -> None:
    manifest = """
apiVersion: v1
kind: Pod
metadata: {name: shell}
spec:
  containers:
  - name: c
    image: busybox
    command: [sh, -c, "hostname; ip -brief address; sleep 600"]
"""
    with Cluster("single_node", name=f"prog-{os.getpid()}") as lab:
        lab.apply(manifest)
        (pod,) = lab.pods("shell")
        log = lab.core.sandboxes.logs.file(("default", "shell"), "c")
        deadline = time.monotonic() + 5
        while pod.ips[0] not in log.read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        text = log.read_text()
        assert text.startswith("shell\n")
        assert pod.ips[0] in text


@pytest.mark.parametrize("verb", ["up", "run"])
def test_a_kill_at_any_moment_leaves_nothing_that_clean_does_not_find(
    verb: str, request: pytest.FixtureRequest
) -> None:
    chance = random.Random(verb)
    # Short, because the path of a control socket in it must stay below 108 characters.
    runs = Path(tempfile.mkdtemp(prefix="tb-"))
    request.addfinalizer(lambda: shutil.rmtree(runs))
    environment = {**os.environ, "TESTBED_RUN_DIR": str(runs)}
    command = [sys.executable, "-m", "testbed.cli.main", verb]
    if verb == "run":
        command += ["-q", "-k", "clusterip"]
    for _ in range(5):
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(chance.uniform(0.05, 1.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
        clean = [sys.executable, "-m", "testbed.cli.main", "clean", "--force"]
        subprocess.run(clean, env=environment, check=True, capture_output=True)
        assert leftovers(runs) == []


@pytest.mark.testbed("single_node")
def test_mininet_s_view_is_of_the_same_machines(lab: Cluster) -> None:
    assert "172.18.0.11" in lab.net["w1"].cmd("ip -brief address")
    assert lab.net.pingFull([lab.net["client"], lab.net["w1"]])[0][2][0:2] == (1, 1)


@pytest.mark.testbed("single_node")
@pytest.mark.parametrize("mode", ["iptables", "nftables"])
def test_rules_that_someone_flushes_come_back_and_foreign_ones_stay(
    lab: Cluster, mode: str
) -> None:
    lab.set_proxy(mode)
    lab.apply(MANIFEST)
    node = lab.fabric.namespace("w1")
    if mode == "iptables":
        node.run(["iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "192.0.2.99", "-j", "RETURN"])
        node.run(["iptables", "-t", "nat", "-F", "KUBE-SERVICES"])
    else:
        node.run(["nft", "add table ip foreign"])
        node.run(["nft", "flush chain ip kube-proxy services"])
    assert lab.exchange("client", "172.18.0.11:30007", timeout=0.3).kind != "answered"
    lab.advance(31)
    assert lab.exchange("client", "172.18.0.11:30007").kind == "answered"
    if mode == "iptables":
        assert "192.0.2.99" in node.run(["iptables-save", "-t", "nat"])
    else:
        assert "table ip foreign" in node.run(["nft", "list", "tables"])


@pytest.mark.testbed("single_node")
def test_a_proxy_mode_changes_in_a_running_lab(lab: Cluster) -> None:
    lab.apply(MANIFEST)
    for mode in ("nftables", "iptables", "none", "nftables"):
        lab.set_proxy(mode)
        rules = lab.fabric.namespace("w1").run(["iptables-save"])
        tables = lab.fabric.namespace("w1").run(["nft", "list", "tables"])
        assert ("KUBE-SERVICES" in rules) == (mode == "iptables")
        assert ("table ip kube-proxy" in tables) == (mode == "nftables")
        answered = lab.exchange("client", "172.18.0.11:30007", timeout=0.3).kind == "answered"
        assert answered == (mode != "none")
