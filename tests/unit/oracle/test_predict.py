"""`testbed predict` on a dump: what it prints, as text and JSON, and its one-line errors."""

from __future__ import annotations

import argparse
import copy
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.api.documents import load_documents
from testbed.cli import predict
from testbed.errors import EXIT_OK, EXIT_USAGE, UsageError
from testbed.oracle.dump import world_from
from testbed.oracle.prediction import predict as predict_flows
from testbed.oracle.targets import parse, resolve_start, resolve_targets
from testbed.oracle.world import Settings

DUMP = """
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Node, metadata: {name: w1}, spec: {podCIDR: 10.244.1.0/24},
   status: {addresses: [{type: InternalIP, address: 172.18.0.11}, {type: Hostname, address: w1}]}}
- {apiVersion: v1, kind: Node, metadata: {name: w2}, spec: {podCIDR: 10.244.2.0/24},
   status: {addresses: [{type: InternalIP, address: 172.18.0.12}]}}
- {apiVersion: v1, kind: Node, metadata: {name: w3}, spec: {podCIDR: 10.244.3.0/24},
   status: {addresses: [{type: InternalIP, address: 172.18.0.13}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: web-0, namespace: default},
   spec: {nodeName: w1}, status: {phase: Running, podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}]}}
- {apiVersion: v1, kind: Pod, metadata: {name: cli, namespace: default},
   spec: {nodeName: w2}, status: {phase: Running, podIP: 10.244.2.9}}
- {apiVersion: networking.k8s.io/v1, kind: ServiceCIDR, metadata: {name: kubernetes},
   spec: {cidrs: [10.96.0.0/16]}}
- {apiVersion: v1, kind: ConfigMap, metadata: {name: unrelated}}
- apiVersion: v1
  kind: Service
  metadata: {name: web, namespace: default}
  spec:
    type: LoadBalancer
    externalTrafficPolicy: Local
    clusterIP: 10.96.0.20
    clusterIPs: [10.96.0.20]
    ports: [{port: 80, protocol: TCP, targetPort: 8080, nodePort: 30080}]
  status: {loadBalancer: {ingress: [{ip: 198.51.100.10, ipMode: VIP}, {hostname: lb.example.com}]}}
- apiVersion: discovery.k8s.io/v1
  kind: EndpointSlice
  metadata: {name: web-a, namespace: default, labels: {kubernetes.io/service-name: web}}
  addressType: IPv4
  ports: [{port: 8080, protocol: TCP}]
  endpoints:
  - {addresses: [10.244.1.5], nodeName: w1, conditions: {ready: true},
     targetRef: {kind: Pod, name: web-0, namespace: default}}
"""


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.yaml"
    path.write_text(DUMP)
    return path


def run(*words: str) -> int:
    parser = argparse.ArgumentParser()
    predict.add_parser(parser.add_subparsers())
    args = parser.parse_args(["predict", *words])
    return predict.run(args)


def test_one_flow_is_told_in_full(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("-f", str(dump), "pod/cli", "svc/web") == EXIT_OK
    out = capsys.readouterr().out
    assert out.splitlines()[:6] == [
        "pod/cli (10.244.2.9, on w2) → svc/web, ClusterIP 10.96.0.20:80/TCP (type LoadBalancer,",
        "externalTrafficPolicy: Local, iptables mode)",
        "",
        "delivered by w2 to 1 backend: any ready endpoint",
        "  100.0 %  10.244.1.5:8080  pod/web-0  on w1  sees 10.244.2.9, unchanged",
        "source: a Pod's address is kept towards a ClusterIP",
    ]


def test_client_outside_gets_a_line_for_each_address(
    dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("-f", str(dump), "client", "svc/web") == EXIT_OK
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 100
    rows = [line.split() for line in out.splitlines() if line.startswith(("  198.", "  172."))]
    assert [(r[0], " ".join(r[1 : -4 if "→" in r else -3])) for r in rows] == [
        ("198.51.100.10:80", "load balancer IP (dsr) w1"),
        ("198.51.100.10:80", "load balancer IP (dsr) w2, w3"),
        ("172.18.0.11:30080", "NodePort w1"),
        ("172.18.0.12:30080", "NodePort w2"),
        ("172.18.0.13:30080", "NodePort w3"),
    ]
    assert [r[-3] for r in rows] == ["web-0", "dropped", "web-0", "dropped", "dropped"]
    assert "the balancer's health check fails" in out
    assert "taken as dsr" in out
    assert "lb.example.com" in out


def test_entry_node_and_modes_change_the_answer(
    dump: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def verdict(*words: str) -> str:
        assert run("-f", str(dump), *words, "--json") == EXIT_OK
        flows = json.loads(capsys.readouterr().out)["flows"]
        assert len(flows) == 1
        return str(flows[0]["expectation"]["verdict"])

    assert verdict("client", "198.51.100.10:80", "--from-node", "w1") == "delivered"
    assert verdict("client", "198.51.100.10:80", "--from-node", "w2") == "dropped"
    assert verdict("client", "10.96.0.20:80") == "routed"
    assert verdict("client", "10.96.0.20:80", "--from-node", "w2") == "delivered"
    assert verdict("pod/cli", "10.96.0.20:81", "--proxy-mode", "nftables") == "refused"
    assert verdict("pod/cli", "10.96.0.99:80", "--proxy-mode", "nftables") == "dropped"
    assert verdict("pod/cli", "10.96.0.99:80") == "routed"
    assert verdict("node/w1", "localhost:30080") == "delivered"
    assert verdict("node/w1", "localhost:30080", "--no-localhost-nodeports") == "node"


def test_json_carries_the_whole_answer(dump: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("-f", str(dump), "client", "svc/web", "--json", "--balancer", "nat")
    said = json.loads(capsys.readouterr().out)
    assert said["from"]["place"] == "outside"
    first = said["flows"][0]
    assert (first["to"], first["via"], first["entry"]) == ("198.51.100.10:80", "nat", "w1")
    (backend,) = first["expectation"]["backends"]
    assert backend["pod"] == "default/web-0"
    assert backend["source"] == {"kind": "unchanged", "address": "198.51.100.10", "node": ""}
    assert [f["inRotation"] for f in said["flows"]] == [True, False, False, True, True, True]


def test_address_that_stays_the_balancers_comes_back_through_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text(DUMP.replace("ipMode: VIP", "ipMode: Proxy"))
    assert run("-f", str(path), "pod/cli", "198.51.100.10:80", "--json") == EXIT_OK
    flows = json.loads(capsys.readouterr().out)["flows"]
    assert [(f["via"], f["entry"], f["expectation"]["verdict"]) for f in flows] == [
        (None, None, "routed"),
        ("proxy", "w1", "delivered"),
        ("proxy", "w2", "dropped"),
        ("proxy", "w3", "dropped"),
    ]


def test_dump_may_come_by_standard_input(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(DUMP))
    assert run("-f", "-", "cli", "web") == EXIT_OK
    assert "delivered" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("pod/cly", "svc/web"), "no Pod 'cly' in namespace default; did you mean pod/cli?"),
        (("pod/cli", "svc/web", "--family", "ipv6"), "svc/web has no IPv6 address, only IPv4"),
        (("2001:db8::1", "svc/web"), "svc/web has no address of 2001:db8::1's family, only IPv4"),
        (("client", "svc/web", "--from-node", "w9"), "no node 'w9'; did you mean w3, w2 or w1?"),
        (("client", "9.9.9.9:80"), "9.9.9.9 isn't a node's address: say which node the packet"),
        (("client", "svc/web", "--client-address", "x"), "--client-address x: not an IP address"),
    ],
)
def test_wrong_question_is_one_line(dump: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError) as error:
        run("-f", str(dump), *words)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == EXIT_USAGE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("apiVersion: v1\nkind: Pod", "no Service and no Node in it; dump with: kubectl get svc"),
        ("apiVersion: v1\nkind: Service\nspec: {ports: 5}", "Service ?: not as the API returns it"),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: a}\nstatus: []", "no Service in it"),
    ],
)
def test_wrong_file_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    node = "---\napiVersion: v1\nkind: Node\nmetadata: {name: w1}\n" if "Service\n" in text else ""
    path.write_text(f"{text}\n{node}")
    with pytest.raises(UsageError) as error:
        run("-f", str(path), "client", "svc/web")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    entries = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in entries:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def test_any_value_in_any_place_is_answered_or_refused_in_one_line() -> None:
    documents = load_documents(DUMP, "dump")
    refused: list[str] = []
    for path in places(documents):
        if len(path) < 2 or path[1] in ("kind", "apiVersion"):
            continue
        for value in (None, 5, "x", [], {}, [None], {"a": 1}):
            changed = copy.deepcopy(documents)
            inner: Any = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = value
            try:
                world = world_from(changed, Settings())
                start = resolve_start(world, parse("client"))
                predict_flows(world, start, resolve_targets(world, parse("web"), outside=True))
            except UsageError as error:
                refused.append(str(error))
    assert len(refused) > 100
    assert not [line for line in refused if "\n" in line]
