"""A scenario that fails leaves the lab's state; tshark reads its packets, each once."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from testbed import shell
from testbed.cluster import Cluster
from testbed.lab.state import bundle_of, write_bundle
from testbed.report import bundle
from testbed.report.pcapng import is_second_sight
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.runner import Status, run_scenario

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {nodeName: w1, containers: [{name: web, image: web}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""


@scenario("A check that can't hold", topology="two_zones", modes=("nftables",))
def cannot_hold(lab: Cluster, steps: Steps) -> None:
    with steps("A Pod that isn't there"):
        lab.apply(MANIFEST)
        path = lab.probe("client", f"{lab.node_addresses(lab.node_names()[-1])[0]}:30080")
        lab.probe("client", f"{lab.node_addresses(lab.node_names()[0])[0]}:30080")
        expect(path).delivered_to("another")


@scenario("A manifest that is refused", topology="single_node", modes=("iptables",))
def never_sends(lab: Cluster, steps: Steps) -> None:
    lab.apply({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "UPPER"}})


def test_a_failed_check_leaves_the_path_it_failed_on(tmp_path: Path) -> None:
    result = run_scenario(cannot_hold, "nftables", lambda line: None, evidence=tmp_path)
    assert result.status is Status.FAILED
    file = Path(result.evidence)
    assert file == tmp_path / "cannot-hold-nftables.zip"
    read = bundle.read(file)
    assert read.path is not None
    assert read.path.backend == "default.web"
    assert "delivered to another" in read.reason
    assert {place.role for place in read.places} >= {"node", "router", "client", "pod"}
    with zipfile.ZipFile(file) as archive:
        names = set(archive.namelist())
        nodes = [place.name for place in read.places if place.role == "node"]
        assert {f"rules/{node}.txt" for node in nodes} <= names
        assert any(name.startswith("conntrack/") for name in names)
        assert "kind: Service" in archive.read("objects.yaml").decode()
        assert "A Pod that isn't there" in archive.read("logs/steps.txt").decode()
        assert json.loads(archive.read("versions.json"))["kernel"] == os.uname().release


def test_a_scenario_that_sent_nothing_leaves_its_state_too(tmp_path: Path) -> None:
    result = run_scenario(never_sends, "iptables", lambda line: None, evidence=tmp_path)
    assert result.status is Status.ERROR
    read = bundle.read(Path(result.evidence))
    assert read.path is None
    assert "UPPER" in read.reason


def test_a_scenario_that_holds_leaves_nothing(tmp_path: Path) -> None:
    @scenario("Nothing to see", topology="single_node", modes=("iptables",))
    def holds(lab: Cluster, steps: Steps) -> None:
        assert lab.node_names()

    (tmp_path / "holds-iptables.zip").write_text("of an earlier run")
    assert run_scenario(holds, "iptables", lambda line: None, evidence=tmp_path).evidence == ""
    assert list(tmp_path.iterdir()) == []


def test_tshark_sees_every_packet_once_at_every_interface_with_comments(tmp_path: Path) -> None:
    program = shutil.which("tshark")
    if program is None:
        pytest.skip("tshark is not installed")
    with Cluster("three_nodes", name=f"bundle-{os.getpid()}") as lab:
        lab.apply(MANIFEST)
        seen = lab.observe("client", "node/w3:30080")
        write_bundle(tmp_path / "all.zip", bundle_of(lab, seen))
    capture = tmp_path / "network.pcapng"
    capture.write_bytes(bundle.read_file(tmp_path / "all.zip", "network.pcapng"))
    fields = ("frame.interface_name", "frame.time_epoch", "frame.comment")
    options = [word for field in fields for word in ("-e", field)]
    listing = shell.run([program, "-r", str(capture), "-T", "fields", *options])
    rows = [line.split("\t") for line in listing.splitlines()]
    wanted = Counter(
        (f"{frame.namespace}/{frame.interface}", frame.time)
        for frame in seen.frames
        if not is_second_sight(frame)
    )
    assert Counter((row[0], int(row[1].replace(".", ""))) for row in rows) == wanted
    crossed = {f"{hop.namespace}/{name}" for hop in seen.path.hops for name in hop.through}
    assert crossed <= {row[0] for row in rows}
    comments = " ".join(row[2] for row in rows if len(row) > 2)
    for words in ("hop 1", "DNAT 172.18.0.13:30080", "masquerade", "verdict: delivered to Pod web"):
        assert words in comments
