"""When a name doesn't resolve: its Pods are gone, the resolver is wrong, the way is blocked.

The three look different, and that is how to tell them apart. Without Pods behind kube-dns the rules
refuse the query at once. A resolv.conf that names a wrong server makes every query wait. A server
that answers "no such name" works: look at the name, or at the namespace it was asked from.
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
  ports: [{port: 80, targetPort: 8080}]
"""
WRONG = {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["10.96.0.99"]}}


@scenario("DNS that fails: refused, silent, or an honest no", dns=True)
def dns_troubles(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web-1", "w2", app="web"), pod("caller", "w1"))

    with steps("Its Pods are gone: the ClusterIP has no endpoints, the query is refused at once"):
        lab.patch("deployments", "kube-system/coredns", {"spec": {"replicas": 0}})
        found = lab.resolve("pod/caller", "web")
        show(steps, found)
        check(found.problem == "no answer: connection refused", "the refusal reaches the resolver")
        path = lab.probe("pod/caller", "10.96.0.10:53", protocol="udp")
        steps.show(path)
        expect(path).refused(at="w1").met("endpoint", at="w1")

    with steps("The Service itself still works, by address"):
        path = lab.probe("pod/caller", f"{lab.service('web').cluster_ips[0]}:80")
        steps.mention(path)
        expect(path).delivered_to("web-1")

    with steps("Its Pods come back, and so does the name"):
        lab.patch("deployments", "kube-system/coredns", {"spec": {"replicas": 2}})
        check(bool(lab.resolve("pod/caller", "web").addresses), "web resolves again")

    with steps("A resolv.conf with a wrong server: silence, and everything waits"):
        lab.apply(pod("lost", "w1", **WRONG))
        steps.note(lab.resolver_of("pod/lost").text.strip())
        found = lab.resolve("pod/lost", "web", timeout=0.3)
        show(steps, found)
        check("timed out" in found.problem, "nobody answers, and no name is ever tried further")

    with steps("A wrong name gets an honest answer: no such name, from every search domain"):
        found = lab.resolve("pod/caller", "wbe", "A")
        show(steps, found)
        check(found.problem == "no such name", "the server works; the name is wrong")
        codes = {exchange.code.name for exchange in found.exchanges}
        check(codes == {"NXDOMAIN"}, f"{len(found.exchanges)} queries, each NXDOMAIN")


def show(steps: Steps, found: Resolution) -> None:
    """The queries, a line each."""
    for line in str(found).splitlines():
        steps.note(line)
