"""A program of the user's writes the nodes' rules: the small proxy of examples/ does it here."""

from __future__ import annotations

import os
import select
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from testbed.errors import TestbedError, UsageError
from testbed.lab.mutate import unmissed
from testbed.naming import run_directory
from testbed.scenario.loader import load_scenarios
from testbed.scenario.runner import Status, run_scenario

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[3]
SMALL_PROXY = f"{shlex.quote(sys.executable)} {ROOT}/examples/small_proxy.py --config {{config}}"

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: any, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
"""


def cluster(command: str) -> Cluster:
    return Cluster(
        "single_node",
        name=f"ext-{os.getpid()}",
        api=True,
        proxy_command=command,
        proxy_quiet=1.0,
    )


@pytest.fixture(autouse=True)
def _logs_go_with_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a program can't run, what it printed is kept in a temporary file."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def lab() -> Iterator[Cluster]:
    with cluster(SMALL_PROXY) as lab:
        yield lab


@pytest.mark.parametrize("mode", ["iptables", "nftables"])
@pytest.mark.parametrize("name", ["clusterip", "nodeport", "loadbalancer"])
def test_a_scenario_passes_with_another_proxy(name: str, mode: str) -> None:
    (scenario,) = [each for each in load_scenarios() if each.name == name]
    result = run_scenario(
        scenario, mode, print, api=True, proxy_command=SMALL_PROXY, proxy_quiet=1.0
    )
    assert result.status is Status.PASSED, result.reason


def test_a_proxy_that_dies_is_started_again_and_catches_up(lab: Cluster) -> None:
    pid_file = run_directory(lab.name) / "proxy" / "w1" / "pid"
    process = int(pid_file.read_text().split()[0])
    handle = os.pidfd_open(process)
    os.kill(process, signal.SIGKILL)
    select.select([handle], [], [], 5)
    os.close(handle)
    lab.apply(MANIFEST)
    assert int(pid_file.read_text().split()[0]) != process
    assert lab.exchange("node/w1", "svc/web").kind == "answered"
    told = [event["message"] for event in lab.core.control.store.list("events")]
    assert any("proxy command was killed by SIGKILL" in each for each in told)
    assert lab.core.external.problems == []


def test_what_needs_our_own_rules_says_so(lab: Cluster) -> None:
    with pytest.raises(UsageError, match="the rules are --proxy-command's"):
        unmissed(lab)


def test_another_mode_leaves_nothing_of_the_first(lab: Cluster) -> None:
    lab.apply(MANIFEST)
    node = lab.fabric.namespace("w1")
    assert "KUBE-SERVICES" in node.run(["nft", "list", "ruleset"])
    lab.set_proxy("nftables")
    rules = node.run(["nft", "list", "ruleset"])
    assert "KUBE-" not in rules
    assert "kube-proxy" in rules
    assert lab.exchange("node/w1", "svc/web").kind == "answered"


def test_a_proxy_that_gives_up_is_quoted() -> None:
    with pytest.raises(TestbedError, match="status 3: no rules today"):
        cluster("sh -c 'echo no rules today; exit 3'")


def test_what_kube_proxy_says_before_its_stacks_is_quoted() -> None:
    """And the whole of it outlives the lab, in a file that the message names."""
    script = (
        "echo 'F1121 04:14:24 server.go:491] failed validate: only one CIDR allowed';"
        "echo 'goroutine 1 [running]:'; exit 255"
    )
    with pytest.raises(TestbedError, match=r"status 255: F1121 .* only one CIDR") as ended:
        cluster(f'sh -c "{script}"')
    log = Path(str(ended.value).rpartition("(see ")[2].removesuffix(")"))
    assert "goroutine 1" in log.read_text()


CANARY_FIRST = """
import http.server, subprocess, sys, threading, time
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
server = http.server.HTTPServer(("0.0.0.0", 10256), Healthy)
threading.Thread(target=server.serve_forever, daemon=True).start()
nft = lambda text: subprocess.run(["nft", "-f", "-"], input=text.encode(), check=True)
nft("add table ip own; add chain ip own canary")
time.sleep(1.5)
nft("add rule ip own canary accept")
time.sleep(3600)
"""


def test_empty_chains_are_no_rules(tmp_path: Path) -> None:
    """kube-proxy is healthy and has made canary chains before it has written any rule."""
    script = tmp_path / "proxy.py"
    script.write_text(CANARY_FIRST)
    with cluster(f"{shlex.quote(sys.executable)} {script}") as lab:
        assert "accept" in lab.fabric.namespace("w1").run(["nft", "list", "table", "ip", "own"])


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(TestbedError, match="'no-such-proxy' isn't there"):
        cluster("no-such-proxy --config {config}")
