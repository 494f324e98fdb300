"""Impairments hold for real packets, say where packets went, and can be mended."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator

import pytest

from testbed import features
from testbed.cluster import Cluster
from testbed.errors import CannotRunError, UsageError
from testbed.flow import DROPPED

pytestmark = pytest.mark.kernel

PODS = """
apiVersion: v1
kind: Pod
metadata: {name: one}
spec: {nodeName: w1, containers: [{name: c, image: any, ports: [{containerPort: 8080}]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: two}
spec:
  nodeName: w2
  containers:
  - {name: c, image: any, ports: [{containerPort: 8080}, {containerPort: 8080, protocol: UDP}]}
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster("three_nodes", name=f"bad-{uuid.uuid4().hex[:6]}") as lab:
        lab.apply(PODS)
        yield lab


@pytest.fixture
def lab(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    shared.clear_impairments()
    assert shared.exchange("pod/one", "pod/two:8080").kind == "answered"


def answers(lab: Cluster, source: str, target: str, count: int) -> int:
    outcomes = [
        lab.exchange(source, target, protocol="udp", timeout=0.05).kind for _ in range(count)
    ]
    return outcomes.count("answered")


def test_a_link_that_is_down_carries_nothing_until_it_is_mended(lab: Cluster) -> None:
    lab.cut("w2")
    assert lab.exchange("pod/one", "pod/two:8080", timeout=0.2).kind == "timeout"
    lab.mend("w2")
    assert lab.exchange("pod/one", "pod/two:8080").kind == "answered"


def test_one_way_only_answers_are_lost_and_the_path_names_the_rule(lab: Cluster) -> None:
    lab.cut("w2", "in")
    path = lab.probe("pod/one", "pod/two:8080", timeout=0.2)
    assert path.verdict.kind == DROPPED, path
    assert path.verdict.where == "w2"
    lab.mend("w2")
    lab.cut("w2", "out")
    path = lab.probe("pod/one", "pod/two:8080", timeout=0.2)
    assert "default.two" in [hop.namespace for hop in path.hops]
    assert lab.exchange("pod/one", "pod/two:8080", timeout=0.2).kind == "timeout"


def test_a_partition_separates_two_nodes_and_no_third(lab: Cluster) -> None:
    lab.partition(["w1"], ["w2"])
    assert lab.exchange("pod/one", "pod/two:8080", timeout=0.2).kind == "timeout"
    assert lab.exchange("w3", "pod/two:8080").kind == "answered"
    assert lab.exchange("w3", "pod/one:8080").kind == "answered"


def test_some_packets_are_lost_and_some_are_not(lab: Cluster) -> None:
    lab.impair("pod/two", loss=0.5, direction="in")
    assert 0 < answers(lab, "pod/one", "pod/two:8080", 60) < 60


def test_a_burst_above_the_rate_loses_packets(lab: Cluster) -> None:
    lab.impair("pod/two", rate=100_000, direction="in")
    address = lab.pods("two")[0].ips[0]
    sock = lab.fabric.namespace("default.one").socket(socket.AF_INET, socket.SOCK_DGRAM)
    answered = 0
    with sock:
        sock.settimeout(0.5)
        for _ in range(100):
            sock.sendto(b"x" * 1000, (address, 8080))
        with contextlib.suppress(TimeoutError):
            while sock.recv(2000):
                answered += 1
    assert 0 < answered < 60


def test_a_delay_is_made_or_refused_in_one_line(lab: Cluster) -> None:
    if features.missing(("netem",)):
        with pytest.raises(CannotRunError, match="no netem"):
            lab.impair("w1", delay=0.05)
    else:
        lab.impair("w1", delay=0.05)
        assert lab.exchange("pod/one", "pod/two:8080", timeout=5.0).duration > 0.1


def test_wrong_words_are_refused(lab: Cluster) -> None:
    with pytest.raises(UsageError, match="direction"):
        lab.cut("w1", "sideways")
    with pytest.raises(UsageError, match="share"):
        lab.impair("w1", loss=3)
    with pytest.raises(UsageError, match="both sides"):
        lab.partition(["w1"], ["w1", "w2"])
