"""A NodePort also works from inside: from Pods, from the nodes, on nodes without a backend.

Whoever asks a node's address at the node port meets the same rules as a client outside, and with
externalTrafficPolicy Cluster is masqueraded like one, even on the way to a Pod next door. The
ClusterIP would have kept the address.

Localhost is special. In iptables mode 127.0.0.1 counts as a node address, which takes a sysctl
(route_localnet) that lets loopback addresses leave the machine. There is no such thing for ::1, and
nftables mode leaves localhost alone.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""


@scenario("NodePort from inside: Pods, nodes, localhost")
def nodeport_inside(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w1", app="web"))
    lab.apply(pod("near", "w1"), pod("far", "w2"))
    own = {name: lab.node_addresses(name) for name in lab.node_names()}

    for name, node in (("far", "w2"), ("near", "w1")):
        with steps(f"Pod {name} asks its own node {node}: served, and masqueraded"):
            for address in own[node]:
                path = lab.probe(f"pod/{name}", endpoint(address, 30080))
                steps.mention(path)
                seen = expect(path).delivered_to("web-1").translated(at=node)
                seen.masqueraded(at=node)

    with steps("At the ClusterIP the same Pod keeps its address"):
        path = lab.probe("pod/far", endpoint(lab.service("web").cluster_ips[0], 80))
        steps.mention(path)
        expect(path).delivered_to("web-1").source_kept()

    with steps("Node w2, which has no backend, asks itself"):
        path = lab.probe("node/w2", endpoint(own["w2"][0], 30080))
        steps.show(path)
        expect(path).translated(at="w2").delivered_to("web-1").source_seen(*own["w2"])

    with steps("A client outside asks w3, which has no backend either"):
        for address in own["w3"]:
            path = lab.probe("client", endpoint(address, 30080))
            steps.mention(path)
            expect(path).delivered_to("web-1").masqueraded(at="w3").source_seen(*own["w3"])

    if lab.options.proxy == "iptables":
        with steps("Localhost on w2 works, and the Pod sees the node"):
            path = lab.probe("node/w2", "127.0.0.1:30080")
            steps.show(path)
            expect(path).delivered_to("web-1").masqueraded(at="w2").source_seen(*own["w2"])
    else:
        with steps("Localhost on w2 has nobody listening: no rule is meant for it"):
            path = lab.probe("node/w2", "127.0.0.1:30080")
            steps.mention(path)
            expect(path).not_delivered()

    with steps("IPv6's localhost never works"):
        path = lab.probe("node/w2", "[::1]:30080")
        steps.mention(path)
        expect(path).not_delivered()
