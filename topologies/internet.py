"""Three worker nodes and more of the world: two networks of clients, a database, the internet.

      client  internet  database   203.0.113.10  .11  .12      (2001:db8:113::10 …)
        │        │         │       the public DNS is served on `internet`
      [outside]──┴─────────┘
        │                          203.0.113.1    2001:db8:113::1
        │    desk                  100.64.0.10    2001:db8:64::10
        │     │
        │  [office]                100.64.0.1     2001:db8:64::1
        │     │
      router ────────── lb         192.0.2.1 ── 192.0.2.2, VIPs 198.51.100.0/24, 2001:db8:100::/64
        │                          172.18.0.1     fd00:172:18::1
      [cluster]
        ├── w1                     172.18.0.11    fd00:172:18::11
        ├── w2                     172.18.0.12    fd00:172:18::12
        └── w3                     172.18.0.13    fd00:172:18::13

Also for Mininet's own command: sudo mn --custom topologies/internet.py --topo internet
"""

from testbed.emu import stock_mn
from testbed.emu.topo import ServiceTopo

stock_mn.use_fabric()


class Internet(ServiceTopo):
    """w1, w2 and w3; outside a client, an internet host, a database; in an office a desk."""

    def layout(self) -> None:
        cluster, outside = self.switch("cluster"), self.switch("outside")
        self.router("router", nodes=cluster, clients=outside)
        for name in ("w1", "w2", "w3"):
            self.worker(name, cluster)
        for name in ("client", "internet", "database"):
            self.client(name, outside)
        self.balancer("lb")
        office = self.branch(self.switch("office"), "100.64.0.0/24", "2001:db8:64::/64")
        self.member("desk", office)


topos = {"internet": Internet}
