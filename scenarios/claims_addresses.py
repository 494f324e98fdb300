"""Addresses that no interface has: who answers for them, and what leaks.

A ClusterIP, a load balancer's address, an externalIP exist in rules alone. What the rules don't
name is ordinary traffic: in iptables mode a ping to a ClusterIP, or an unknown port of it, follows
the default route out of the cluster; nftables mode refuses it, and drops what goes to ClusterIPs
that nobody has. An externalIP may be any address, also somebody else's.
"""

from testbed.cluster import Cluster
from testbed.flow import Flow, Path
from testbed.probe import packets
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
#: In the Service range, and nobody's.
UNALLOCATED = "10.96.250.250"
#: Somebody's public resolver.
FOREIGN = "8.8.8.8"


def _world(lab: Cluster) -> str:
    """A Service with one Pod, and a caller elsewhere; the ClusterIP."""
    lab.apply(SERVICE, pod("web", "w1", app="web"), pod("caller", "w3"))
    return lab.service("web").cluster_ips[0]


@scenario("X-07: traffic from inside to a load balancer's address never reaches it")
def claim_07_short_circuit(lab: Cluster, steps: Steps) -> None:
    _world(lab)
    with steps("The Pod's own node answers for the address (ipMode VIP)"):
        path = lab.probe("pod/caller", f"{lab.service('web').ingress[0].ip}:80")
        steps.show(path)
        expect(path).delivered_to("web").translated(at="w3")
        check("lb" not in [hop.namespace for hop in path.hops], "the load balancer saw nothing")


@scenario("X-07: … and does reach it with ipMode Proxy", cloud="proxy")
def claim_07_proxy_mode(lab: Cluster, steps: Steps) -> None:
    _world(lab)
    with steps("With ipMode Proxy kube-proxy leaves the address alone: the packet goes there"):
        path = lab.probe("pod/caller", f"{lab.service('web').ingress[0].ip}:80")
        steps.show(path)
        hops = [hop.namespace for leg in path.legs for hop in leg.hops]
        check("lb" in hops, "the load balancer took it", " → ".join(hops))


@scenario("X-12: ping to a ClusterIP leaks in iptables mode, is refused in nftables mode")
def claim_12_ping(lab: Cluster, steps: Steps) -> None:
    address = _world(lab)
    source = lab.pods("caller")[0].ips[0]
    with steps(f"A Pod on w3 pings {address}"):
        path = lab.send("pod/caller", packets.echo(Flow("icmp", source, 77, address, 77)))
        steps.show(path)
        _leaks_or_is_refused(lab, path, address)


@scenario(
    "X-13: an unknown port of a ClusterIP leaks in iptables mode, is refused in nftables mode"
)
def claim_13_unknown_port(lab: Cluster, steps: Steps) -> None:
    address = _world(lab)
    with steps(f"A Pod on w3 asks {address}:81, which no Service has"):
        path = lab.probe("pod/caller", f"{address}:81", timeout=0.3)
        steps.show(path)
        _leaks_or_is_refused(lab, path, address)


def _leaks_or_is_refused(lab: Cluster, path: Path, address: str) -> None:
    if lab.options.proxy == "nftables":
        expect(path).refused(at="w3")
        return
    expect(path).not_delivered()
    out = [hop.after.destination for hop in path.hops if hop.namespace == "w3"]
    check(out == [address], f"w3 sent it on by its default route, to {address}", str(out))
    check("router" in [hop.namespace for hop in path.hops], "the router outside has seen it")


@scenario(
    "X-14: an unallocated Service address leaks in iptables mode, is dropped in nftables mode"
)
def claim_14_unallocated(lab: Cluster, steps: Steps) -> None:
    _world(lab)
    with steps(f"A Pod on w3 asks {UNALLOCATED}:80, which nobody has"):
        path = lab.probe("pod/caller", f"{UNALLOCATED}:80", timeout=0.3)
        steps.show(path)
        if lab.options.proxy == "nftables":
            expect(path).dropped(at="w3")
        else:
            expect(path).not_delivered().through("w3", "router")


@scenario("X-19: externalIPs may be any address: a Service takes over traffic to 8.8.8.8")
def claim_19_hijack(lab: Cluster, steps: Steps) -> None:
    _world(lab)
    with steps(f"Before: a Pod's packet to {FOREIGN} leaves the cluster"):
        path = lab.probe("pod/caller", f"{FOREIGN}:80", timeout=0.3)
        steps.mention(path)
        expect(path).not_delivered().through("w3", "router")
    with steps(f"A Service claims {FOREIGN}: every Pod's traffic to it ends at that Service"):
        lab.patch("services", "web", {"spec": {"externalIPs": [FOREIGN]}})
        path = lab.probe("pod/caller", f"{FOREIGN}:80")
        steps.show(path)
        expect(path).delivered_to("web").translated(at="w3")


@scenario("X-20: balancing is per connection, not per request")
def claim_20_per_connection(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, *(pod(f"web-{n}", f"w{n}", app="web") for n in (1, 2, 3)))
    with steps("One connection, 100 HTTP requests: one Pod answers them all"):
        request = b"GET / HTTP/1.1\r\nHost: web\r\n\r\n"
        last = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n"
        path = lab.probe("node/w1", "svc/web", payload=request * 99 + last, http_path="/")
        steps.mention(path)
        pods = {each.key.name for each in lab.pods("web")}
        named = [name for name in pods if f'"{name}"' in path.response]
        check(path.response.count('"pod"') == 100, "100 answers", path.response[:80])
        check(len(named) == 1, f"all from {' '.join(named)}")
    with steps("60 connections: every Pod gets its share"):
        seen = {lab.exchange("node/w1", "svc/web").body()["pod"] for _ in range(60)}
        check(seen == pods, "all three Pods answered", str(seen))
