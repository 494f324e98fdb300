"""Several ports, and target ports by name: each Pod may listen on a number of its own.

A Service may have many ports; each has a name, and EndpointSlices tell the proxy which number
stands behind that name. With `targetPort: web` the number comes from the Pod's own containerPort of
that name, so Pods of an old and a new version can use different numbers at the same time. Every
combination of numbers has an EndpointSlice of its own.

Only these ports exist. What becomes of another port of the same address depends on the proxy mode:
nftables mode refuses it, in iptables mode no rule knows it and the packet wanders off into the
network.
"""

from testbed.api.documents import Document
from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check, served_by
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: shop}
  ports:
  - {name: http, port: 80, targetPort: web}
  - {name: metrics, port: 9090, targetPort: metrics}
"""


def version(name: str, node: str, **ports: int) -> Document:
    """A Pod with named ports."""
    listed = [{"name": name, "containerPort": number} for name, number in ports.items()]
    containers = [{"name": "app", "image": "echo", "ports": listed}]
    return pod(name, node, app="shop", containers=containers)


@scenario("Ports: several of them, and names that mean another number in every Pod")
def ports(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("caller", "w1"))
    lab.apply(version("shop-old", "w1", web=8080, metrics=9090))
    lab.apply(version("shop-new", "w2", web=8000, metrics=9090))
    addresses = lab.service("shop").cluster_ips

    for name, number in (("shop-old", 8080), ("shop-new", 8000)):
        with steps(f"Port 80 leads to port {number} of {name}"):
            for address in addresses:
                path = lab.probe_until("pod/caller", endpoint(address, 80), served_by(name))
                steps.mention(path)
                expect(path).arrived_at_port(number).source_kept()

    with steps("Port 9090 of the same address is another port of the Service"):
        path = lab.probe("pod/caller", endpoint(addresses[0], 9090))
        steps.mention(path)
        expect(path).delivered_to("shop-old", "shop-new").arrived_at_port(9090)

    with steps("Two sets of numbers make two EndpointSlices in each family"):
        slices = lab.endpoint_slices("shop")
        for each in slices:
            numbers = ", ".join(f"{port['name']} = {port['port']}" for port in each["ports"])
            steps.note(f"{each['addressType']}: {numbers}")
        check(len(slices) == 4, "four EndpointSlices", str(len(slices)))

    with steps("Port 81 isn't one of the Service's"):
        path = lab.probe("pod/caller", endpoint(addresses[0], 81), timeout=0.3)
        steps.show(path)
        if lab.options.proxy == "nftables":
            expect(path).refused(at="w1")
        else:
            expect(path).unreachable().through("w1", "router")

    with steps("A Pod that lacks a port's name doesn't get that port's traffic"):
        lab.delete(version("shop-old", "w1"))
        lab.apply(version("shop-bare", "w1", metrics=9090))
        for _ in range(8):
            expect(lab.probe("pod/caller", endpoint(addresses[0], 80))).delivered_to("shop-new")
