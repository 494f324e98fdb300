"""Two zones with two worker nodes each: what topology hints and traffic distribution are about.

      client                       203.0.113.10   2001:db8:113::10
        │
      [outside]
        │                          203.0.113.1    2001:db8:113::1
      router ────────── lb         192.0.2.1 ── 192.0.2.2, VIPs 198.51.100.0/24, 2001:db8:100::/64
        │                          172.18.0.1     fd00:172:18::1
      [zone-a] ─────── [zone-b]    one node network, a switch in each zone
        ├── w1           ├── w3    172.18.0.11    172.18.0.13   (fd00:172:18::11 …)
        └── w2           └── w4    172.18.0.12    172.18.0.14

Also for Mininet's own command: sudo mn --custom topologies/two_zones.py --topo two_zones
"""

from testbed.emu import stock_mn
from testbed.emu.topo import ServiceTopo

stock_mn.use_fabric()


class TwoZones(ServiceTopo):
    """w1 and w2 in zone-a, w3 and w4 in zone-b."""

    def layout(self) -> None:
        zone_a, zone_b = self.switch("zone-a"), self.switch("zone-b")
        outside = self.switch("outside")
        self.addLink(zone_a, zone_b)
        self.router("router", nodes=zone_a, clients=outside)
        for name in ("w1", "w2"):
            self.worker(name, zone_a, zone="zone-a")
        for name in ("w3", "w4"):
            self.worker(name, zone_b, zone="zone-b")
        self.client("client", outside)
        self.balancer("lb")


topos = {"two_zones": TwoZones}
