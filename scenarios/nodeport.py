"""A NodePort Service is reached from outside on one port of every node's address.

Tutorials say that the node "forwards to the ClusterIP". No packet ever carries that address: the
node that is hit matches its own address and the node port, picks a ready endpoint of the whole
cluster, and rewrites the destination straight to the Pod. It also rewrites the source to its own
address (masquerade), so that the answer comes back through it and can be rewritten back. That is
why the Pod sees a node as its client.
"""

from testbed.cluster import Cluster
from testbed.flow import Path
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: my-app
spec:
  replicas: 3
  selector:
    matchLabels:
      app: my-app
  template:
    metadata:
      labels:
        app: my-app
    spec:
      containers:
      - name: my-app-container
        image: my-app-image
---
apiVersion: v1
kind: Service
metadata:
  name: my-nodeport-service
spec:
  type: NodePort
  selector:
    app: my-app
  ports:
    - protocol: TCP
      port: 80
      targetPort: 8080
      nodePort: 30007
"""


@scenario("NodePort: one port on every node, also on nodes without a backend")
def nodeport(lab: Cluster, steps: Steps) -> None:
    with steps("Deployment and Service are applied"):
        for line in lab.apply(MANIFEST):
            steps.note(line)
        cluster_ip = lab.service("my-nodeport-service").cluster_ips[0]

    for node in lab.node_names():
        address = lab.node_addresses(node)[0]
        with steps(f"The client hits {node} at {address}:30007"):
            path = lab.probe("client", f"{address}:30007")
            steps.show(path)
            check_each_step(lab, path, node, cluster_ip)

    with steps("One backend is left: nodes without one serve the port as well"):
        lab.scale("deployment/my-app", 1)
        (backend,) = lab.pods("my-app")
        other = next(node for node in lab.node_names() if node != backend.node_name)
        steps.note(f"{backend.key.name} runs on {backend.node_name}; the client asks {other}")
        path = lab.probe("client", f"{lab.node_addresses(other)[0]}:30007")
        steps.show(path)
        check_each_step(lab, path, other, cluster_ip)
        check(lab.node_of(path.backend) == backend.node_name, f"served on {backend.node_name}")


def check_each_step(lab: Cluster, path: Path, node: str, cluster_ip: str) -> None:
    """What every tutorial lists, each with the rule that did it."""
    seen = expect(path)
    seen.through("client", "router", node).met("my-nodeport-service", at=node)
    seen.picked_endpoint(at=node).translated(at=node).delivered_to("my-app")
    seen.never_carried(cluster_ip)
    seen.masqueraded(at=node)
    if lab.node_of(path.backend) != node:
        # To a Pod of its own, a node with a bridge speaks by the bridge's address.
        seen.source_seen(*lab.node_addresses(node))
