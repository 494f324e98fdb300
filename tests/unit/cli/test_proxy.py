"""`testbed proxy render` and `explain` as a user runs them."""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.cli import proxy
from testbed.errors import UsageError
from tests.unit.proxy.worlds import GOLDEN

NODEPORT = str(GOLDEN / "nodeport" / "objects.yaml")


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    proxy.add_parser(parser.add_subparsers())
    return proxy.run(parser.parse_args(["proxy", *arguments]))


def recorded(name: str) -> str:
    return (GOLDEN / "nodeport" / name).read_text()


def test_one_output_is_the_dump_alone(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--node", "w1", "--mode", "iptables", "--family", "ipv4")
    assert run("render", "-f", NODEPORT, *options) == 0
    assert capsys.readouterr().out == recorded("w1.ipv4.iptables")


def test_standard_input_is_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(Path(NODEPORT).read_text()))
    run("render", "-f", "-", "--node", "w1", "--mode", "nftables", "--family", "ipv6")
    assert capsys.readouterr().out == recorded("w1.ipv6.nft")


def test_all_outputs_go_to_a_directory_like_the_recordings(tmp_path: Path) -> None:
    nodes = ("--node", "w1", "--node", "w3")
    out = tmp_path / "new" / "out"
    run("render", "-f", NODEPORT, *nodes, "--mode", "all", "--family", "all", "-o", str(out))
    written = {path.name: path.read_text() for path in out.iterdir()}
    expected = {path.name for path in (GOLDEN / "nodeport").iterdir()} - {"objects.yaml"}
    assert written.keys() == expected
    assert written["w3.ipv6.iptables"] == recorded("w3.ipv6.iptables")


def test_files_add_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = tmp_path / "extra.yaml"
    extra.write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: late}, "
        "spec: {clusterIPs: [10.96.0.77], ports: [{port: 7}]}}"
    )
    run("render", "-f", NODEPORT, "-f", str(extra), "--node", "w1")
    assert "default/late has no endpoints" in capsys.readouterr().out


@pytest.mark.parametrize("action", [("render",), ("explain", "KUBE-SERVICES")])
def test_an_unknown_node_is_an_error_that_names_the_known(action: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match=r"^no node 'w9'; known: w1, w2, w3$") as caught:
        run(*action, "-f", NODEPORT, "--node", "w1", "--node", "w9")
    assert caught.value.exit_code == 2


def test_nothing_is_written_when_a_node_is_unknown(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run("render", "-f", NODEPORT, "--node", "w1", "--node", "w9", "-o", str(tmp_path / "o"))
    assert not (tmp_path / "o").exists()


def test_bad_objects_are_named_and_the_rest_is_rendered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: odd}, "
        "spec: {clusterIPs: [10.96.0.999], ports: [{port: 7}]}}\n---\n"
        "{apiVersion: v1, kind: Service, metadata: {name: shape}, spec: {ports: [{port: x}]}}\n"
    )
    assert run("render", "-f", NODEPORT, "-f", str(bad), "--node", "w1", "--family", "ipv4") == 0
    printed = capsys.readouterr()
    assert printed.out == recorded("w1.ipv4.iptables")
    warnings = printed.err.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith("warning: Service default/shape: can't be read")
    assert (
        warnings[1] == "warning: Service default/odd: clusterIP '10.96.0.999' is not an IP address"
    )


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        (["--cluster-cidr", "10.0.0.0/8"], "! -s 10.0.0.0/8 -d 10.96.10.1/32", "10.244.0.0/16"),
        (["--cluster-cidr="], "KUBE-SVC-LOLE4ISW44XBNF3G", '"default/web cluster IP" -j KUBE-MARK'),
        (
            ["--masquerade-all"],
            "-A KUBE-SVC-LOLE4ISW44XBNF3G -d 10.96.10.1/32 -p tcp",
            "10.244.0.0",
        ),
        (["--masquerade-all=false"], "! -s 10.244.0.0/16", "! -s 10.0"),
        (["--nodeport-addresses", "primary"], "-d 10.200.0.11/32 -m comment", "--dst-type LOCAL"),
        (["--iptables-localhost-nodeports=false"], "! -d 127.0.0.0/8 -m comment", "localnet"),
        (["--iptables-masquerade-bit", "15"], "--set-xmark 0x8000/0x8000", "0x4000"),
        (["--conntrack-tcp-be-liberal"], "KUBE-FORWARD", "INVALID"),
        (["--nfacct=false"], "--ctstate INVALID -j DROP", "nfacct"),
        (
            ["--detect-local-mode", "BridgeInterface", "--pod-bridge-interface", "cni0"],
            "-d 10.96.10.1/32 ! -i cni0 -p tcp",
            "10.244.0.0/16",
        ),
        (
            ["--detect-local-mode=InterfaceNamePrefix", "--pod-interface-name-prefix=veth"],
            "-d 10.96.10.1/32 ! -i veth+ -p tcp",
            "10.244.0.0/16",
        ),
        (["--detect-local-mode", "NodeCIDR"], "! -s 10.244.1.0/24", "10.244.0.0/16"),
    ],
)
def test_kube_proxys_own_options_change_the_rules(
    options: list[str], present: str, absent: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run("render", "-f", NODEPORT, "--node", "w1", *options)
    printed = capsys.readouterr().out
    assert present in printed
    assert absent not in printed


def test_a_configuration_file_counts_and_options_win(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
        "mode: nftables\nclusterCIDR: 10.0.0.0/8\nnftables: {masqueradeBit: 15, syncPeriod: 1m}\n"
        "nodePortAddresses: [0.0.0.0/0]\nclientConnection: {kubeconfig: /x}\n"
    )
    run("render", "-f", NODEPORT, "--node", "w1", "--config", str(config))
    table = capsys.readouterr().out
    assert "ip saddr != 10.0.0.0/8 meta mark set meta mark | 0x00008000" in table
    assert "fib daddr type local ip daddr != 127.0.0.0/8" in table
    assert "nodeport-ips" not in table
    run(
        *("render", "-f", NODEPORT, "--node", "w1", "--config", str(config)),
        *("--cluster-cidr", "10.1.0.0/16", "--mode", "iptables"),
    )
    assert "! -s 10.1.0.0/16" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{mode: ipvs}", "mode 'ipvs': use iptables or nftables"),
        ("{clusterCidr: 10.0.0.0/8}", "unknown field clusterCidr"),
        ("{iptables: {masqBit: 3}}", "unknown field iptables.masqBit"),
        ("{iptables: {masqueradeBit: 99}}", "masqueradeBit 99: use 0 to 31"),
        ("{iptables: {syncPeriod: soon}}", "iptables.syncPeriod is 'soon', not a duration"),
        ("{nodePortAddresses: [primary, 10.0.0.0/8]}", "'primary' can't be used with other"),
        ("{clusterCIDR: 10.0.0.0}", "clusterCIDR '10.0.0.0' is not a CIDR"),
        ("{detectLocalMode: BridgeInterface}", "needs detectLocal.bridgeInterface"),
    ],
)
def test_a_wrong_configuration_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    config = tmp_path / "config.yaml"
    body = text.removeprefix("{")
    config.write_text(f"{{apiVersion: x, kind: KubeProxyConfiguration, {body}")
    with pytest.raises(UsageError) as caught:
        run("render", "-f", NODEPORT, "--node", "w1", "--config", str(config))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_service_cidr_object_wins_over_the_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cidr = tmp_path / "cidr.yaml"
    cidr.write_text(
        "{apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes}, "
        "spec: {cidrs: [10.50.0.0/16, 'fd00:50::/112']}}"
    )
    options = ("--node", "w1", "--mode", "nftables")
    run("render", "-f", NODEPORT, *options, "--service-cluster-ip-range", "10.60.0.0/16")
    assert "ip daddr 10.60.0.0/16 drop" in capsys.readouterr().out
    run("render", "-f", NODEPORT, "-f", str(cidr), *options)
    assert "ip daddr 10.50.0.0/16 drop" in capsys.readouterr().out
    run("render", "-f", NODEPORT, *options, "--service-cluster-ip-range", "")
    assert "unallocated" not in capsys.readouterr().out


def test_explain_names_the_service_in_either_mode(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", "10.96.10.1:80", "-f", NODEPORT, "--node", "w1") == 0
    printed = capsys.readouterr().out
    assert printed.count("clusterIP of Service default/web") == 2
    assert "w1 ipv4 iptables: 10.96.10.1:80/TCP" in printed


def test_explaining_an_unknown_name_is_an_error() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        run("explain", "nosuch", "-f", NODEPORT, "--node", "w1")


def test_rendering_pays_for_no_heavy_library() -> None:
    script = (
        "import argparse, sys; from testbed.cli import proxy; p = argparse.ArgumentParser(); "
        "proxy.add_parser(p.add_subparsers()); "
        f"proxy.run(p.parse_args(['proxy', 'render', '-f', {NODEPORT!r}, '--node', 'w1'])); "
        "heavy = {'scapy', 'mininet', 'aiohttp', 'pyroute2', 'jinja2', 'asyncio', 'subprocess'}; "
        "sys.exit(repr(found) if (found := sorted(heavy & set(sys.modules))) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
