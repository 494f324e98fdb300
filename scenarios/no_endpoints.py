"""Nobody to serve: refused at once, or dropped in silence. The difference says where to look.

A Service without any ready Pod refuses connections: the node answers with an ICMP error, and
the client knows immediately. A Service that has Pods, but none on this node while a Local policy
forbids the others, drops: the client waits for its time-out. So "connection refused" points at the
Pods, a time-out at a traffic policy (or at the network).
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
  internalTrafficPolicy: Local
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""

#: What the deciding rule says (in nftables mode it is an element of a map).
NOBODY = {"iptables": "has no endpoints", "nftables": ": goto reject-chain"}
NOBODY_HERE = {"iptables": "has no local endpoints", "nftables": ": drop"}


@scenario("Nobody to serve: refused without endpoints, dropped without local ones")
def no_endpoints(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("caller", "w1"))
    clusters = [endpoint(address, 80) for address in lab.service("web").cluster_ips]
    nodes = [endpoint(address, 30080) for address in lab.node_addresses("w1")]

    with steps("There is no Pod at all: a Pod's call to the ClusterIP is refused by its node"):
        path = lab.probe("pod/caller", clusters[0])
        steps.show(path)
        expect(path).refused(at="w1").met(NOBODY[lab.options.proxy], at="w1")
        expect(lab.probe("pod/caller", clusters[1])).refused(at="w1")

    with steps("A client outside is refused at the node port, by the node that it asked"):
        for target in nodes:
            path = lab.probe("client", target)
            steps.mention(path)
            expect(path).refused(at="w1")

    lab.apply(pod("web-1", "w2", app="web"))
    with steps("A Pod runs on w2; on w1 the Local policies now drop what they refused before"):
        for source, targets in (("pod/caller", clusters), ("client", nodes)):
            for target in targets:
                path = lab.probe(source, target, timeout=0.3)
                steps.mention(path)
                expect(path).dropped(at="w1").met(NOBODY_HERE[lab.options.proxy], at="w1")

    with steps("Where the Pod is, the Service works"):
        path = lab.probe("client", endpoint(lab.node_addresses("w2")[0], 30080))
        steps.mention(path)
        expect(path).delivered_to("web-1").source_kept()

    with steps("Without the Local policies w1 serves as well"):
        policies = {"internalTrafficPolicy": "Cluster", "externalTrafficPolicy": "Cluster"}
        lab.patch("services", "web", {"spec": policies})
        for source, target in (("pod/caller", clusters[0]), ("client", nodes[0])):
            path = lab.probe(source, target)
            steps.mention(path)
            expect(path).delivered_to("web-1")
