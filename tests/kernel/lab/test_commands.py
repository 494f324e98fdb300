"""The commands as a user types them: good words and bad ones."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.host import leftovers

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec: {containers: [{name: c, image: any, ports: [{containerPort: 8080}]}]}
"""


class Shell:
    """Runs `testbed` with a run directory of its own."""

    def __init__(self, runs: Path) -> None:
        self.runs = runs
        self.environment = {**os.environ, "TESTBED_RUN_DIR": str(runs)}

    def __call__(self, *words: str, input: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "testbed.cli.main", *words],
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def testbed() -> Iterator[Shell]:
    runs = Path(tempfile.mkdtemp(prefix="tb-"))
    shell = Shell(runs)
    started = shell("up", "single_node", "--lab", "here", "-f", "-", input=MANIFEST)
    assert started.returncode == 0, started.stderr
    yield shell
    ended = shell("down", "--lab", "here")
    assert ended.returncode == 0, ended.stderr
    assert leftovers(runs) == []
    shutil.rmtree(runs)


def test_a_running_lab_is_listed_probed_and_changed(testbed: Shell) -> None:
    assert "here" in testbed("list").stdout
    assert "default.web" in testbed("list", "--lab", "here").stdout
    probed = testbed("probe", "--lab", "here", "node/w1", "pod/web:8080")
    assert probed.returncode == 0, probed.stdout + probed.stderr
    applied = testbed("apply", "--lab", "here", "-f", "-", input=MANIFEST.replace("web", "two"))
    assert applied.stdout == "pod/two created\n"
    again = testbed("apply", "--lab", "here", "-f", "-", input=MANIFEST.replace("web", "two"))
    assert again.stdout == "pod/two unchanged\n"


def test_a_probe_that_is_not_answered_ends_with_1(testbed: Shell) -> None:
    refused = testbed("probe", "--lab", "here", "node/w1", "pod/web:81")
    assert refused.returncode == 1


BAD = {
    "missing file": (["apply", "--lab", "here", "-f", "/nowhere.yaml"], "", "No such file"),
    "no YAML": (["apply", "--lab", "here", "-f", "-"], "a: [", "isn't valid YAML"),
    "nothing in it": (["apply", "--lab", "here", "-f", "-"], "", "no objects"),
    "unknown kind": (
        ["apply", "--lab", "here", "-f", "-"],
        "{apiVersion: v1, kind: Foo, metadata: {name: a}}",
        'no matches for kind "Foo"',
    ),
    "unknown field": (
        ["apply", "--lab", "here", "-f", "-"],
        "{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {prots: []}}",
        ".spec.prots: field not declared in schema",
    ),
    "unknown topology": (["up", "nowhere", "--lab", "b"], "", "three_nodes"),
    "unknown mode": (["up", "--proxy", "ipvs", "--lab", "b"], "", "iptables, nftables, none"),
    "unknown node": (["up", "--proxy", "w9=nftables", "--lab", "b"], "", "no such node"),
    "unknown network": (["up", "--pod-network", "calico", "--lab", "b"], "", "routes, bridge"),
    "name in use": (["up", "--lab", "here"], "", "running already"),
    "bad name": (["up", "--lab", "No_Name"], "", "lower case"),
    "no such lab": (["down", "--lab", "gone"], "", "no lab 'gone'"),
    "unknown place": (["probe", "--lab", "here", "clent", "1.2.3.4:1"], "", "did you mean client"),
    "unknown Service": (["probe", "--lab", "here", "client", "svc/wob"], "", "no Service 'wob'"),
    "no port": (["probe", "--lab", "here", "client", "node/w1"], "", "which port"),
    "no scenario": (["run", "-k", "nothing-fits"], "", "no scenario fits"),
    "unknown verb": (["explode"], "", "unknown verb"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line_and_leaves_nothing(testbed: Shell, case: str) -> None:
    words, text, message = BAD[case]
    done = testbed(*words, input=text)
    assert done.returncode == 2, done
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert sorted(path.name for path in testbed.runs.iterdir()) == ["here"]
