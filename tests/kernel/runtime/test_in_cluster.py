"""Programs in Pods that call the API server as their ServiceAccount, through Service kubernetes."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster
from tests.kernel.runtime.conftest import Kubectl
from tests.kernel.runtime.test_pods import until
from tests.kernel.runtime.test_volumes import sh

pytestmark = pytest.mark.kernel

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
#: What client libraries do in a Pod (load_incluster_config), with the standard library alone.
PROGRAM = """\
import json, os, ssl, urllib.request
place = "/var/run/secrets/kubernetes.io/serviceaccount"
read = lambda name: open(f"{place}/{name}").read()
host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
url = f"https://{host}:{port}/api/v1/namespaces/{read('namespace')}/pods"
asked = urllib.request.Request(url, headers={"Authorization": "Bearer " + read("token")})
trust = ssl.create_default_context(cadata=read("ca.crt"))
with urllib.request.urlopen(asked, context=trust) as answer:
    print(url, *sorted(pod["metadata"]["name"] for pod in json.load(answer)["items"]), flush=True)
"""
MANIFEST = """\
apiVersion: v1
kind: Namespace
metadata: {name: team}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: quiet, namespace: team}
automountServiceAccountToken: false
---
apiVersion: v1
kind: Pod
metadata: {name: asker, namespace: team}
spec:
  containers:
  - {name: c, image: python, command: [sh, -c, 'python3 -c "$PROGRAM"; sleep 1000'], env: [%s]}
---
apiVersion: v1
kind: Pod
metadata: {name: without, namespace: team}
spec:
  automountServiceAccountToken: false
  containers: [{name: c, image: busybox, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: quiet, namespace: team}
spec:
  serviceAccountName: quiet
  containers: [{name: c, image: busybox, command: [sleep, "1000"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: special, namespace: team}
spec:
  serviceAccountName: quiet
  containers:
  - name: c
    image: busybox
    command: [sleep, "1000"]
    volumeMounts: [{name: token, mountPath: /vault}]
  volumes:
  - name: token
    projected:
      sources: [{serviceAccountToken: {path: jwt, audience: vault, expirationSeconds: 600}}]
"""


@pytest.fixture(scope="module")
def team(kubectl: Kubectl) -> Iterator[Kubectl]:
    manifest = MANIFEST % json.dumps({"name": "PROGRAM", "value": PROGRAM})
    done = kubectl("apply", "-f", "-", input=manifest)
    assert done.returncode == 0, done.stderr

    def in_team(*words: str, input: str = "") -> object:
        return kubectl("-n", "team", *words, input=input)

    assert until(lambda: kubectl("-n", "team", "get", "pods").stdout.count("Running") == 4)
    yield in_team  # type: ignore[misc]
    kubectl("delete", "namespace", "team", "--wait=false")


def claims(token: str) -> dict[str, object]:
    text = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return found


def test_a_program_in_a_pod_lists_pods_as_its_service_account(team: Kubectl) -> None:
    expected = "https://10.96.0.1:443/api/v1/namespaces/team/pods asker quiet special without\n"
    assert until(lambda: team("logs", "asker").stdout == expected), team("logs", "asker").stdout


def test_the_token_is_that_of_the_account_and_of_the_pod(lab: Cluster, team: Kubectl) -> None:
    assert sh(team, f"ls {PLACE}; cat {PLACE}/namespace", name="asker").split() == [
        "ca.crt",
        "namespace",
        "token",
        "team",
    ]
    token = sh(team, f"cat {PLACE}/token", name="asker")
    said = json.loads(team("--token", token, "auth", "whoami", "-o", "json").stdout)
    assert said["status"]["userInfo"]["username"] == "kubernetes-admin"  # the certificate wins
    assert lab.core.api is not None
    user = lab.core.api.tokens.user(token)
    assert user is not None
    assert user.name == "system:serviceaccount:team:default"
    assert user.extra["authentication.kubernetes.io/pod-name"] == ("asker",)
    assert lab.core.api.tokens.user(token[:-8] + "AAAAAAAA") is None


def test_the_stored_pod_is_as_its_user_wrote_it(team: Kubectl) -> None:
    stored = json.loads(team("get", "pod", "asker", "-o", "json").stdout)
    assert "volumes" not in stored["spec"]
    assert "volumeMounts" not in stored["spec"]["containers"][0]


@pytest.mark.parametrize("name", ["without", "quiet"])
def test_a_pod_or_an_account_may_refuse_the_token(team: Kubectl, name: str) -> None:
    assert "No such file" in sh(team, f"ls {PLACE}", name=name)


def test_a_token_for_somebody_else_says_so_and_is_renewed(lab: Cluster, team: Kubectl) -> None:
    first = sh(team, "cat /vault/jwt", name="special")
    said = claims(first)
    assert said["aud"] == ["vault"]
    assert said["exp"] - said["iat"] == 600  # type: ignore[operator]
    assert said["sub"] == "system:serviceaccount:team:quiet"
    assert lab.core.api is not None
    assert lab.core.api.tokens.user(first) is None  # not for the API server
    assert lab.core.api.tokens.user(first, "vault") is not None
    lab.advance(500)
    assert sh(team, "cat /vault/jwt", name="special") != first


def test_kubectl_makes_tokens(lab: Cluster, team: Kubectl) -> None:
    token = team("create", "token", "quiet", "--duration=1h").stdout.strip()
    assert lab.core.api is not None
    user = lab.core.api.tokens.user(token)
    assert user is not None
    assert user.name == "system:serviceaccount:team:quiet"
    lab.advance(3601)
    assert lab.core.api.tokens.user(token) is None
    assert 'serviceaccounts "nobody" not found' in team("create", "token", "nobody").stderr
    refused = team("create", "token", "quiet", "--duration=1m").stderr
    assert "may not specify a duration less than 10 minutes" in refused


def test_a_token_ends_with_its_pod(lab: Cluster, team: Kubectl) -> None:
    token = sh(team, f"cat {PLACE}/token", name="asker")
    team("delete", "pod", "asker", "--force")
    assert until(lambda: "not found" in team("get", "pod", "asker").stderr)
    assert lab.core.api is not None
    assert lab.core.api.tokens.user(token) is None


def test_a_missing_account_keeps_the_pod_waiting(team: Kubectl) -> None:
    manifest = MANIFEST.split("---\n")[4].replace("quiet", "nobody")
    team("apply", "-f", "-", input=manifest)
    told = 'failed to fetch token: serviceaccounts "nobody" not found'
    assert until(lambda: told in team("describe", "pod", "nobody").stdout)
    team("create", "serviceaccount", "nobody")
    assert until(lambda: "Running" in team("get", "pod", "nobody").stdout)
