"""A Service without a selector: somebody else says where it leads.

Without `selector` no controller writes EndpointSlices for a Service. You write one by hand, or a
controller of your own does: with the address of a database outside the cluster, of another cluster,
of anything. The proxy doesn't ask whether the address is a Pod's.

A slice belongs to its Service by a label, and its ports to the Service's ports by their names. Get
one of these wrong and the Service has no endpoints, without any error message.
"""

import copy

from testbed.api.documents import Document
from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: database}
spec:
  ports: [{name: sql, port: 5432}]
"""


def slice_of(address: str, port: int) -> Document:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "database-by-hand",
            "labels": {"kubernetes.io/service-name": "database"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "sql", "port": port, "protocol": "TCP"}],
        "endpoints": [{"addresses": [address]}],
    }


@scenario("A Service without a selector: endpoints written by hand")
def selectorless(lab: Cluster, steps: Steps) -> None:
    containers = [{"name": "db", "image": "echo", "ports": [{"containerPort": 5433}]}]
    lab.apply(SERVICE, pod("caller", "w1"), pod("legacy", "w2", containers=containers))
    target = f"{lab.service('database').cluster_ips[0]}:5432"
    (legacy,) = lab.pods("legacy")

    with steps("The Service alone has no endpoints"):
        path = lab.probe("pod/caller", target)
        steps.mention(path)
        expect(path).refused(at="w1")

    by_hand = slice_of(legacy.ips[0], 5433)
    with steps("An EndpointSlice with its label leads it to an address and a port"):
        for line in lab.apply(by_hand):
            steps.note(line)
        path = lab.probe("pod/caller", target)
        steps.show(path)
        expect(path).translated(at="w1").delivered_to("legacy").arrived_at_port(5433)

    with steps(
        "A port of another name isn't the Service's: refused again, though the slice is full"
    ):
        renamed = copy.deepcopy(by_hand)
        renamed["ports"][0]["name"] = "postgres"
        lab.apply(renamed)
        path = lab.probe("pod/caller", target)
        steps.mention(path)
        expect(path).refused(at="w1")

    with steps("An address outside the cluster is as good: the packet leaves for that machine"):
        lab.apply(slice_of("203.0.113.10", 5432))
        path = lab.probe("pod/caller", target)
        steps.mention(path)
        seen = expect(path).translated(at="w1").through("w1", "router").reached("client")
        seen.arrived_at_port(5432)
