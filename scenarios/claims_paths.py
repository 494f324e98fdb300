"""A Service is no process and no hop: it is an address that the first node replaces.

Whoever draws a box "Service" between client and Pod must be able to show a packet that reaches it.
There is none: the client's packet leaves the node that it entered already addressed to a Pod, under
one connection tracking entry that knows the address asked and the Pod, and no ClusterIP. The answer
must come back to that node, because only that node can put the asked address back: this is why a
node replaces the client's address where the answer would find a shorter way.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check, picked, served_by
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


def _world(lab: Cluster) -> str:
    """Two Pods and a Service; the address of node w1 with its NodePort."""
    lab.apply(SERVICE, pod("web-1", "w1", app="web"), pod("web-2", "w2", app="web"))
    lab.apply(pod("caller", "w3"))
    return f"{lab.node_addresses('w1')[0]}:30080"


@scenario("X-01: NodePort and load balancer traffic goes straight to a Pod, not via the ClusterIP")
def claim_01_straight_to_a_pod(lab: Cluster, steps: Steps) -> None:
    node_port = _world(lab)
    service = lab.service("web")
    cluster_ip = service.cluster_ips[0]
    for target in (node_port, f"{service.ingress[0].ip}:80"):
        with steps(f"The client asks {target}; no packet and no conntrack entry has {cluster_ip}"):
            path = lab.probe("client", target)
            steps.mention(path)
            expect(path).delivered_to("web").never_carried(cluster_ip)
            node = path.translated_at()[-1]
            entry = next(h.conntrack for h in path.hops if h.namespace == node)
            assert entry is not None
            tuples = [entry.original, entry.reply]
            carried = {a for flow in tuples for a in (flow.source, flow.destination)}
            check(cluster_ip not in carried, f"the entry on {node} doesn't know {cluster_ip}")
            pods = {ip for each in lab.pods("web") for ip in each.ips}
            check(entry.reply.source in pods, "its answers come from a Pod", entry.reply.source)


@scenario("X-02: a Service is no hop: the packet leaves the first node addressed to the Pod")
def claim_02_no_hop(lab: Cluster, steps: Steps) -> None:
    _world(lab)
    cluster_ip = lab.service("web").cluster_ips[0]
    with steps("A Pod on w3 asks the ClusterIP; both sides of its node see the same packet"):
        path = lab.probe("pod/caller", f"{cluster_ip}:80")
        steps.show(path)
        expect(path).delivered_to("web").translated(at="w3")
        sender, node, after = path.hops[0], path.hops[1], path.hops[2]
        check(sender.after.destination == cluster_ip, f"on the Pod's link: to {cluster_ip}")
        pods = {ip for each in lab.pods("web") for ip in each.ips}
        check(node.after.destination in pods, "on the node's uplink: to a Pod")
        check(after.before.destination in pods, "and so it arrives at the next machine")


@scenario("X-03: source NAT exists to force the answer back through the node that did the DNAT")
def claim_03_answers_must_return(lab: Cluster, steps: Steps) -> None:
    node_port = _world(lab)
    with steps("As it is: w1 picks the Pod on w2 and takes the client's place"):
        path = lab.probe_until("client", node_port, served_by("web-2"))
        steps.mention(path)
        expect(path).masqueraded(at="w1").source_seen(*lab.node_addresses("w1"))
    with steps("Without masquerade on w1 the answer goes past w1, and the client rejects it"):
        _forget_masquerade(lab, "w1")
        path = lab.probe_until("client", node_port, picked("web-2"), timeout=0.3)
        steps.show(path)
        expect(path).not_masqueraded().not_delivered()
        sources = {hop.before.source for hop in path.reply}
        asked = node_port.split(":")[0]
        check(asked not in sources, "the answer comes from the Pod's own address", str(sources))


def _forget_masquerade(lab: Cluster, node: str) -> None:
    """Take the masquerade away, as a broken reload of a firewall might."""
    namespace = lab.fabric.namespace(node)
    if lab.core.options.proxy_of(node) == "iptables":
        namespace.run(["iptables", "-t", "nat", "-F", "KUBE-MARK-MASQ"])
    else:
        namespace.run(["nft", "flush", "chain", "ip", "kube-proxy", "masquerading"])


@scenario("X-04: masquerade is decided on the way in and done on the way out")
def claim_04_mark_then_masquerade(lab: Cluster, steps: Steps) -> None:
    node_port = _world(lab)
    with steps("w1 marks the packet before routing, and replaces its source after routing"):
        path = lab.probe_until("client", node_port, served_by("web-2"))
        steps.show(path)
        expect(path).masqueraded(at="w1").source_seen(*lab.node_addresses("w1"))
        hits = next(hop.rules for hop in path.hops if hop.namespace == "w1")
        mark = next(i for i, hit in enumerate(hits) if _sets_mark(hit.text))
        masquerade = next(
            i for i, hit in enumerate(hits) if "masquerade" in hit.text.lower().split()
        )
        hooks = [hits[mark].hook, hits[masquerade].hook]
        check(hooks == ["prerouting", "postrouting"], "marked in prerouting, done in postrouting")


def _sets_mark(text: str) -> bool:
    return "-j MARK --set-xmark 0x4000/0x4000" in text or "meta mark | 0x00004000" in text
