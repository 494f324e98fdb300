"""A LoadBalancer Service gets a public address from the cloud, on top of a NodePort.

The cloud writes the address into the Service's status. Here its load balancer takes the packet and
sends it on to the node port of one of the nodes; from there on everything is as with NodePort: the
node picks a Pod, rewrites the destination, and masquerades.
"""

from testbed.cluster import Cluster
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
  name: my-loadbalancer-service
spec:
  type: LoadBalancer
  selector:
    app: my-app
  ports:
    - protocol: TCP
      port: 80
      targetPort: 8080
"""

CLIENT_POD = """
apiVersion: v1
kind: Pod
metadata:
  name: caller
spec:
  nodeName: w1
  containers:
  - name: shell
    image: any
"""


@scenario("LoadBalancer: a public address from the cloud, in front of the nodes")
def loadbalancer(lab: Cluster, steps: Steps) -> None:
    with steps("Deployment and Service are applied; the cloud gives the Service an address"):
        for line in lab.apply(MANIFEST):
            steps.note(line)
        service = lab.service("my-loadbalancer-service")
        address = service.ingress[0].ip
        check(address.startswith("198.51.100."), f"its status has the public address {address}")
        check(service.ports[0].node_port > 0, f"it has node port {service.ports[0].node_port}")

    with steps("The client calls the public address: cloud, node, Pod"):
        path = lab.probe("client", f"{address}:80")
        steps.show(path)
        seen = expect(path).through("client", "router", "lb").translated(at="lb")
        node = next(hop.namespace for hop in path.hops if hop.namespace in lab.node_names())
        seen.met("my-loadbalancer-service", at=node).picked_endpoint(at=node).translated(at=node)
        seen.delivered_to("my-app").never_carried(service.cluster_ips[0])
        seen.masqueraded(at=node)
        if lab.node_of(path.backend) != node:
            # To a Pod of its own, a node with a bridge speaks by the bridge's address.
            seen.source_seen(*lab.node_addresses(node))

    with steps("A Pod calls the public address: its own node answers for it, without the cloud"):
        lab.apply(CLIENT_POD)
        path = lab.probe("pod/caller", f"{address}:80")
        steps.show(path)
        expect(path).translated(at="w1").masqueraded(at="w1").delivered_to("my-app")
        check("lb" not in [hop.namespace for hop in path.hops], "no packet left for the cloud")
