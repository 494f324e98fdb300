"""A LoadBalancer that stays <pending>, and one that is reached by its public name.

Type LoadBalancer is a request to the cloud. Where there is no cloud, nobody answers it: the Service
waits for ever, with an Event that says why, and is a NodePort Service meanwhile. Where there is
one, the Service gets an address, and a name in the public DNS that leads to it.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""


@scenario("A LoadBalancer that stays pending: no cloud answers", cloud="none")
def cloud_pending(lab: Cluster, steps: Steps) -> None:
    with steps("The Service is applied, and gets no external address"):
        lab.apply(SERVICE, pod("web-1", "w1", app="web"))
        check(lab.service("web").ingress == (), "its status has no address: kubectl says <pending>")
        events = lab.events("web")
        for line in events:
            steps.note(line)
        check(any("NoCloudProvider" in line for line in events), "an Event says why")

    with steps("Its node port works on every node all the same"):
        for node in lab.node_names():
            path = lab.probe("client", f"{lab.node_addresses(node)[0]}:30080")
            steps.mention(path)
            expect(path).delivered_to("web-1").masqueraded(at=node)

    with steps("Inside the cluster nothing is missing: its ClusterIP works"):
        path = lab.probe("w3", f"{lab.service('web').cluster_ips[0]}:80")
        steps.mention(path)
        expect(path).delivered_to("web-1")


@scenario("A LoadBalancer by its public DNS name, on its low port")
def cloud_public_name(lab: Cluster, steps: Steps) -> None:
    with steps("The cloud gives the Service an address and a name"):
        lab.apply(SERVICE, pod("web-1", "w1", app="web"))
        (entry,) = lab.service("web").ingress
        steps.note(f"{entry.hostname}  {entry.ip}")

    with steps("The client asks the public DNS, then connects to port 80"):
        found = lab.resolve("client", entry.hostname, "A")
        steps.note(str(found))
        check(found.addresses == (entry.ip,), "the name leads to the load balancer's address")
        path = lab.probe("client", f"{entry.hostname}:80")
        steps.show(path)
        expect(path).through("client", "router", "lb").delivered_to("web-1").arrived_at_port(8080)

    with steps("The Service goes, and takes its name along"):
        lab.delete(SERVICE)
        problem = lab.resolve("client", entry.hostname, "A").problem
        check(problem == "no such name", "the name is unknown again", problem)
