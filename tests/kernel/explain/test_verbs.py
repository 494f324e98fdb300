"""The verbs of a running lab, as commands: explain, report, capture, up --from."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import shell

pytestmark = pytest.mark.kernel

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests/golden/rules"
LAB = f"verbs-{os.getpid()}"
COMMAND = [sys.executable, "-m", "testbed.cli.main"]


def run_testbed(*words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == code, (words, done.returncode, done.stdout, done.stderr)
    return done


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[None]:
    out = run_testbed("up", "--lab", LAB, "--from", str(GOLDEN / "multi-port/objects.yaml")).stdout
    assert "✓ twin of 2 Pods and 2 Services" in out
    assert "not built: endpoint 10.200.0.1 of default/kubernetes: no Pod has this address" in out
    yield
    run_testbed("down", "--lab", LAB)


def test_explain_shows_path_expectation_and_agreement() -> None:
    out = run_testbed("explain", "--lab", LAB, "node/w1", "svc/web:http").stdout
    assert "request: TCP SYN" in out
    assert "expected: delivered by w1" in out
    assert out.rstrip().endswith("as expected")


def test_explain_writes_page_capture_and_bundle_and_report_opens_it(tmp_path: Path) -> None:
    files = {kind: tmp_path / f"e.{kind}" for kind in ("html", "pcapng", "bundle")}
    options = [word for kind, file in files.items() for word in (f"--{kind}", str(file))]
    run_testbed("explain", "--lab", LAB, "node/w3", "svc/web:http", *options)
    assert "<html" in files["html"].read_text()
    assert "w3/w3-eth0" in shell.run(
        ["tshark", "-r", str(files["pcapng"]), "-T", "fields", "-e", "frame.interface_name"]
    )
    members = zipfile.ZipFile(files["bundle"]).namelist()
    assert {"path.json", "path.html", "network.pcapng", "objects.yaml", "expected.txt"} <= {
        *members
    }
    shown = run_testbed("report", str(files["bundle"])).stdout
    assert "delivered" in shown
    assert "expected: delivered by w3" in shown


def test_explain_repeats_and_counts() -> None:
    command = ("explain", "--lab", LAB, "node/w3", "svc/web:http", "--repeat", "200", "--json")
    found = json.loads(run_testbed(*command).stdout)
    assert found["agrees"]
    assert sum(found["spread"]["counts"].values()) == 200
    assert found["spread"]["p"] >= 1e-5


def test_a_rule_that_is_missing_makes_exit_code_1_and_is_named() -> None:
    inside = ["ip", "netns", "exec", f"{LAB}-w1"]
    place = [*inside, "iptables", "-t", "nat"]
    saved = shell.run([*inside, "iptables-save", "-t", "nat"])
    listed = shell.run([*place, "-S", "KUBE-SERVICES"]).splitlines()
    rule = next(r for r in listed if "web:http cluster IP" in r).replace("-A ", "-D ", 1)
    shell.run([*place, *shlex.split(rule)])
    try:
        out = run_testbed("explain", "--lab", LAB, "node/w1", "svc/web:http", code=1).stdout
    finally:
        shell.run([*inside, "iptables-restore"], input=saved)
    assert "w1: expected: sends it to 10.244." in out
    assert "the rule that should have matched is missing in nat KUBE-SERVICES" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("client", "svc/wbe"), "no Service 'wbe' in namespace default; did you mean svc/web?"),
        (("pod/wbe-0", "svc/web:http"), "no Pod 'wbe-0' in namespace default; did you mean pod/"),
        (("node/w9", "svc/web:http"), "no node 'w9'; did you mean"),
        (("node/w1", "svc/web"), "svc/web has several ports"),
        (("node/w1", "svc/web:9"), "svc/web has no port 9"),
        (("node/w1", "svc/web:http", "--family", "IPv6"), "has no IPv6 address"),
        (("node/w1", "nothing/x"), "'nothing' is none of pod, node, svc, client"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], message: str) -> None:
    error = run_testbed("explain", "--lab", LAB, *words, code=2).stderr
    assert message in error
    assert error.count("\n") == 1


def test_capture_into_a_file_holds_what_crossed(tmp_path: Path) -> None:
    file = tmp_path / "live.pcapng"
    capture = [*COMMAND, "capture", "--lab", LAB, "--all", "--filter", "tcp", "-w", str(file)]
    process = subprocess.Popen(capture, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    limit = time.monotonic() + 20
    while not (file.exists() and file.stat().st_size) and time.monotonic() < limit:
        run_testbed("explain", "--lab", LAB, "node/w3", "svc/web:http")
    process.terminate()
    _, error = process.communicate(timeout=20)
    assert process.returncode == 0, error
    assert "packets" in error
    fields = ("-T", "fields", "-e", "frame.interface_name", "-e", "tcp.port")
    rows = shell.run(["tshark", "-r", str(file), *fields]).splitlines()
    assert {row.split("/")[0] for row in rows} >= {"w3", "cluster"}


def test_capture_says_how_to_see_it_live() -> None:
    words = ("capture", "--lab", LAB, "-i", "w1/w1-eth0", "--filter", "tcp port 80")
    error = run_testbed(*words).stderr
    assert f"-i w1/w1-eth0 --filter 'tcp port 80' --lab {LAB} -w - | wireshark -k -i -" in error


def test_mutate_lists_rules_that_no_flow_meets_and_no_others() -> None:
    out = run_testbed("mutate", "--lab", LAB, "--rounds", "1").stdout
    assert "w1 IPv4 filter KUBE-FIREWALL" in out
    assert "web:http cluster IP" not in out
    assert out.rstrip().endswith("rules that no flow met")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say which interfaces"),
        (("-i", "nowhere/x", "-w", "/dev/null"), "is no NAMESPACE/INTERFACE"),
        (("-i", "w1/nope", "-w", "/dev/null"), "no interface w1/nope; did you mean w1/"),
        (("--all", "--filter", "tcp prt 80", "-w", "/dev/null"), "filter 'tcp prt 80'"),
    ],
)
def test_capture_refuses_in_one_line(words: tuple[str, ...], message: str) -> None:
    error = run_testbed("capture", "--lab", LAB, *words, code=2).stderr
    assert message in error
    assert error.count("\n") == 1
