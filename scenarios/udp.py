"""UDP has no connections, but the kernel's connection tracking makes some up.

The first datagram of a client's port is given an endpoint, and conntrack remembers the choice: all
later ones from that port go the same way, without asking the rules again. That is a trap when the
endpoint goes away. A client that never changes its source port (a resolver, a SIP phone, a game)
would send into nothing for as long as it keeps sending. So kube-proxy deletes the entries that lead
to endpoints which are no more, and the next datagram is given a new one.

The same holds for a client that began before there was any endpoint. TCP needs none of this: there
a client notices and connects again.
"""

from typing import Any

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import answers, served_by_only

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: game}
spec:
  type: NodePort
  selector: {app: game}
  ports: [{port: 5000, targetPort: 5000, protocol: UDP, nodePort: 30500}]
"""
#: The client's own port, always the same.
PORT = 40000
FIXED: dict[str, Any] = {"protocol": "udp", "source_port": PORT, "timeout": 0.5}


@scenario("UDP: a client that keeps its port moves to a new Pod")
def udp(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("caller", "w3"))
    inside = f"{lab.service('game').cluster_ips[0]}:5000"
    outside = f"{lab.node_addresses('w1')[0]}:30500"

    with steps("There is no Pod yet: a datagram is refused"):
        path = lab.probe("pod/caller", inside, **FIXED)
        steps.mention(path)
        expect(path).refused(at="w3")

    lab.apply(pod("game-1", "w1", app="game"))
    for source, target, node in (("pod/caller", inside, "w3"), ("client", outside, "w1")):
        with steps(f"{source} sends from port 40000 to {target}: game-1 answers"):
            path = lab.probe(source, target, **FIXED)
            steps.mention(path)
            expect(path).delivered_to("game-1").translated(at=node)

    lab.apply(pod("game-2", "w2", app="game"))
    with steps("A second Pod comes. Who keeps the port keeps the Pod, new ports are spread"):
        kept = answers(lab, "pod/caller", inside, source_ports=[PORT] * 10, protocol="udp")
        served_by_only(kept, "game-1")
        fresh = answers(lab, "pod/caller", inside, protocol="udp")
        served_by_only(fresh, "game-1", "game-2")

    with steps("Later datagrams aren't looked up in the rules: conntrack knows the way"):
        path = lab.probe("pod/caller", inside, **FIXED)
        steps.show(path)
        expect(path).delivered_to("game-1").translated(at="w3").met_no("game-1")

    lab.delete(pod("game-1", "w1", app="game"))
    for source, target in (("pod/caller", inside), ("client", outside)):
        with steps(f"game-1 is gone: the next datagram of {source} reaches game-2"):
            path = lab.probe(source, target, **FIXED)
            steps.mention(path)
            expect(path).delivered_to("game-2")
