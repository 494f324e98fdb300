"""The Ingress controller in a lab: hosts, paths, certificates, reloads, wrong Ingresses."""

from __future__ import annotations

import base64
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed import features
from testbed.cluster import Cluster
from testbed.flow import DELIVERED
from testbed.ingress.certificate import self_signed
from testbed.shell import CommandError

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(
        bool(features.missing(("nginx",))), reason="needs nginx: apt-get install nginx-light"
    ),
]


NO_REDIRECT = {"nginx.ingress.kubernetes.io/ssl-redirect": "false"}


def app(name: str) -> str:
    return f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec: {{containers: [{{name: c, image: any}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  selector: {{app: {name}}}
  ports: [{{name: http, port: 80, targetPort: 8080}}]
---
"""


def ingress(name: str, *rules: tuple[str, str, str, str], **more: Any) -> dict[str, Any]:
    """An Ingress of (host, path, pathType, Service) rules; `annotations` and spec fields."""
    annotations = more.pop("annotations", {})
    entries = [
        {
            **({"host": host} if host else {}),
            "http": {
                "paths": [
                    {
                        "path": path,
                        "pathType": kind,
                        "backend": {"service": {"name": service, "port": {"name": "http"}}},
                    }
                ]
            },
        }
        for host, path, kind, service in rules
    ]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"ingressClassName": "nginx", "rules": entries, **more},
    }


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster("three_nodes", name=f"ing-{uuid.uuid4().hex[:6]}", dns=True, ingress=True) as lab:
        lab.apply(app("one") + app("two"))
        yield lab


@pytest.fixture
def lab(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    for document in list(shared.core.control.store.list("ingresses")):
        shared.delete(document)


def answer(lab: Cluster, url: str, *options: str) -> tuple[int, str]:
    """HTTP status, and the Deployment that answered (or "")."""
    host = url.split("/")[2].partition(":")[0]
    address = lab.resolve("client", host, "A").addresses
    at = (
        address[0]
        if address
        else lab.get("services", "ingress-nginx/ingress-nginx")["status"]["loadBalancer"][
            "ingress"
        ][0]["ip"]
    )
    port = 443 if url.startswith("https") else 80
    argv = ["curl", "-skm2", "-w", "\n%{http_code}", "--resolve", f"{host}:{port}:{at}", *options]
    body, _, status = lab.fabric.namespace("client").run([*argv, url]).rpartition("\n")
    try:
        return int(status), str(json.loads(body)["pod"]).split("-")[0]
    except ValueError:
        return int(status), ""


def events(lab: Cluster, name: str, reason: str) -> list[str]:
    return [
        event["message"]
        for event in lab.core.control.store.list("events")
        if event["involvedObject"]["name"] == name and event["reason"] == reason
    ]


def test_paths_match_as_the_api_says(lab: Cluster) -> None:
    lab.apply(
        ingress(
            "paths",
            ("app.example.com", "/api", "Prefix", "one"),
            ("app.example.com", "/api/exact", "Exact", "two"),
            ("app.example.com", "/slash/", "Prefix", "two"),
            ("app.example.com", "/special", "ImplementationSpecific", "two"),
        )
    )
    wanted = {
        "/api": (200, "one"),
        "/api/": (200, "one"),
        "/api/more?x=1": (200, "one"),
        "/apix": (404, ""),
        "/API": (404, ""),
        "/api/exact": (200, "two"),
        "/api/exact/": (200, "one"),
        "/slash": (200, "two"),
        "/slash/x": (200, "two"),
        "/special/x": (200, "two"),
        "/": (404, ""),
    }
    seen = {path: answer(lab, f"http://app.example.com{path}") for path in wanted}
    assert seen == wanted


def test_hosts_and_wildcards_of_one_label(lab: Cluster) -> None:
    lab.apply(
        ingress(
            "hosts",
            ("a.example.com", "/", "Prefix", "one"),
            ("*.example.com", "/", "Prefix", "two"),
        )
    )
    assert answer(lab, "http://a.example.com/") == (200, "one")
    assert answer(lab, "http://b.example.com/") == (200, "two")
    assert answer(lab, "http://b.c.example.com/")[0] == 404
    assert answer(lab, "http://example.com/")[0] == 404


def test_the_path_shows_every_step_and_the_clients_address_is_handed_on(lab: Cluster) -> None:
    lab.apply(ingress("steps", ("app.example.com", "/", "Prefix", "one")))
    path = lab.probe("client", "app.example.com:80", http_path="/api")
    assert path.verdict.kind == DELIVERED, path
    assert "lb" in [hop.namespace for hop in path.hops]
    assert path.backend.startswith("ingress-nginx.")
    assert path.relayed is not None
    assert path.relayed.backend.startswith("default.one-")
    body = lab.exchange("client", "app.example.com:80", http_path="/").body()
    proxy = next(p for p in lab.all_pods() if p.key.namespace == "ingress-nginx")
    assert body["peer"].rpartition(":")[0] in proxy.ips
    assert body["forwarded"] == "203.0.113.10"


def test_a_certificate_of_a_secret_is_shown_and_http_redirected(lab: Cluster) -> None:
    pem = self_signed("tls.example.com", "tls.example.com")
    certificate, key = pem.split("-----BEGIN PRIVATE KEY-----")
    data = {"tls.crt": certificate, "tls.key": f"-----BEGIN PRIVATE KEY-----{key}"}
    encoded = {name: base64.b64encode(text.encode()).decode() for name, text in data.items()}
    lab.apply(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "cert"},
            "type": "kubernetes.io/tls",
            "data": encoded,
        },
        ingress(
            "tls",
            ("tls.example.com", "/", "Prefix", "one"),
            tls=[{"hosts": ["tls.example.com"], "secretName": "cert"}],
        ),
    )
    assert answer(lab, "https://tls.example.com/") == (200, "one")
    assert answer(lab, "http://tls.example.com/")[0] == 308
    address = lab.resolve("client", "tls.example.com", "A").addresses[0]
    context = ssl.create_default_context(cadata=certificate)
    sock = lab.fabric.namespace("client").socket(2, 1)
    sock.connect((address, 443))
    with context.wrap_socket(sock, server_hostname="tls.example.com") as secured:
        assert secured.getpeercert()["subject"] == ((("commonName", "tls.example.com"),),)


def test_a_default_backend_and_a_service_that_is_missing(lab: Cluster) -> None:
    backend = {"service": {"name": "two", "port": {"number": 80}}}
    lab.apply(
        ingress("all", ("", "/one", "Prefix", "one"), defaultBackend=backend),
        ingress("lost", ("lost.example.com", "/", "Prefix", "nobody")),
    )
    assert answer(lab, "http://whatever.example.net/") == (200, "two")
    assert answer(lab, "http://whatever.example.net/one") == (200, "one")
    assert answer(lab, "http://lost.example.com/")[0] == 503
    assert events(lab, "lost", "ServiceNotFound") == ["service default/nobody does not exist"]


def test_a_refused_ingress_gives_an_event_and_what_ran_goes_on(lab: Cluster) -> None:
    regex = {"nginx.ingress.kubernetes.io/use-regex": "true"}
    lab.apply(ingress("right", ("right.example.com", "/", "Prefix", "one")))
    lab.apply(
        ingress("wrong", ("wrong.example.com", "/a", "Prefix", "two"), annotations=regex),
    )
    assert answer(lab, "http://wrong.example.com/a") == (200, "two")
    lab.apply(
        ingress(
            "wrong",
            ("wrong.example.com", "/a(", "ImplementationSpecific", "one"),
            annotations=regex,
        )
    )
    (message,) = events(lab, "wrong", "Rejected")
    assert "missing closing parenthesis" in message
    assert answer(lab, "http://wrong.example.com/a") == (200, "two")
    assert answer(lab, "http://right.example.com/") == (200, "one")
    lab.apply(
        ingress(
            "wrong",
            ("wrong.example.com", "/b(c)?", "ImplementationSpecific", "one"),
            annotations=regex,
        )
    )
    assert answer(lab, "http://wrong.example.com/bc") == (200, "one")


def test_exact_and_prefix_share_a_path_of_one_host(lab: Cluster) -> None:
    lab.apply(ingress("whole", ("both.example.com", "/a", "Exact", "one")))
    lab.apply(ingress("below", ("both.example.com", "/a", "Prefix", "two")))
    assert answer(lab, "http://both.example.com/a") == (200, "one")
    assert answer(lab, "http://both.example.com/a/b") == (200, "two")


def test_a_secret_that_goes_bad_and_is_mended_stops_nothing_else(lab: Cluster) -> None:
    def secret(pem: str) -> dict[str, Any]:
        data = {"tls.crt": pem, "tls.key": pem}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "turning"},
            "type": "kubernetes.io/tls",
            "data": {k: base64.b64encode(v.encode()).decode() for k, v in data.items()},
        }

    tls = [{"hosts": ["turning.example.com"], "secretName": "turning"}]
    rule = ("turning.example.com", "/", "Prefix", "one")
    lab.apply(secret(self_signed("turning.example.com", "turning.example.com")))
    lab.apply(ingress("turning", rule, tls=tls, annotations=NO_REDIRECT))
    lab.apply(secret("-----BEGIN CERTIFICATE-----"))
    assert len(events(lab, "turning", "BadSecret")) == 1
    lab.apply(ingress("after", ("after.example.com", "/", "Prefix", "two")))
    assert answer(lab, "http://after.example.com/") == (200, "two")
    assert answer(lab, "http://turning.example.com/") == (200, "one")


def test_its_status_and_public_name_come_and_go(lab: Cluster) -> None:
    lab.apply(ingress("named", ("named.example.com", "/", "Prefix", "one")))
    entries = lab.get("ingresses", "named")["status"]["loadBalancer"]["ingress"]
    service = lab.get("services", "ingress-nginx/ingress-nginx")
    assert [e["ip"] for e in entries] == [
        e["ip"] for e in service["status"]["loadBalancer"]["ingress"]
    ]
    assert lab.resolve("client", "named.example.com", "A").addresses == (entries[0]["ip"],)
    lab.delete(ingress("named", ("named.example.com", "/", "Prefix", "one")))
    assert lab.resolve("client", "named.example.com", "A").problem == "no such name"


def test_no_request_is_lost_while_backends_come_and_go(lab: Cluster) -> None:
    """A script of requests runs while the Deployment is scaled and Ingresses change."""
    lab.apply(ingress("busy", ("busy.example.com", "/", "Prefix", "one")))
    outcomes: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            outcomes.append(
                lab.exchange("client", "busy.example.com:80", http_path="/", timeout=5.0).status
            )

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for number in range(4):
            lab.apply(ingress(f"more{number}", (f"m{number}.example.com", "/", "Prefix", "two")))
            lab.scale("deployment/one", 3 - number % 2)
    finally:
        stop.set()
        thread.join()
    assert len(outcomes) > 10
    assert set(outcomes) <= {200}, outcomes


@pytest.mark.parametrize("plane", ["nat", "dsr", "proxy"])
def test_each_kind_of_cloud_hands_on_the_clients_address(plane: str) -> None:
    name = f"ingc-{uuid.uuid4().hex[:6]}"
    with Cluster("three_nodes", name=name, dns=True, ingress=True, cloud=plane) as lab:
        lab.apply(app("one"))
        lab.apply(ingress("app", ("app.example.com", "/", "Prefix", "one")))
        outcome = lab.exchange("client", "app.example.com:80", http_path="/")
        assert outcome.status == 200, outcome
        assert outcome.body()["forwarded"] == "203.0.113.10"


def test_nothing_of_nginx_remains(lab: Cluster) -> None:
    pod = next(p for p in lab.all_pods() if p.key.namespace == "ingress-nginx")
    lab.delete(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod.key.name, "namespace": "ingress-nginx"},
        }
    )
    lab.apply(ingress("again", ("again.example.com", "/", "Prefix", "one")))
    assert answer(lab, "http://again.example.com/") == (200, "one")
    with pytest.raises(CommandError):
        lab.fabric.namespace("client").run(["pgrep", "-f", pod.key.name])


def test_clean_finds_nginx_and_haproxy_of_a_killed_lab(tmp_path: Path) -> None:
    lab = f"kill-{uuid.uuid4().hex[:6]}"
    environment = {**os.environ, "TESTBED_RUN_DIR": str(tmp_path)}

    def testbed(*words: str) -> str:
        argv = [sys.executable, "-m", "testbed.cli.main", *words, "--lab", lab]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    testbed("up", "single_node", "--ingress", "--cloud", "proxy")
    try:
        assert {name for name, _ in programs_of(tmp_path / lab)} >= {"nginx", "haproxy"}
        (leader,) = (pid for name, pid in programs(f"--lab\0{lab}") if name != "nginx")
        os.kill(leader, signal.SIGKILL)
        testbed("clean")
        assert programs_of(tmp_path / lab) == []
        assert list(tmp_path.iterdir()) == []
    finally:
        testbed("clean", "--force")


def programs_of(directory: Path) -> list[tuple[str, int]]:
    """nginx and haproxy processes that name a lab's directory on their command line."""
    return [each for each in programs(str(directory)) if each[0] in ("nginx", "haproxy")]


def programs(words: str) -> list[tuple[str, int]]:
    """(name, process id) of the living processes with these words on their command line."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode(errors="replace")
            name = (place / "comm").read_text().strip()
        except OSError:
            continue
        if words in command:
            found.append((name, int(place.name)))
    return found
