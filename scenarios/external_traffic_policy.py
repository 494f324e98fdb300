"""externalTrafficPolicy decides which Pods serve traffic from outside, and whose address they see.

With `Cluster`, the default, a node hands a connection to any Pod of the Service. That Pod may be on
another node, and its answer must come back through the first one, so the node puts its own address
in the place of the client's (masquerade). The client's address is lost.

With `Local` a node uses only Pods of its own, and keeps the client's address. A node without such a
Pod drops the connection: a load balancer in front must know which nodes to ask. Pods, and the
nodes themselves, are not "external": through their own node they still reach every Pod.

A node knows Pods by their addresses, also those of other nodes. A Pod that asks another node's port
is treated as that node's own, and its luck depends on the Pod that is picked.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check, picked, served_by
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import answers, served_by_only

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Cluster
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""

#: Who gets no answer has waited long enough after this time.
HASTE = {"timeout": 0.3}


@scenario("externalTrafficPolicy: any Pod with masquerade, or local Pods with the client's address")
def external_traffic_policy(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w1", app="web"), pod("web-2", "w2", app="web"))
    lab.apply(pod("caller", "w3"))
    first, _, bare = (endpoint(lab.node_addresses(n)[0], 30080) for n in ("w1", "w2", "w3"))

    with steps("Cluster: w1 may use the Pod on w2, and then hides the client from it"):
        path = lab.probe_until("client", first, served_by("web-2"))
        steps.show(path)
        expect(path).masqueraded(at="w1").source_seen(*lab.node_addresses("w1"))

    with steps(
        "Cluster: a local Pod doesn't see the client's address either; IPv6 is no different"
    ):
        path = lab.probe_until("client", first, served_by("web-1"))
        steps.mention(path)
        expect(path).masqueraded(at="w1").source_seen(*lab.node_addresses("w1"))
        path = lab.probe("client", endpoint(lab.node_addresses("w1")[1], 30080))
        steps.mention(path)
        expect(path).delivered_to("web").masqueraded(at="w1")

    lab.patch("services", "web", {"spec": {"externalTrafficPolicy": "Local"}})
    for node, name in (("w1", "web-1"), ("w2", "web-2")):
        with steps(f"Local: {node} uses its own Pod only, which sees the client's address"):
            for address in lab.node_addresses(node):
                seen = answers(lab, "client", endpoint(address, 30080))
                served_by_only(seen, name)
                path = lab.probe("client", endpoint(address, 30080))
                steps.mention(path)
                expect(path).delivered_to(name).source_kept().not_masqueraded()

    with steps("Local: w3 has no Pod of the Service and drops the packet without a word"):
        path = lab.probe("client", bare, timeout=0.3)
        steps.show(path)
        expect(path).dropped(at="w3")

    with steps("A Pod on w3 isn't external: its own node gives it any Pod, and keeps its address"):
        seen = answers(lab, "pod/caller", bare)
        served_by_only(seen, "web-1", "web-2")
        path = lab.probe("pod/caller", bare)
        steps.mention(path)
        expect(path).delivered_to("web").source_kept().translated(at="w3")

    with steps(
        "The same Pod asks w1. To w1 it looks like a Pod, so any Pod may be picked: web-1 is fine"
    ):
        path = lab.probe_until("pod/caller", first, served_by("web-1"), **HASTE)
        steps.mention(path)
        expect(path).delivered_to("web-1").source_kept()

    with steps("If w1 picks web-2, the answer goes home past w1: nobody knows it, it is lost"):
        path = lab.probe_until("pod/caller", first, picked("web-2"), **HASTE)
        steps.show(path)
        expect(path).translated(at="w1").not_masqueraded().dropped()
        check(path.verdict.direction == "reply", "it was the answer that got lost")
