"""The real kubectl: recorded sessions replayed, and the commands that they don't hold."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.api.resources import by_kind
from tests.e2e.control.kubectl import GOLDEN, Kubectl, masked, steps
from tests.unit.control.apiserver.live import live_server

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl isn't installed")

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: my-app, labels: {app: my-app}}
spec:
  replicas: 3
  selector: {matchLabels: {app: my-app}}
  template:
    metadata: {labels: {app: my-app}}
    spec:
      containers:
      - {name: web, image: nginx, ports: [{containerPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: my-service}
spec:
  selector: {app: my-app}
  ports: [{protocol: TCP, port: 80, targetPort: 8080}]
"""
#: The API server's own Service, as its controllers keep it.
KUBERNETES = """
apiVersion: v1
kind: Service
metadata: {name: kubernetes, labels: {component: apiserver, provider: kubernetes}}
spec: {clusterIP: 10.96.0.1, ports: [{name: https, port: 443, targetPort: 6443}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kubernetes, labels: {kubernetes.io/service-name: kubernetes}}
addressType: IPv4
ports: [{name: https, port: 6443}]
endpoints: [{addresses: [10.200.0.1], conditions: {ready: true}}]
"""
#: Commands of the first recording that print something else here, and why.
ELSEWHERE = {
    "explain service.spec.internalTrafficPolicy": "recorded against a server without OpenAPI"
}


@pytest.fixture
def kubectl(tmp_path: Path) -> Iterator[Kubectl]:
    with live_server(tmp_path / "run") as live:
        home = tmp_path / "home"
        home.mkdir()
        (home / "app.yaml").write_text(APP)
        made = Kubectl(live, home)
        put(made, KUBERNETES)
        yield made


def put(kubectl: Kubectl, text: str) -> None:
    """Create the objects in `text`, their status too, as controllers and kubelets would."""
    registry = kubectl.live.registry
    for document in yaml.safe_load_all(text):
        kind = by_kind(document["apiVersion"], document["kind"])
        assert kind is not None
        namespace = "default" if kind.namespaced else ""
        made = registry.create(kind, document, namespace=namespace).document
        if "status" in document:
            sent = {**made, "status": document["status"]}
            name = made["metadata"]["name"]
            registry.update(kind, namespace, name, sent, subresource="status")


def replay(kubectl: Kubectl, name: str, before: dict[str, Any]) -> list[str]:
    """Run a recording; returns what differs. `before` holds calls to make before a command."""
    differences = []
    for step in steps(name):
        if step.command in before:
            before[step.command]()
        if step.command in ELSEWHERE:
            continue
        result = kubectl.run(arguments(step.command))
        # The recordings hold both streams; which came first was chance.
        error, output = masked(result.error), masked(result.output)
        printed = output + error if list(step.lines) == output + error else error + output
        if (printed, result.code) != (list(step.lines), step.code):
            differences.append(
                f"$ kubectl {step.command}\n--- recorded [exit {step.code}]\n"
                + "\n".join(step.lines)
                + f"\n--- printed [exit {result.code}]\n"
                + "\n".join(printed)
            )
    return differences


def arguments(command: str) -> list[str]:
    """The recordings show arguments without their quotes."""
    return [part.replace("'", "") for part in shlex.split(command.replace('"', "'\"'"))]


def test_the_recorded_session_prints_the_same_lines(kubectl: Kubectl) -> None:
    def endpoints() -> None:
        put(kubectl, "{apiVersion: v1, kind: Endpoints, metadata: {name: my-service}}")

    found = replay(kubectl, "kubectl-session.txt", {"get endpoints my-service": endpoints})
    assert not found, "\n\n".join(found)


def test_the_recorded_objects_print_the_same_lines(tmp_path: Path) -> None:
    with live_server(tmp_path / "run") as live:
        home = tmp_path / "home"
        home.mkdir()
        kubectl = Kubectl(live, home, controllers=False)
        put(kubectl, KUBERNETES)
        put(kubectl, (GOLDEN / "kubectl-objects.yaml").read_text())
        found = replay(kubectl, "kubectl-objects.txt", {})
        assert not found, "\n\n".join(found)


def test_explain_reads_the_schema(kubectl: Kubectl) -> None:
    shown = kubectl("explain service.spec.internalTrafficPolicy")
    assert "FIELD: internalTrafficPolicy <string>" in shown.output
    assert "clusterIPs\t<[]string>" in kubectl("explain service.spec").output


def test_client_side_validation_names_the_unknown_field(kubectl: Kubectl) -> None:
    wrong = APP.replace("replicas:", "replicaz:")
    refused = kubectl("apply -f -", wrong)
    assert refused.code == 1
    assert 'unknown field "spec.replicaz"' in refused.error


def test_server_side_apply_takes_over_from_client_side_apply(kubectl: Kubectl) -> None:
    assert kubectl("apply -f app.yaml").code == 0
    before = kubectl("get svc my-service -o jsonpath={.spec}").output
    applied = kubectl("apply --server-side -f app.yaml")
    assert applied.output.split("\n")[:2] == [
        "deployment.apps/my-app serverside-applied",
        "service/my-service serverside-applied",
    ]
    assert kubectl("get svc my-service -o jsonpath={.spec}").output == before
    other = APP.replace("replicas: 3", "replicas: 2")
    refused = kubectl("apply --server-side --field-manager=other -f -", other)
    assert refused.code == 1
    assert 'conflict with "kubectl": .spec.replicas' in refused.error
    forced = kubectl("apply --server-side --force-conflicts --field-manager=other -f -", other)
    assert forced.code == 0
    assert kubectl("get deploy my-app -o jsonpath={.spec.replicas}").output == "2"


def test_diff_shows_what_apply_would_change(kubectl: Kubectl) -> None:
    kubectl("apply -f app.yaml")
    assert kubectl("diff -f app.yaml").code == 0
    changed = kubectl("diff -f -", APP.replace("replicas: 3", "replicas: 2"))
    assert changed.code == 1
    assert {"-  replicas: 3", "+  replicas: 2"} <= set(changed.output.splitlines())


def test_edit_writes_what_the_editor_left(kubectl: Kubectl) -> None:
    kubectl("apply -f app.yaml")
    edited = kubectl("edit deploy my-app", EDITOR="sed -i s/nginx/busybox/")
    assert edited.output == "deployment.apps/my-app edited\n"
    image = "get deploy my-app -o jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl(image).output == "busybox"


def test_get_all_finds_what_the_deployment_made(kubectl: Kubectl) -> None:
    kubectl("apply -f app.yaml")
    shown = kubectl("get all -A").output
    for start in ("service/my-service", "deployment.apps/my-app", "replicaset.apps/my-app-"):
        assert f"default     {start}" in shown or f"default  {start}" in " ".join(shown.split(" "))
    assert kubectl("get pods -l app=my-app -o name").output.count("pod/my-app-") == 3


def test_rollouts_are_watched_undone_restarted_and_paused(kubectl: Kubectl) -> None:
    kubectl("apply -f app.yaml")
    late = kubectl("rollout status deployment/my-app --timeout=1s")
    assert "0 of 3 updated replicas are available" in late.output
    assert kubectl("set image deployment/my-app web=busybox").code == 0
    history = kubectl("rollout history deployment/my-app").output
    assert history.splitlines()[1:4] == [
        "REVISION  CHANGE-CAUSE",
        "1         <none>",
        "2         <none>",
    ]
    assert (
        kubectl("rollout undo deployment/my-app").output == "deployment.apps/my-app rolled back\n"
    )
    image = "get deploy my-app -o jsonpath={.spec.template.spec.containers[0].image}"
    assert kubectl(image).output == "nginx"
    for verb, done in (("restart", "restarted"), ("pause", "paused"), ("resume", "resumed")):
        said = kubectl(f"rollout {verb} deployment/my-app").output
        assert said == f"deployment.apps/my-app {done}\n"


def test_wait_sees_a_condition_and_a_deletion(kubectl: Kubectl) -> None:
    kubectl("apply -f app.yaml")
    waited = kubectl("wait --for=condition=Available deployment/my-app --timeout=1s")
    assert (waited.code, "timed out" in waited.error) == (1, True)
    met = kubectl("wait --for=jsonpath={.spec.replicas}=3 deployment/my-app --timeout=5s")
    assert met.output == "deployment.apps/my-app condition met\n"
    kubectl("delete svc my-service --wait=false")
    assert kubectl("wait --for=delete svc/my-service --timeout=5s").code == 0


def test_a_watch_prints_rows_as_objects_change(kubectl: Kubectl) -> None:
    kubectl("apply -f app.yaml")
    watched = kubectl("get svc -w --request-timeout=1s")
    assert watched.output.splitlines()[0].split()[:3] == ["NAME", "TYPE", "CLUSTER-IP"]
    assert "my-service" in watched.output


def test_access_reviews_say_yes(kubectl: Kubectl) -> None:
    assert kubectl("auth can-i create services").output == "yes\n"
    assert "kubernetes-admin" in kubectl("auth whoami").output


def test_objects_that_kubectl_sends_as_protobuf_arrive_whole(kubectl: Kubectl) -> None:
    for command in (
        "create deployment d --image=nginx --replicas=2 --port=80",
        "create configmap c --from-literal=key=value",
        "create secret generic s --from-literal=key=value",
        "create serviceaccount a",
        "create namespace n",
        "create ingress i --rule=example.com/x*=my-service:80",
        "create service loadbalancer l --tcp=80:http",
    ):
        made = kubectl(command)
        assert (made.code, made.output.endswith(" created\n")) == (0, True), made.text
    shown = kubectl("get deploy d -o jsonpath={.spec.replicas},{..containerPort},{..image}").output
    assert shown == "2,80,nginx"
    assert kubectl("get cm c -o jsonpath={.data.key}").output == "value"
    assert kubectl("get secret s -o jsonpath={.data.key}").output == "dmFsdWU="
    assert kubectl("get svc l -o jsonpath={.spec.ports[0].targetPort}").output == "http"
    rule = "{.spec.rules[0].host}{.spec.rules[0].http.paths[0].backend.service.name}"
    assert kubectl(f"get ing i -o jsonpath={rule}").output == "example.commy-service"
    assert kubectl("delete namespace n --timeout=10s").code == 0


def test_resources_are_listed_with_their_short_names(kubectl: Kubectl) -> None:
    lines = [line.split() for line in kubectl("api-resources").output.splitlines()]
    assert ["services", "svc", "v1", "true", "Service"] in lines
    assert ["deployments", "deploy", "apps/v1", "true", "Deployment"] in lines
    assert ["endpointslices", "discovery.k8s.io/v1", "true", "EndpointSlice"] in lines
