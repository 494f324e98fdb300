"""The world around Services on every Pod network, and what `up` offers of it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from testbed import features
from testbed.cluster import Cluster
from testbed.errors import CannotRunError, UsageError
from testbed.scenario.loader import load_scenarios
from testbed.scenario.runner import Status, run_scenario
from testbed.shell import find_program

pytestmark = pytest.mark.kernel

#: Name → what it needs beyond a lab.
ON_EVERY_NETWORK = ("clusterip", "loadbalancer", "dns-names", "namespaces", "outside-database")


@pytest.mark.parametrize("driver", ["bridge", "vxlan"])
@pytest.mark.parametrize("name", ON_EVERY_NETWORK)
def test_the_scenarios_pass_on_every_pod_network(name: str, driver: str) -> None:
    (scenario,) = (each for each in load_scenarios() if each.name == name)
    lines: list[str] = []
    result = run_scenario(scenario, "nftables", lines.append, pod_network=driver)
    assert result.status is Status.PASSED, "\n".join([result.reason, *lines[-60:]])


def test_a_program_finds_names_by_the_resolver_of_where_it_runs() -> None:
    with Cluster("internet", name=f"run-{uuid.uuid4().hex[:6]}", dns=True) as lab:
        lab.add_public_name("here.example.org", "A", "203.0.113.12")
        lab.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "caller"},
                "spec": {"containers": [{"name": "c", "image": "any"}]},
            }
        )
        for source in ("desk", "client", "node/w1", "pod/caller"):
            assert lab.run(source, ["getent", "hosts", "here.example.org"]).split() == [
                "203.0.113.12",
                "here.example.org",
            ]
        text = lab.run("pod/caller", ["getent", "hosts", "kubernetes"])
        assert text.split() == ["10.96.0.1", "kubernetes.default.svc.cluster.local"]
        lab.serve("database", "5432")
        assert lab.exchange("desk", "203.0.113.12:5432").body()["pod"] == "database"
        with pytest.raises(CannotRunError, match="not installed"):
            lab.run("client", ["no-such-program"])
        with pytest.raises(UsageError, match="NUMBER/TCP"):
            lab.serve("database", "http")


def command(directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TESTBED_RUN_DIR": str(directory)}
    argv = [sys.executable, "-m", "testbed.cli.main", *words]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)


def test_up_has_dns_and_the_commands_reach_it(tmp_path: Path) -> None:
    lab = f"up-{uuid.uuid4().hex[:6]}"
    options = ["--ingress"] if not features.missing(("nginx",)) else []
    try:
        done = command(tmp_path, "up", "single_node", "--lab", lab, "--cloud", "dsr", *options)
        assert done.returncode == 0, done.stderr
        done = command(tmp_path, "resolve", "--lab", lab, "w1", "nothing.example.org", "--json")
        assert done.returncode == 1
        assert json.loads(done.stdout)["problem"] == "no such name"
        done = command(tmp_path, "impair", "set", "--lab", lab, "w1", "--loss", "50%")
        assert (done.returncode, done.stdout) == (0, "impaired: w1\n"), done.stderr
        done = command(tmp_path, "impair", "clear", "--lab", lab)
        assert done.stdout == "nothing is impaired\n"
        done = command(tmp_path, "impair", "node", "--lab", lab, "w1", "down")
        assert done.stdout == "impaired: w1\n"
        done = command(tmp_path, "impair", "node", "--lab", lab, "w1", "up")
        assert done.stdout == "nothing is impaired\n"
        for words, told in (
            (("impair", "set", "w1", "--loss", "much"), "--loss much: a number and one of %"),
            (("impair", "set", "w1"), "say what: --delay 50ms, --loss 10% or --rate 10mbit"),
            (("impair", "link", "nobody", "down"), "is called 'nobody'"),
            (("resolve", "w1", "x", "NONE"), "record type 'NONE': one of A,"),
        ):
            done = command(tmp_path, *words, "--lab", lab)
            assert done.returncode == 2, (words, done)
            assert told in done.stderr
            assert len(done.stderr.splitlines()) == 1
    finally:
        assert command(tmp_path, "down", "--lab", lab).returncode == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--cloud", "fog"), "cloud 'fog': one of nat, nat-masquerade, dsr, proxy, none"),
        (("--cloud", "dsr", "--no-cloud"), "--cloud dsr and --no-cloud: one or the other"),
        (("--no-dns", "--dns-command", "x"), "a DNS command needs a lab with dns and api"),
    ],
)
def test_wrong_options_are_one_line(tmp_path: Path, options: tuple[str, ...], told: str) -> None:
    done = command(tmp_path, "up", "--lab", "wrong", *options)
    assert done.returncode == 2
    assert done.stderr == f"testbed up: {told}\n"


def test_a_cloud_of_proxies_without_haproxy_is_one_line(tmp_path: Path) -> None:
    """The program is hidden in a mount namespace: a file that can't be executed lies over it."""
    program = find_program("haproxy")
    command_line = shlex.join([sys.executable, "-m", "testbed.cli.main", "up", "--lab", "bare"])
    hide = f"mount --bind /dev/null {shlex.quote(os.path.realpath(program))}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{hide} && exec {command_line} --cloud proxy"],
        env={**os.environ, "TESTBED_RUN_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    told = "program 'haproxy' is not installed; install it with: apt-get install haproxy"
    assert (done.returncode, done.stderr) == (3, f"testbed up: {told}\n")
    assert list(tmp_path.iterdir()) == []
