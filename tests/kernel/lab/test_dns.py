"""Cluster DNS in a lab: Pods serve it, the proxies' rules lead to it, names resolve by packets."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.cluster import Cluster
from testbed.errors import CheckFailedError
from testbed.flow import DELIVERED

pytestmark = pytest.mark.kernel

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: any}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: database.example.org}
---
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec: {nodeName: w3, containers: [{name: c, image: any}]}
---
apiVersion: v1
kind: Pod
metadata: {name: lost}
spec:
  nodeName: w3
  dnsPolicy: None
  dnsConfig: {nameservers: [10.96.0.77], options: [{name: timeout, value: "1"}]}
  containers: [{name: c, image: any}]
"""


@pytest.fixture(params=["iptables", "nftables"], scope="module")
def lab(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = f"dns-{uuid.uuid4().hex[:6]}"
    with Cluster("three_nodes", name=name, dns=True, proxy=request.param) as lab:
        lab.apply(WEB)
        yield lab


def dns_pods(lab: Cluster) -> list[str]:
    return [p.key.name for p in lab.all_pods() if p.labels.get("k8s-app") == "kube-dns"]


def test_a_short_name_costs_one_pair_of_queries_and_an_outside_name_four(lab: Cluster) -> None:
    short = lab.resolve("pod/caller", "web")
    assert short.addresses == lab.service("web").cluster_ips
    assert len(short.exchanges) == 2
    lab.add_public_name("www.example.org", "A", "203.0.113.77")
    long = lab.resolve("pod/caller", "www.example.org", "A")
    assert long.addresses == ("203.0.113.77",)
    assert [e.code.name for e in long.exchanges] == ["NXDOMAIN"] * 3 + ["NOERROR"]
    assert len(lab.resolve("pod/caller", "www.example.org.", "A").exchanges) == 1


def test_an_external_name_is_an_alias_that_the_public_dns_resolves(lab: Cluster) -> None:
    lab.add_public_name("database.example.org", "A", "203.0.113.78")
    found = lab.resolve("pod/caller", "outside", "A")
    assert [(r.type.name, r.data) for r in found.answers] == [
        ("CNAME", "database.example.org."),
        ("A", "203.0.113.78"),
    ]


def test_a_pod_reaches_a_service_by_its_name(lab: Cluster) -> None:
    for target in ("web", "web.default:80", "web.default.svc.cluster.local:http"):
        path = lab.probe("pod/caller", target)
        assert path.verdict.kind == DELIVERED, path
        assert path.flow.destination == lab.service("web").cluster_ips[0]


def test_a_client_reaches_a_load_balancer_by_its_public_name(lab: Cluster) -> None:
    name = lab.service("web").ingress[0].hostname
    path = lab.probe("client", f"{name}:80")
    assert path.verdict.kind == DELIVERED, path
    assert path.flow.destination == lab.service("web").ingress[0].ip


def test_a_wrong_resolver_is_told(lab: Cluster) -> None:
    assert lab.resolver_of("pod/lost").nameservers == ("10.96.0.77",)
    assert lab.resolve("pod/lost", "web").problem.startswith("no answer: ")
    with pytest.raises(CheckFailedError, match="web: no answer"):
        lab.probe("pod/lost", "web:80")


def test_the_queries_are_in_the_logs_of_the_dns_pods(lab: Cluster) -> None:
    name = f"n{uuid.uuid4().hex[:8]}"
    lab.resolve("pod/caller", f"{name}.svc.cluster.local.", "A")
    logs = [
        lab.core.sandboxes.logs.file(("kube-system", pod), "coredns").read_text()
        for pod in dns_pods(lab)
    ]
    lines = [line for text in logs for line in text.splitlines() if name in line]
    assert len(lines) == 1
    assert f'"A IN {name}.svc.cluster.local. udp' in lines[0]


def test_dns_pods_come_back_and_answer_again(lab: Cluster) -> None:
    before = dns_pods(lab)
    for name in before:
        lab.delete(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "kube-system"},
            }
        )
    assert len(dns_pods(lab)) == 2
    assert not set(before) & set(dns_pods(lab))
    assert lab.resolve("pod/caller", "web").addresses


def test_without_dns_pods_queries_are_refused_at_once(lab: Cluster) -> None:
    lab.patch("deployments", "kube-system/coredns", {"spec": {"replicas": 0}})
    found = lab.resolve("pod/caller", "web")
    assert found.problem == "no answer: connection refused"
    lab.patch("deployments", "kube-system/coredns", {"spec": {"replicas": 2}})
    assert lab.resolve("pod/caller", "web").addresses


def test_a_users_dns_program_gets_a_corefile_and_a_way_to_the_api(tmp_path: Path) -> None:
    """The stand-in program reads the Corefile and lists Services as CoreDNS would."""
    program = tmp_path / "coredns"
    program.write_text(
        f"#!{sys.executable}\n"
        "import json, re, ssl, sys, base64, tempfile, time, urllib.request\n"
        "corefile = open(sys.argv[sys.argv.index('-conf') + 1]).read()\n"
        "path = re.search(r'kubeconfig (\\S+)', corefile)[1]\n"
        "config = json.load(open(path))\n"
        "user, cluster = config['users'][0]['user'], config['clusters'][0]['cluster']\n"
        "ca = base64.b64decode(cluster['certificate-authority-data']).decode()\n"
        "context = ssl.create_default_context(cadata=ca)\n"
        "pem = tempfile.NamedTemporaryFile()\n"
        "for key in ('client-certificate-data', 'client-key-data'):\n"
        "    pem.write(base64.b64decode(user[key]) + b'\\n')\n"
        "pem.flush()\n"
        "context.load_cert_chain(pem.name)\n"
        "url = cluster['server'] + '/api/v1/services'\n"
        "items = json.load(urllib.request.urlopen(url, context=context, timeout=5))['items']\n"
        "print(json.dumps([item['metadata']['name'] for item in items]), flush=True)\n"
        "time.sleep(600)\n"
    )
    program.chmod(0o755)
    name = f"dnscmd-{uuid.uuid4().hex[:6]}"
    with Cluster("single_node", name=name, dns=True, api=True, dns_command=str(program)) as lab:
        logs = [
            lab.core.sandboxes.logs.file(("kube-system", pod), "coredns") for pod in dns_pods(lab)
        ]
        for _ in range(500):
            if all(log.read_text().endswith("\n") for log in logs):
                break
            lab.fabric.namespace("client").run(["sleep", "0.02"])
        for log in logs:
            assert json.loads(log.read_text()) == ["kubernetes", "kube-dns"]
