"""externalIPs: a Service answers at addresses that its author wrote down.

Every node treats such an address like one of the Service's own. Kubernetes does nothing to bring
packets for it to a node: that is the network's business, and here one route on the router. Nobody
checks whose address it is, either. A Service can take over traffic that Pods send to any address
in the world, which is why clusters often forbid the field.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  externalIPs: [198.18.0.7, "2001:db8:198::7"]
  ports: [{port: 80, targetPort: 8080}]
"""


@scenario("externalIPs: an address that the author chose")
def external_ips(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w2", app="web"), pod("caller", "w1"))

    with steps("Pods reach it at once: their own node knows the address, and masquerades"):
        for target in ("198.18.0.7:80", "[2001:db8:198::7]:80"):
            path = lab.probe("pod/caller", target)
            steps.mention(path)
            expect(path).translated(at="w1").masqueraded(at="w1").delivered_to("web-1")

    with steps("From outside nothing leads to a node yet"):
        path = lab.probe("client", "198.18.0.7:80")
        steps.mention(path)
        expect(path).unreachable()

    with steps("A route on the router brings the packets to w1; w1 does the rest"):
        w1 = lab.node_addresses("w1")
        lab.net["router"].cmd(f"ip route add 198.18.0.7 via {w1[0]}")
        lab.net["router"].cmd(f"ip -6 route add 2001:db8:198::7 via {w1[1]}")
        path = lab.probe("client", "198.18.0.7:80")
        steps.show(path)
        expect(path).translated(at="w1").masqueraded(at="w1").delivered_to("web-1")
        path = lab.probe("client", "[2001:db8:198::7]:80")
        steps.mention(path)
        expect(path).masqueraded(at="w1").delivered_to("web-1")

    foreign = "203.0.113.10:80"
    with steps("A Pod calls a machine outside: its packets go there"):
        path = lab.probe("pod/caller", foreign)
        steps.mention(path)
        expect(path).reached("client")

    with steps("The Service claims that machine's address: the same call ends in its Pod"):
        lab.patch("services", "web", {"spec": {"externalIPs": ["203.0.113.10"]}})
        path = lab.probe("pod/caller", foreign)
        steps.mention(path)
        expect(path).delivered_to("web-1").translated(at="w1")
