"""A node fails. Its Pods stay in the Service until the control plane has lost patience.

Nobody tells the other nodes that a machine has died; its kubelet just falls silent. For fifty
seconds the cluster waits. During that time the dead node's Pods are still endpoints, and a part of
all new connections is sent to them and lost. Then the node counts as unreachable, its Pods as not
ready, and the proxies leave them out. Five minutes later the Pods are given up, and the Deployment
makes new ones elsewhere.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.traffic import answers, served_by_only, told

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: echo}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""


@scenario("A node fails: lost connections for fifty seconds, then none")
def node_failure(lab: Cluster, steps: Steps) -> None:
    lab.apply(MANIFEST)
    target = f"{lab.node_addresses('w1')[0]}:30080"
    where = {each.key.name: each.node_name for each in lab.pods("web")}
    (dead,) = (name for name, node in where.items() if node == "w3")

    with steps("Three Pods on three nodes, all serve"):
        seen = answers(lab, "client", target)
        served_by_only(seen, *where)

    with steps("w3 fails. Its Pod is still an endpoint: what w1 sends there is lost"):
        lab.stop_node("w3")
        path = lab.probe_until(
            "client", target, lambda p: p.verdict.kind != "delivered", timeout=0.2
        )
        steps.show(path)
        expect(path).translated(at="w1").not_delivered()
        seen = answers(lab, "client", target, 20, timeout=0.05)
        steps.note(f"of 20 connections: {told(seen)}")
        check(dead not in seen, f"{dead} answers nobody", told(seen))

    with steps("51 seconds later the node counts as unreachable, its Pod is out of the Service"):
        lab.advance(51)
        ready = {
            entry["targetRef"]["name"]: entry["conditions"]["ready"]
            for each in lab.endpoint_slices("web")
            for entry in each["endpoints"]
        }
        check(ready[dead] is False, f"{dead} isn't ready any more", str(ready))
        seen = answers(lab, "client", target, source_ports=range(61000, 61040))
        served_by_only(seen, *(name for name in where if name != dead))

    with steps("Five minutes later the Deployment has replaced it"):
        lab.advance(301)
        running = {p.key.name: p.node_name for p in lab.pods("web") if not p.terminating}
        new = [name for name in running if name not in where]
        check(len(running) == 3 and len(new) == 1, f"{new[0]} runs on {running[new[0]]}")
        seen = answers(lab, "client", target, source_ports=range(61100, 61140))
        served_by_only(seen, *running)

    with steps("w3 comes back and takes traffic at its node port again"):
        lab.start_node("w3")
        path = lab.probe("client", f"{lab.node_addresses('w3')[0]}:30080")
        steps.mention(path)
        expect(path).delivered_to("web")
        check(dead not in {each.key.name for each in lab.pods("web")}, f"{dead} is gone")
