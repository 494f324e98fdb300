"""What a policy covers, and what failing looks like.

The two traffic policies are about different doors: `internalTrafficPolicy` about the ClusterIP,
`externalTrafficPolicy` about everything else. A node that may only use its own Pods and has none is
silent; a Service without any endpoint refuses at once. Source ranges guard the load balancer's
address, and nothing else; they bind Pods, too.
"""

from testbed.cluster import Cluster
from testbed.flow import DROPPED, REFUSED
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


@scenario("X-10: internal policy is about the ClusterIP, external policy about all other doors")
def claim_10_two_policies(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("web", "w1", app="web"))
    bare = f"{lab.node_addresses('w3')[0]}:30080"
    for internal in ("Cluster", "Local"):
        for external in ("Cluster", "Local"):
            policies = {"internalTrafficPolicy": internal, "externalTrafficPolicy": external}
            lab.patch("services", "web", {"spec": policies})
            with steps(f"internal {internal}, external {external}; no Pod on w3"):
                inside = lab.probe("node/w3", "svc/web", timeout=0.3)
                outside = lab.probe("client", bare, timeout=0.3)
                for path, policy in ((inside, internal), (outside, external)):
                    steps.mention(path)
                    if policy == "Local":
                        expect(path).dropped(at="w3")
                    else:
                        expect(path).delivered_to("web")


@scenario("X-11: no endpoint here is silence, no endpoint at all is a refusal")
def claim_11_drop_or_reject(lab: Cluster, steps: Steps) -> None:
    web = pod("web", "w1", app="web")
    lab.apply(SERVICE, web)
    lab.patch("services", "web", {"spec": {"externalTrafficPolicy": "Local"}})
    bare = f"{lab.node_addresses('w3')[0]}:30080"
    with steps("A Pod elsewhere, none on w3: w3 drops, the client waits in vain"):
        path = lab.probe("client", bare, timeout=0.3)
        steps.show(path)
        expect(path).dropped(at="w3")
        check(path.verdict.kind == DROPPED and not path.answer, "no answer of any kind")
    with steps("No Pod anywhere: refused at once, by ICMP port unreachable"):
        lab.delete(web)
        path = lab.probe("client", bare, timeout=2.0)
        steps.show(path)
        check(path.verdict.kind == REFUSED, "refused", str(path.verdict))
        check(
            "port unreachable" in path.answer, "the client got ICMP port unreachable", path.answer
        )


@scenario("X-16: source ranges don't protect the NodePort")
def claim_16_node_port_stays_open(lab: Cluster, steps: Steps) -> None:
    _guarded(lab, "192.0.2.128/25")
    with steps("The client isn't in the ranges: the load balancer's address is closed to it"):
        path = lab.probe("client", _vip(lab), timeout=0.3)
        steps.mention(path)
        expect(path).not_delivered()
    with steps("The NodePort of the same Service lets it in"):
        path = lab.probe("client", f"{lab.node_addresses('w2')[0]}:30080")
        steps.show(path)
        expect(path).delivered_to("web")


@scenario("X-17: source ranges bind Pods, too")
def claim_17_pods_are_bound(lab: Cluster, steps: Steps) -> None:
    _guarded(lab, "203.0.113.0/24")
    lab.apply(pod("caller", "w3"))
    with steps("A Pod asks the load balancer's address; its range isn't listed"):
        path = lab.probe("pod/caller", _vip(lab), timeout=0.3)
        steps.show(path)
        expect(path).dropped(at="w3")
    with steps("With the Pods' range listed it gets through"):
        _guarded(lab, "203.0.113.0/24", "10.244.0.0/16")
        path = lab.probe("pod/caller", _vip(lab))
        steps.mention(path)
        expect(path).delivered_to("web")


@scenario("X-18: 0.0.0.0/0 among the ranges switches the filter off altogether")
def claim_18_everything(lab: Cluster, steps: Steps) -> None:
    _guarded(lab, "192.0.2.128/25", "0.0.0.0/0")
    lab.apply(pod("caller", "w3"))
    with steps("Everybody gets through, and no firewall rule for the Service exists"):
        path = lab.probe("pod/caller", _vip(lab))
        steps.mention(path)
        expect(path).delivered_to("web").met_no("KUBE-FW-").met_no("firewall-", "web")
        wanted = lab.in_loop(lambda: lab.core.proxies.wanted("w3"))["IPv4"]
        check("KUBE-FW-" not in wanted, "w3 has no KUBE-FW chain")
        check("firewall-" not in _of_service(wanted), "and no firewall chain of the other mode")


def _of_service(rules: str) -> str:
    """The lines of nftables mode's chains that belong to Service web."""
    return "\n".join(line for line in rules.splitlines() if "default/web" in line)


def _guarded(lab: Cluster, *ranges: str) -> None:
    lab.apply(SERVICE, pod("web", "w1", app="web"))
    lab.patch("services", "web", {"spec": {"loadBalancerSourceRanges": list(ranges)}})


def _vip(lab: Cluster) -> str:
    return f"{lab.service('web').ingress[0].ip}:80"
