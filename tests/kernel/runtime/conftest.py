"""One lab of two nodes for the tests of this room, with its API server, and kubectl."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from testbed.cluster import Cluster
from testbed.naming import run_directory

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with Cluster("three_nodes", name=f"runtime-{os.getpid()}", api=True) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def kubectl(lab: Cluster) -> Kubectl:
    config = run_directory(lab.name) / "kubeconfig"

    def run(*words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["kubectl", "--kubeconfig", str(config), *words],
            input=input,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run
