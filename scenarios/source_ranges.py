"""loadBalancerSourceRanges lists who may use a load balancer's address. Who isn't in it is dropped.

Two places enforce it. The cloud's load balancer filters what comes from outside; the nodes filter
what they see with the load balancer's address as its destination: packets of Pods, for which a node
answers without the cloud, and those that a cloud hands on untranslated.

Two things surprise. The filter guards the load balancer's address only: the node port behind it
stays open to everybody. And it holds for Pods as well: they need their own range in the list.
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
  type: LoadBalancer
  selector: {app: web}
  loadBalancerSourceRanges: [203.0.113.10/32]
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
STRANGER = "203.0.113.66"


@scenario("Source ranges: who may use a load balancer's address")
def source_ranges(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w1", app="web"), pod("web-2", "w2", app="web"))
    lab.apply(pod("caller", "w1"))
    lab.net["client"].cmd(f"ip address add {STRANGER}/32 dev client-eth0")
    address = endpoint(lab.service("web").ingress[0].ip or "", 80)

    with steps("The client in the list is served"):
        path = lab.probe("client", address)
        steps.show(path)
        expect(path).through("client", "router", "lb").delivered_to("web")

    with steps(f"{STRANGER} isn't in the list: the cloud drops its packet"):
        path = lab.probe("client", address, source_address=STRANGER, timeout=0.3)
        steps.mention(path)
        expect(path).dropped(at="lb")

    with steps("The node port is open to it all the same"):
        target = endpoint(lab.node_addresses("w1")[0], 30080)
        path = lab.probe("client", target, source_address=STRANGER)
        steps.mention(path)
        expect(path).delivered_to("web")

    with steps("A Pod isn't in the list either: its own node drops the packet"):
        path = lab.probe("pod/caller", address, timeout=0.3)
        steps.show(path)
        expect(path).dropped(at="w1").met("firewall", at="w1")

    with steps("With the Pods' range in the list it is served, by its own node"):
        ranges = ["203.0.113.10/32", "10.244.0.0/16"]
        lab.patch("services", "web", {"spec": {"loadBalancerSourceRanges": ranges}})
        path = lab.probe("pod/caller", address)
        steps.mention(path)
        expect(path).delivered_to("web").translated(at="w1")

    with steps("0.0.0.0/0 lets everybody in: there is no filter any more"):
        lab.patch("services", "web", {"spec": {"loadBalancerSourceRanges": ["0.0.0.0/0"]}})
        path = lab.probe("client", address, source_address=STRANGER)
        steps.mention(path)
        expect(path).delivered_to("web").met_no("KUBE-FW")
