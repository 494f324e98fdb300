"""A node's proxy is taken away or changed: its rules go, everybody else's stay."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator

import pytest

from testbed.cluster import Cluster
from testbed.fabric.namespace import Namespace

pytestmark = pytest.mark.kernel

MANIFEST = """
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers: [{name: c, image: any}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  sessionAffinity: ClientIP
  externalTrafficPolicy: Local
  loadBalancerSourceRanges: [203.0.113.0/24, "2001:db8:113::/64"]
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30007}]
---
apiVersion: v1
kind: Service
metadata: {name: empty}
spec:
  ipFamilyPolicy: PreferDualStack
  selector: {app: nobody}
  ports: [{port: 80}]
"""
#: What other programs keep in the tables that iptables shares; its base chains are nobody's.
STRANGERS = """*mangle
:PREROUTING ACCEPT
:INPUT ACCEPT
:FORWARD ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
-A FORWARD -o eth9 -j MARK --set-xmark 0x1/0x1
COMMIT
*filter
:INPUT DROP
:FORWARD ACCEPT
:OUTPUT ACCEPT
:KUBE-ROUTER-INPUT -
:MY-KUBE-SERVICES -
-A INPUT -j KUBE-ROUTER-INPUT
-A INPUT -j ACCEPT
-A FORWARD -m comment --comment "of KUBE-FORWARD's neighbour" -j MY-KUBE-SERVICES
-A KUBE-ROUTER-INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A MY-KUBE-SERVICES -i eth9 -j DROP
COMMIT
*nat
:PREROUTING ACCEPT
:INPUT ACCEPT
:OUTPUT ACCEPT
:POSTROUTING ACCEPT
:CNI-MASQ -
-A POSTROUTING -j CNI-MASQ
-A CNI-MASQ -o eth9 -j MASQUERADE
COMMIT
"""
TABLE = "table inet kube-proxy { chain mine { counter; }; }"


@pytest.fixture(params=["iptables", "nftables"])
def lab(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = f"away-{os.getpid()}-{request.param[0]}"
    with Cluster("single_node", name=name, proxy=request.param) as made:
        yield made


def listed(node: Namespace) -> list[str]:
    """All rules, chains and tables of a namespace, without counters' numbers."""
    text = node.run(["nft", "-s", "list", "ruleset"])
    saved = "".join(node.run([f"{tool}-save"]) for tool in ("iptables", "ip6tables"))
    saved = re.sub(r" \[\d+:\d+\]|^#.*\n", "", saved, flags=re.MULTILINE)
    return [*text.splitlines(), *saved.splitlines()]


def test_without_its_proxy_a_node_has_others_rules_and_no_others(lab: Cluster) -> None:
    node = lab.fabric.namespace("w1")
    lab.set_proxy("none", "w1")
    for tool in ("iptables-restore", "ip6tables-restore"):
        node.run([tool], input=STRANGERS)
    node.run(["nft", "-f", "-"], input=TABLE)
    before = listed(node)
    mode = lab.options.proxy
    for which in (mode, "nftables" if mode == "iptables" else "iptables"):
        lab.set_proxy(which, "w1")
        lab.apply(MANIFEST)
        assert len(listed(node)) > len(before)
        assert lab.exchange("node/w1", "svc/web").kind == "answered"
        lab.set_proxy("none", "w1")
        after = listed(node)
        assert sorted(after) == sorted(before)


def test_a_proxy_is_not_taken_away_in_the_middle_of_a_sync(lab: Cluster) -> None:
    proxy = lab.core.proxies.get("w1")
    assert proxy is not None
    sync, cleanup = proxy.sync, proxy.cleanup
    begun, go_on = threading.Event(), threading.Event()
    cleaned: list[bool] = []

    def slow_sync() -> object:
        begun.set()
        go_on.wait(10)
        return sync()

    def watched_cleanup() -> None:
        cleaned.append(go_on.is_set())
        cleanup()

    proxy.sync, proxy.cleanup = slow_sync, watched_cleanup  # type: ignore[assignment,method-assign]
    applying = threading.Thread(target=lab.apply, args=(MANIFEST,))
    applying.start()
    assert begun.wait(10)
    removing = threading.Thread(target=lab.set_proxy, args=("none", "w1"))
    removing.start()
    time.sleep(0.2)
    go_on.set()
    applying.join()
    removing.join()
    assert cleaned == [True]
    rules = "\n".join(listed(lab.fabric.namespace("w1")))
    assert "KUBE-" not in rules
    assert "kube-proxy" not in rules
