"""Whose address does the Pod see? It depends on the door, and hardly ever on distance.

A ClusterIP keeps a Pod's address and hides a node's. A NodePort hides everybody's, even that of a
Pod on the same node. A Pod that reaches itself through its Service sees its node. With
`externalTrafficPolicy: Local` a Pod is not external to the node it runs on. (Some Pod networks
masquerade what Pods send to other nodes; then a Pod is a stranger there. The one used here keeps
Pods' addresses inside the cluster, so another node takes it for a Pod, too.)
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check, served_by
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  externalTrafficPolicy: Cluster
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
LOCAL = {"spec": {"externalTrafficPolicy": "Local"}}


@scenario("X-05: Pod to NodePort is masqueraded even on the same node")
def claim_05_same_node_masquerade(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web", "w1", app="web"), pod("caller", "w1"))
    with steps("Caller, node and server are all on w1; the server sees w1"):
        path = lab.probe("pod/caller", f"{lab.node_addresses('w1')[0]}:30080")
        steps.show(path)
        expect(path).delivered_to("web").masqueraded(at="w1")
        expect(path).source_seen(*lab.node_addresses("w1"))


@scenario("X-06: a ClusterIP keeps a Pod's address, and not a node's")
def claim_06_cluster_ip_sources(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web", "w2", app="web"), pod("caller", "w1"))
    with steps("From a Pod: unchanged"):
        path = lab.probe("pod/caller", "svc/web")
        steps.mention(path)
        expect(path).delivered_to("web").source_kept().not_masqueraded()
    with steps("From its node: masqueraded; the source port is another one, too"):
        path = lab.probe("node/w1", "svc/web")
        steps.mention(path)
        expect(path).delivered_to("web").masqueraded(at="w1")
        expect(path).source_seen(*lab.node_addresses("w1"))


@scenario("X-08: externalTrafficPolicy Local doesn't bind Pods and the node itself")
def claim_08_local_is_for_outsiders(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web", "w1", app="web"), pod("caller", "w3"))
    lab.patch("services", "web", LOCAL)
    own = f"{lab.node_addresses('w3')[0]}:30080"
    with steps("w3 has no Pod of the Service. A client outside gets nothing from it"):
        path = lab.probe("client", own, timeout=0.3)
        steps.mention(path)
        expect(path).dropped(at="w3")
    with steps("A Pod on w3 asks w3's NodePort: it reaches the Pod on w1, with its own address"):
        path = lab.probe("pod/caller", own)
        steps.show(path)
        expect(path).delivered_to("web").translated(at="w3").source_kept()
    with steps("w3 itself asks its NodePort: the same, masqueraded"):
        path = lab.probe("node/w3", own)
        steps.mention(path)
        expect(path).delivered_to("web").masqueraded(at="w3")


@scenario("X-09: the short cut belongs to the node that decides, not to the client")
def claim_09_where_it_enters(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web", "w1", app="web"), pod("caller", "w3"))
    lab.patch("services", "web", LOCAL)
    near, far = (f"{lab.node_addresses(n)[0]}:30080" for n in ("w3", "w2"))
    with steps("The Pod on w3 asks its own node: w3 decides, short cut to w1"):
        path = lab.probe("pod/caller", near)
        steps.mention(path)
        expect(path).delivered_to("web").translated(at="w3")
    with steps("It asks w2: the packet crosses w3 untouched, and w2 decides"):
        path = lab.probe("pod/caller", far, timeout=0.3)
        steps.show(path)
        check("w3" not in path.translated_at(), "w3 has passed it on as it was")
        expect(path).translated(at="w2")
    with steps("w3's own process asks w2: for w2 that is a stranger, and w2 has no Pod"):
        path = lab.probe("node/w3", far, timeout=0.3)
        steps.mention(path)
        expect(path).dropped(at="w2")


@scenario("X-15: a Pod that reaches itself through its Service sees its node")
def claim_15_hairpin(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web", "w2", app="web"))
    with steps("The only Pod of the Service calls the Service"):
        path = lab.probe_until("pod/web", "svc/web", served_by("web"))
        steps.show(path)
        expect(path).masqueraded(at="w2").source_seen(*lab.node_addresses("w2"))
