"""A Pod moves to another node while a client talks to it: the connection breaks, the name doesn't.

Pods don't move; one is deleted and another one, with another address, starts elsewhere. What stays
is the Service. A connection that is open leads to the old address and ends; the next one finds the
new Pod, without anything having changed for the client.
"""

import socket

from testbed.api.documents import Document
from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import Traffic

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""


def deployment(node: str) -> Document:
    """One replica that must run on `node`."""
    labels = {"app": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "nodeSelector": {"kubernetes.io/hostname": node},
                    "containers": [{"name": "app", "image": "echo"}],
                },
            },
        },
    }


@scenario("A Pod moves to another node in the middle of a conversation", dns=True)
def moved_pod(lab: Cluster, steps: Steps) -> None:
    with steps("A Pod on w1, a Service in front of it, a client on w3"):
        lab.apply(SERVICE, deployment("w1"), pod("caller", "w3"))
        (before,) = lab.pods("web")
        address = lab.service("web").cluster_ips[0]
        path = lab.probe("pod/caller", "web:80")
        steps.mention(path)
        expect(path).delivered_to(before.key.name).through("w3", "w1")

    with steps("A client opens a connection and keeps it; others call again and again"):
        sock = lab.fabric.namespace("default.caller").socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.settimeout(2.0)
        sock.connect((address, 80))
        sock.sendall(b"hello\n")
        check(before.key.name in sock.recv(4096).decode(), "the Pod on w1 answers it")
        with Traffic(lab, "pod/caller", f"{address}:80", timeout=2.0) as traffic:
            lab.apply(deployment("w2"))
            lab.settle()
        (after,) = (p for p in lab.pods("web") if p.key.name != before.key.name)
        check(after.node_name == "w2", f"{after.key.name} runs on w2 at {after.ips[0]}")

    with steps("The open connection is over: it belonged to the old address"), sock:
        check(ended(sock), "nothing more comes by it")

    with steps("New connections find the new Pod, under the name and address they know"):
        path = lab.probe("pod/caller", "web:80")
        steps.show(path)
        expect(path).delivered_to(after.key.name).through("w3", "w2")
        check(lab.service("web").cluster_ips[0] == address, "the ClusterIP is the same")
        failed = len(traffic.failures)
        steps.note(f"{sum(traffic.counts.values())} calls meanwhile, {failed} not answered")


def ended(sock: socket.socket) -> bool:
    """Whether a connection is closed, reset, or leads nowhere any more."""
    try:
        sock.sendall(b"again\n")
        return not sock.recv(4096)
    except OSError:
        return True
