"""A ClusterIP Service gives a set of Pods one address inside the cluster.

The address belongs to nobody: no interface has it. The node where a packet for it starts picks a
ready endpoint and rewrites the destination (DNAT), so the packet leaves that node already addressed
to a Pod. The source stays as it is: the Pod sees who really called. From outside the cluster there
is no way to the address at all.
"""

from testbed.api.status import StatusError
from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check

# As tutorials print it. The real API server refuses it, because it has no spec.selector.
TUTORIAL_DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: my-app
spec:
  replicas: 3
  template:
    metadata:
      labels:
        app: my-app
    spec:
      containers:
      - name: my-app-container
        image: my-app-image
"""

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
  name: my-clusterip-service
spec:
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

REFUSAL = [
    "spec.selector: Required value",
    'spec.template.metadata.labels: Invalid value: {"app":"my-app"}: '
    "`selector` does not match template `labels`",
]


@scenario("ClusterIP: one address inside the cluster, for the Pods behind it")
def clusterip(lab: Cluster, steps: Steps) -> None:
    with steps("The Deployment as tutorials print it has no selector: it is refused"):
        causes: list[str] = []
        try:
            lab.apply(TUTORIAL_DEPLOYMENT)
        except StatusError as error:
            causes = [f"{cause['field']}: {cause['message']}" for cause in error.details["causes"]]
        for cause in causes:
            steps.note(cause)
        check(causes == REFUSAL, "refused in the API server's words", "; ".join(causes))

    with steps("Deployment and Service are applied; the Service gets an address"):
        for line in lab.apply(MANIFEST, CLIENT_POD):
            steps.note(line)
        address = lab.service("my-clusterip-service").cluster_ips[0]
        check(address.startswith("10.96."), f"ClusterIP {address}")

    target = f"{address}:80"
    with steps("A Pod on w1 calls it, and a Pod on another node answers"):
        path = lab.probe_until(
            "pod/caller", target, lambda p: lab.node_of(p.backend) not in ("", "w1")
        )
        steps.show(path)
        seen = expect(path).met("my-clusterip-service", at="w1").picked_endpoint(at="w1")
        seen.translated(at="w1").delivered_to("my-app").source_kept().not_masqueraded()

    with steps("The same call can also be answered on the same node"):
        path = lab.probe_until("pod/caller", target, lambda p: lab.node_of(p.backend) == "w1")
        steps.show(path)
        expect(path).delivered_to("my-app").source_kept().not_masqueraded()

    with steps("From outside the cluster it can't be reached"):
        path = lab.probe("client", target)
        steps.show(path)
        expect(path).unreachable()
