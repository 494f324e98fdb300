"""Three worker nodes, a client outside, a router between them, a cloud load balancer.

      client                       203.0.113.10   2001:db8:113::10
        │
      [outside]
        │                          203.0.113.1    2001:db8:113::1
      router ────────── lb         192.0.2.1 ── 192.0.2.2, VIPs 198.51.100.0/24, 2001:db8:100::/64
        │                          172.18.0.1     fd00:172:18::1
      [cluster]
        ├── w1                     172.18.0.11    fd00:172:18::11
        ├── w2                     172.18.0.12    fd00:172:18::12
        └── w3                     172.18.0.13    fd00:172:18::13

Also for Mininet's own command: sudo mn --custom topologies/three_nodes.py --topo three_nodes
"""

from testbed.emu import stock_mn
from testbed.emu.topo import ServiceTopo

stock_mn.use_fabric()


class ThreeNodes(ServiceTopo):
    """w1, w2 and w3 on one switch."""

    def layout(self) -> None:
        cluster, outside = self.switch("cluster"), self.switch("outside")
        self.router("router", nodes=cluster, clients=outside)
        for name in ("w1", "w2", "w3"):
            self.worker(name, cluster)
        self.client("client", outside)
        self.balancer("lb")


topos = {"three_nodes": ThreeNodes}
