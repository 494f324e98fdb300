"""A database outside the cluster, under a name inside: a selectorless Service, or an ExternalName.

A Service without a selector has endpoints that you write: packets to its ClusterIP are rewritten to
the database's address, and leave the cluster with the node's. An ExternalName is a DNS alias: no
address of the cluster is involved, and no rule; a port can't be changed on the way.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

BY_ADDRESS = """
apiVersion: v1
kind: Service
metadata: {name: database}
spec:
  ports: [{name: sql, port: 5432, targetPort: 5433}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: database-1
  labels: {kubernetes.io/service-name: database}
addressType: IPv4
ports: [{name: sql, port: 5433, protocol: TCP}]
endpoints: [{addresses: [DATABASE]}]
"""
BY_NAME = """
apiVersion: v1
kind: Service
metadata: {name: reports}
spec: {type: ExternalName, externalName: reports.example.org}
"""


@scenario(
    "A database outside: by hand-made endpoints, and by an alias", topology="internet", dns=True
)
def outside_database(lab: Cluster, steps: Steps) -> None:
    address = lab.topology.machine("database").address(4)
    lab.serve("database", "5433/TCP")
    lab.apply(pod("app", "w1"))
    node = lab.node_addresses("w1")[0]

    with steps(f"Service `database` has no selector; its EndpointSlice names {address}:5433"):
        for line in lab.apply(BY_ADDRESS.replace("DATABASE", address)):
            steps.note(line)
        path = lab.probe("pod/app", "database:5432")
        steps.show(path)
        expect(path).translated(at="w1").through("w1", "router", "database").reached("database")
        expect(path).arrived_at_port(5433)

    with steps("The database sees the node: Pod addresses mean nothing outside"):
        body = lab.exchange("pod/app", "database:5432").body()
        peer = str(body.get("peer", "")).rpartition(":")[0]
        check(peer == node, f"its peer is {node}", peer)

    with steps("The database moves: the slice is changed, the name and the ClusterIP stay"):
        moved = lab.topology.machine("internet").address(4)
        lab.serve("internet", "5433/TCP")
        lab.apply(BY_ADDRESS.replace("DATABASE", moved))
        path = lab.probe("pod/app", "database:5432")
        steps.mention(path)
        expect(path).reached("internet")

    with steps("ExternalName: DNS answers with an alias, and the packet goes straight there"):
        lab.add_public_name("reports.example.org", "A", address)
        lab.apply(BY_NAME)
        found = lab.resolve("pod/app", "reports", "A")
        steps.note(str(found))
        check(found.answers[0].data == "reports.example.org.", "`reports` is only another name")
        path = lab.probe("pod/app", "reports:5433")
        steps.show(path)
        expect(path).not_translated().reached("database")
