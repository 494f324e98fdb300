"""internalTrafficPolicy: Local keeps a Service's cluster-internal traffic on the client's own node.

A logging or DNS agent that runs on every node should be asked where the client is. With
`internalTrafficPolicy: Local` the rules for the ClusterIP name only the node's own Pods. On a node
that has none the packet is dropped, not sent elsewhere: the policy promises locality, not service.

It speaks of the ClusterIP alone. Node ports, load balancers' addresses and external IPs have a
policy of their own, externalTrafficPolicy, and the two don't know each other.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import answers, served_by_only

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: agent}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  internalTrafficPolicy: Local
  selector: {app: agent}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""


@scenario("internalTrafficPolicy: Local: the client's own node, or nothing")
def internal_traffic_policy(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("agent-1", "w1", app="agent"), pod("agent-2", "w2", app="agent"))
    lab.apply(*(pod(f"caller-{number}", f"w{number}") for number in (1, 2, 3)))
    addresses = lab.service("agent").cluster_ips

    for number in (1, 2):
        with steps(f"Pods on w{number} are served by agent-{number} alone"):
            for address in addresses:
                seen = answers(lab, f"pod/caller-{number}", endpoint(address, 80))
                served_by_only(seen, f"agent-{number}")

    with steps("The packet never leaves the node, and its source stays as it is"):
        path = lab.probe("pod/caller-1", endpoint(addresses[0], 80))
        steps.show(path)
        expect(path).through("w1").delivered_to("agent-1").source_kept().not_masqueraded()
        check("w2" not in [hop.namespace for hop in path.hops], "no other node saw it")

    with steps("w3 has no agent: the packet is dropped there, though agents exist"):
        for address in addresses:
            path = lab.probe("pod/caller-3", endpoint(address, 80), timeout=0.3)
            steps.mention(path)
            expect(path).dropped(at="w3")

    with steps("The node port of w3 doesn't follow this policy: every agent answers there"):
        seen = answers(lab, "client", endpoint(lab.node_addresses("w3")[0], 30080))
        served_by_only(seen, "agent-1", "agent-2")
