"""Session affinity sends a client back to the Pod that served it before.

Without it every connection picks its endpoint anew. With `sessionAffinity: ClientIP` the node
remembers which endpoint a source address was given, and looks there first. The memory is the
node's own: iptables mode keeps it in the kernel's list of recent addresses, nftables mode in sets
whose elements expire. It knows addresses, not users: everybody behind one NAT is one client. It
ends `timeoutSeconds` after the last connection (three hours unless told otherwise), and with the
endpoint itself.

The kernel counts that time, not the testbed's clock, so this scenario takes a time-out of two
seconds and really waits for it.
"""

import time
from collections import Counter

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import answers, told

TIMEOUT = 2
SERVICE = f"""
apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {{app: shop}}
  sessionAffinity: ClientIP
  sessionAffinityConfig:
    clientIP: {{timeoutSeconds: {TIMEOUT}}}
  ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]
"""
BACKENDS = [pod("shop-1", "w1", app="shop"), pod("shop-2", "w2", app="shop")]
#: Addresses of the machine outside; each is a client of its own to the node.
CLIENTS = [f"203.0.113.{number}" for number in range(20, 60)]


@scenario("Session affinity: back to the same Pod, until the time-out")
def session_affinity(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, BACKENDS, pod("caller", "w1"))
    addresses = lab.service("shop").cluster_ips

    for address in addresses:
        with steps(f"A Pod calls {address} forty times: one Pod answers all of them"):
            seen = answers(lab, "pod/caller", endpoint(address, 80))
            steps.note(told(seen))
            check(len(seen) == 1, "always the same Pod", told(seen))

    with steps("The packet's path: the node remembers, nothing is drawn by lot"):
        path = lab.probe("pod/caller", endpoint(addresses[0], 80))
        steps.show(path)
        expect(path).delivered_to("shop").met_no("statistic").met_no("numgen")
        if lab.options.proxy == "iptables":
            expect(path).met("-m recent", "--rcheck", f"--seconds {TIMEOUT}", at="w1")
        else:
            expect(path).met("ip saddr @affinity-", at="w1")

    with steps(f"{len(CLIENTS)} addresses outside call w1: each gets a Pod, and keeps it"):
        for address in CLIENTS:
            lab.net["client"].cmd(f"ip address add {address}/32 dev client-eth0")
        first = ask_all(lab)
        check(len(set(first.values())) == 2, f"spread by address: {told(Counter(first.values()))}")
        check(ask_all(lab) == first, "each of them comes back to its own Pod")

    with steps(f"After {TIMEOUT} seconds of silence they are forgotten and drawn anew"):
        time.sleep(TIMEOUT + 0.2)
        later = ask_all(lab)
        moved = sum(later[address] != first[address] for address in CLIENTS)
        check(moved > 0, f"{moved} of {len(CLIENTS)} clients have another Pod now", "none moved")

    with steps("Affinity ends with the endpoint: the caller's Pod goes, the next call is served"):
        (before,) = answers(lab, "pod/caller", "svc/shop", 1)
        lab.delete(next(each for each in BACKENDS if each["metadata"]["name"] == before))
        (after,) = answers(lab, "pod/caller", "svc/shop", 1)
        check({before, after} == {"shop-1", "shop-2"}, f"{before} is gone, {after} answers", after)


def ask_all(lab: Cluster) -> dict[str, str]:
    """Which Pod each client is given by w1."""
    target = f"{lab.node_addresses('w1')[0]}:30080"
    return {a: next(iter(answers(lab, "client", target, 1, source_address=a))) for a in CLIENTS}
