"""Hairpin: a Pod calls a Service and is itself the Pod that answers.

The packet leaves the Pod for the ClusterIP and comes back with the Pod's own address as its
destination. Left as it is its source would be that address too, and the kernel throws away packets
that claim to come from itself. So the node masquerades this one case although both ends are Pods:
the Pod sees its node as the client.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import served_by
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


@scenario("Hairpin: a Pod that is served by itself")
def hairpin(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w1", app="web"))
    targets = [endpoint(address, 80) for address in lab.service("web").cluster_ips]

    with steps("The only Pod of the Service calls it"):
        path = lab.probe("pod/web-1", targets[0])
        steps.show(path)
        expect(path).delivered_to("web-1").translated(at="w1").masqueraded(at="w1")

    with steps("IPv6 does the same"):
        path = lab.probe("pod/web-1", targets[1])
        steps.mention(path)
        expect(path).delivered_to("web-1").masqueraded(at="w1")

    lab.apply(pod("web-2", "w1", app="web"), pod("web-3", "w2", app="web"))
    for other in ("web-2", "web-3"):
        with steps(f"When {other} answers, the address is kept as usual"):
            path = lab.probe_until("pod/web-1", targets[0], served_by(other))
            steps.mention(path)
            expect(path).source_kept().not_masqueraded()

    with steps("With several Pods, the call that comes home is still the masqueraded one"):
        path = lab.probe_until("pod/web-1", targets[0], served_by("web-1"))
        steps.mention(path)
        expect(path).masqueraded(at="w1")
