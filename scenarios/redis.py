"""Redis, as tutorials do it: a Deployment, a Service `redis`, an application that knows its name.

The application's settings say redis://redis:6379 and nothing else. Debian's redis-server runs in
the Pod, redis-cli in another: the name is looked up by the C library, by the Pod's resolv.conf.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: redis}
spec:
  replicas: 1
  selector: {matchLabels: {app: redis}}
  template:
    metadata: {labels: {app: redis}}
    spec:
      containers:
      - name: redis
        image: redis:7
        ports: [{containerPort: 6379}]
        readinessProbe: {tcpSocket: {port: 6379}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: redis}
spec:
  selector: {app: redis}
  ports: [{port: 6379, targetPort: 6379}]
"""
URL = "redis://redis:6379"


@scenario("Redis by its Service's name", needs=("redis",), dns=True)
def redis(lab: Cluster, steps: Steps) -> None:
    with steps("Deployment and Service are applied; the Pod runs redis-server"):
        for line in lab.apply(MANIFEST):
            steps.note(line)
        lab.apply(pod("app", "w3"))
        wait_ready(lab)
        (server,) = lab.pods("redis")
        steps.note(f"{server.key.name} runs on {server.node_name} at {server.ips[0]}")

    with steps(f"redis-cli in another Pod: {URL}"):
        check(cli(lab, "PING") == "PONG", "PING gets PONG")
        check(cli(lab, "SET", "greeting", "hello") == "OK", "a key is set")
        check(cli(lab, "GET", "greeting") == "hello", "and read")

    with steps("What the client did: one name, one ClusterIP, one Pod"):
        found = lab.resolve("pod/app", "redis", "A")
        steps.note(str(found))
        check(found.addresses == lab.service("redis").cluster_ips, "redis is the ClusterIP")
        path = lab.probe("pod/app", "redis:6379", payload=b"PING\r\n")
        steps.show(path)
        expect(path).translated(at="w3").reached(server.key.name)

    with steps("The Pod is replaced: another address behind the same name"):
        lab.delete({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": server.key.name}})
        wait_ready(lab)
        (other,) = lab.pods("redis")
        check(other.key.name != server.key.name, f"{other.key.name} has taken over")
        check(cli(lab, "PING") == "PONG", "the application notices nothing")
        check(cli(lab, "GET", "greeting") == "", "but a cache begins empty")


def cli(lab: Cluster, *words: str) -> str:
    return lab.run("pod/app", ["redis-cli", "-u", URL, *words]).strip()


def wait_ready(lab: Cluster) -> None:
    """Let the probe's periods pass until the Pod of redis is ready, and it alone."""
    for _ in range(400):  # a loaded machine takes its time to start a program
        (endpoints, *_) = lab.endpoint_slices("redis")
        ready = [e["conditions"]["ready"] for e in endpoints.get("endpoints") or ()]
        if ready == [True]:
            return
        lab.advance(1)
    check(False, "redis becomes ready", str(ready))
