"""One worker node: client, router and cloud load balancer as everywhere.

      client                       203.0.113.10   2001:db8:113::10
        │
      [outside]
        │                          203.0.113.1    2001:db8:113::1
      router ────────── lb         192.0.2.1 ── 192.0.2.2, VIPs 198.51.100.0/24, 2001:db8:100::/64
        │                          172.18.0.1     fd00:172:18::1
      [cluster]
        │
       w1                          172.18.0.11    fd00:172:18::11

Also for Mininet's own command: sudo mn --custom topologies/single_node.py --topo single_node
"""

from testbed.emu import stock_mn
from testbed.emu.topo import ServiceTopo

stock_mn.use_fabric()


class SingleNode(ServiceTopo):
    """Every Pod on w1."""

    def layout(self) -> None:
        cluster, outside = self.switch("cluster"), self.switch("outside")
        self.router("router", nodes=cluster, clients=outside)
        self.worker("w1", cluster)
        self.client("client", outside)
        self.balancer("lb")


topos = {"single_node": SingleNode}
