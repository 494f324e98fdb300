"""SCTP Services work like TCP ones: the node rewrites the first packet, conntrack does the rest.

No SCTP stack is needed to see it. This scenario builds an association's first packet (INIT) itself
and follows it. Whether the Pod's kernel speaks SCTP only decides what comes back.
"""

from testbed.cluster import Cluster
from testbed.flow import Flow
from testbed.flow.tuples import endpoint
from testbed.probe import packets
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: signal}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: signal}
  ports: [{port: 5060, targetPort: 2905, protocol: SCTP, nodePort: 30506}]
"""


@scenario("SCTP: an INIT packet through a Service")
def sctp(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("caller", "w1"))
    (caller,) = lab.pods("caller")
    addresses = lab.service("signal").cluster_ips

    with steps("Without a Pod the INIT is refused"):
        path = lab.send("pod/caller", init(caller.ips[0], addresses[0], 5060, 40001))
        steps.mention(path)
        expect(path).refused(at="w1")

    lab.apply(pod("signal-1", "w2", app="signal"))
    for number, (source, address) in enumerate(zip(caller.ips, addresses, strict=True)):
        with steps(f"The INIT for {endpoint(address, 5060)} reaches the Pod at its own port"):
            path = lab.send("pod/caller", init(source, address, 5060, 40010 + number))
            steps.show(path)
            seen = expect(path).translated(at="w1").reached("signal-1").arrived_at_port(2905)
            seen.not_masqueraded()

    with steps("From outside, at a node port: masqueraded like any other protocol"):
        target = lab.node_addresses("w1")[0]
        path = lab.send("client", init("203.0.113.10", target, 30506, 40020))
        steps.mention(path)
        expect(path).masqueraded(at="w1").reached("signal-1").arrived_at_port(2905)

    with steps("A TCP packet to the same number isn't the Service's"):
        path = lab.probe("pod/caller", endpoint(addresses[0], 5060), timeout=0.3)
        steps.mention(path)
        check("w1" not in path.translated_at(), "nobody translated it")


def init(source: str, destination: str, port: int, source_port: int) -> packets.Packet:
    return packets.sctp_init(Flow("sctp", source, source_port, destination, port))
