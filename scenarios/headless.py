"""A headless Service has no address of its own: DNS hands out the Pods' addresses instead.

With `clusterIP: None` there is nothing for a proxy to do, and no rule is written. The client picks
one of the addresses that DNS gave it and talks to that Pod directly. So nothing balances but the
client, and nothing maps ports: the Service's `port` isn't translated to its `targetPort`.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: peers}
spec:
  clusterIP: None
  ipFamilyPolicy: RequireDualStack
  selector: {app: peers}
  ports: [{name: gossip, port: 80, targetPort: 8080}]
"""


@scenario("Headless: no address, no rules, the client talks to Pods")
def headless(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("peers-1", "w1", app="peers"), pod("peers-2", "w2", app="peers"))
    lab.apply(pod("caller", "w1"))

    with steps("The Service has no ClusterIP, but it has EndpointSlices: DNS answers from them"):
        check(lab.service("peers").cluster_ips == ("None",), "clusterIP is None")
        listed = {
            address
            for each in lab.endpoint_slices("peers")
            for entry in each["endpoints"]
            for address in entry["addresses"]
        }
        pods = {address for each in lab.pods("peers") for address in each.ips}
        check(listed == pods, f"they list {', '.join(sorted(pods))}", str(listed))

    for each in lab.pods("peers"):
        with steps(f"The caller talks to {each.key.name} directly: nobody translates anything"):
            for address in each.ips:
                path = lab.probe("pod/caller", endpoint(address, 8080))
                steps.mention(path)
                seen = expect(path).delivered_to(each.key.name).source_kept()
                seen.not_translated().met_no("peers")

    with steps("The Service's own port number means nothing: no Pod listens on port 80"):
        (first, *_) = lab.pods("peers")
        path = lab.probe("pod/caller", endpoint(first.ips[0], 80))
        steps.show(path)
        expect(path).nobody_listened()
