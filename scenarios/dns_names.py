"""A Service has a name, and the name is found by asking: what each kind of name costs.

kube-dns is a Service like any other, with a ClusterIP that the proxies' rules lead to the Pods of
Deployment coredns. A Pod's /etc/resolv.conf names that ClusterIP, three search domains and ndots:5.
So a short name is tried with the Pod's own namespace first, and a name outside the cluster fails
three times before it is asked as it stands: its final dot spares that.
"""

from testbed.cluster import Cluster
from testbed.dns.client import Resolution
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
PARTNER = """
apiVersion: v1
kind: Service
metadata: {name: partner}
spec: {type: ExternalName, externalName: api.example.org}
"""


@scenario("DNS: from `kubectl apply` to the first answer, and what a name costs", dns=True)
def dns_names(lab: Cluster, steps: Steps) -> None:
    lab.apply(pod("caller", "w1"), pod("web-1", "w2", app="web"))

    with steps("A Pod's resolv.conf: the Service kube-dns, three search domains, ndots:5"):
        resolver = lab.resolver_of("pod/caller")
        for line in resolver.text.splitlines():
            steps.note(line)
        check(resolver.nameservers == ("10.96.0.10",), "its server is kube-dns' ClusterIP")
        nodes = lab.resolver_of("node/w1").nameservers
        check("10.96.0.10" not in nodes, f"a node asks the public DNS at {nodes[0]}")

    with steps("Before the Service exists, nobody knows its name"):
        show(steps, lab.resolve("pod/caller", "web", "A"))
        check(not lab.resolve("pod/caller", "web", "A").answers, "web has no address")

    with steps("The Service is applied; its name answers at once"):
        lab.apply(SERVICE)
        found = lab.resolve("pod/caller", "web", "A")
        show(steps, found)
        check(found.addresses == lab.service("web").cluster_ips, "web is the Service's ClusterIP")
        check(len(found.exchanges) == 1, "its short name costs one query: the first domain has it")

    with steps("The query itself is Service traffic: ClusterIP, rule, a Pod of coredns"):
        path = lab.probe("pod/caller", "10.96.0.10:53", protocol="udp")
        steps.show(path)
        expect(path).translated(at="w1").picked_endpoint(at="w1").reached("kube-system/coredns")

    with steps("The connection follows"):
        path = lab.probe("pod/caller", "web.default:http")
        steps.mention(path)
        expect(path).delivered_to("web-1")

    with steps("A port's name and an address have records too"):
        port = lab.resolve("pod/caller", "_http._tcp.web.default.svc.cluster.local", "SRV")
        show(steps, port)
        check("80 web.default" in port.answers[0].data, "SRV tells the port's number")

    with steps("An ExternalName is an alias and nothing more: no packet has its ClusterIP"):
        lab.add_public_name("api.example.org", "A", "203.0.113.10")
        lab.apply(PARTNER)
        alias = lab.resolve("pod/caller", "partner", "A")
        show(steps, alias)
        check(alias.answers[0].type.name == "CNAME", "the first answer is the alias")
        check(alias.addresses == ("203.0.113.10",), "the public DNS gave the address")

    with steps("A name of the world costs four queries; with a final dot, one"):
        long = lab.resolve("pod/caller", "api.example.org", "A")
        show(steps, long)
        check(len(long.exchanges) == 4, "api.example.org: three domains in vain, then itself")
        short = lab.resolve("pod/caller", "api.example.org.", "A")
        check(len(short.exchanges) == 1, "api.example.org. is asked as it stands")


def show(steps: Steps, found: Resolution) -> None:
    """The queries, a line each."""
    for line in str(found).splitlines():
        steps.note(line)
