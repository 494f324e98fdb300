"""Addresses of the Service range that no rule is for: the proxy modes differ.

A ClusterIP isn't the address of anything. Only a packet for one of the Service's ports is
translated. A ping, or an address that no Service has, meets no such rule. In iptables mode
it then goes wherever routing leads it, out of the cluster, with a Service address as its
destination. nftables mode knows the whole range: it refuses what is a Service's address but not its
port, and drops what is nobody's.
"""

from testbed.cluster import Cluster
from testbed.flow import Flow
from testbed.flow.tuples import endpoint
from testbed.probe import packets
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""
NOBODY = ("10.96.250.250", "fd00:10:96::fafa")


@scenario("The Service range: pings, and addresses that nobody has")
def service_range(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w2", app="web"), pod("caller", "w1"))
    (caller,) = lab.pods("caller")
    leaks = lab.options.proxy == "iptables"

    for source, address in zip(caller.ips, lab.service("web").cluster_ips, strict=True):
        with steps(f"A ping to the ClusterIP {address}"):
            path = lab.send("pod/caller", packets.echo(Flow("icmp", source, 77, address, 77)))
            steps.mention(path)
            if leaks:
                expect(path).unreachable().through("w1", "router").not_translated()
            else:
                expect(path).refused(at="w1")

    for address in NOBODY:
        with steps(f"{address} is in the Service range, but no Service's"):
            path = lab.probe("pod/caller", endpoint(address, 80), timeout=0.3)
            steps.mention(path)
            if leaks:
                expect(path).unreachable().through("w1", "router").not_translated()
            else:
                expect(path).dropped(at="w1")

    with steps("The Service's own port works"):
        path = lab.probe("pod/caller", "svc/web")
        steps.mention(path)
        expect(path).delivered_to("web-1")
