"""A rule that a probe met is deleted or altered: explain names that place as the first."""

from __future__ import annotations

import os
import random
import re
import shlex
from collections.abc import Callable, Iterator

import pytest

from testbed.api.objects import IPV4, IPV6
from testbed.cluster import Cluster
from testbed.fabric.namespace import Namespace
from testbed.flow import RuleHit

pytestmark = pytest.mark.kernel

#: Mutations in each mode by family; those of IPv4 are the hundred that the project promises.
SAMPLES = {IPV4: 50, IPV6: 20}
FLOWS = (
    ("client", "node/w2:30007"),
    ("pod/caller", "svc/web"),
    ("node/w3", "svc/web"),
    ("client", "svc/local"),
    ("pod/caller", "svc/sticky"),
    ("pod/caller", "node/w1:30007"),
)
MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: any}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30007}]
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: LoadBalancer
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  selector: {app: web}
  loadBalancerSourceRanges: [203.0.113.0/24, "2001:db8:113::/64"]
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: sticky}
spec:
  ipFamilyPolicy: RequireDualStack
  sessionAffinity: ClientIP
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Pod
metadata: {name: caller}
spec:
  nodeName: w1
  containers: [{name: c, image: any}]
"""


@pytest.fixture(scope="module", params=["iptables", "nftables"])
def world(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    name = f"mutate-{os.getpid()}-{request.param}"
    with Cluster("three_nodes", name=name, proxy=request.param) as lab:
        lab.apply(MANIFEST)
        yield lab


def met_rules(lab: Cluster, source: str, target: str, family: str) -> list[tuple[str, RuleHit]]:
    """(node, rule of kube-proxy that the flow's first packet met)."""
    path = lab.explain(source, target, family=family).path
    return [
        (hop.namespace, hit)
        for hop in path.hops
        if hop.namespace in lab.node_names()
        for hit in hop.rules
        if hit.handle and ("KUBE-" in f"{hit.chain} {hit.text}" or hit.table == "kube-proxy")
    ]


def mutate(node: Namespace, family: str, hit: RuleHit, alter: bool) -> Callable[[], object]:
    """Delete a rule, or replace it by one that counts and does nothing; returns the repair."""
    if hit.table == "kube-proxy":
        table = f"{'ip' if family == IPV4 else 'ip6'} kube-proxy"
        saved = node.run(["nft", "list", "table", *table.split(" ")])
        repair = f"delete table {table}\n{saved}"
        chain = f"{table} {hit.chain}"
        listed = node.run(["nft", "-a", "list", "chain", *chain.split(" ")])
        handle = next(  # a repaired table has other handles
            line.rpartition(" ")[2] for line in listed.splitlines() if f"\t{hit.text} # " in line
        )
        change = f"delete rule {chain} handle {handle}\n"
        if alter:
            change = f"replace rule {chain} handle {handle} counter\n"
        node.run(["nft", "-f", "-"], input=change)
        return lambda: node.run(["nft", "-f", "-"], input=repair)
    tool = "iptables" if family == IPV4 else "ip6tables"
    saved = node.run([f"{tool}-save", "-t", hit.table])
    saved = re.sub(r"(?m)^(:\S+ \S+) .*", r"\1", saved)
    rules = [line for line in saved.splitlines() if line.startswith(f"-A {hit.chain} ")]
    number = rules.index(f"-A {hit.chain} {hit.text}") + 1
    place = [tool, "-t", hit.table]
    if alter:
        words = shlex.split(hit.text)
        kept = words[: words.index("-j")]
        node.run([*place, "-R", hit.chain, str(number), *kept, "-m", "comment", "--comment", "x"])
    else:
        node.run([*place, "-D", hit.chain, str(number)])
    return lambda: node.run([f"{tool}-restore"], input=saved)


@pytest.mark.parametrize("family", [IPV4, IPV6])
def test_every_mutation_is_named_as_the_first_place(world: Cluster, family: str) -> None:
    dice = random.Random(5)
    found = {flow: met_rules(world, *flow, family) for flow in FLOWS}
    wrong: list[str] = []
    met = 0
    while met < SAMPLES[family]:
        flow = dice.choice(FLOWS)
        node, hit = dice.choice(found[flow])
        repair = mutate(world.fabric.namespace(node), family, hit, alter=dice.random() < 0.5)
        try:
            explained = world.explain(*flow, family=family, timeout=0.3)
        finally:
            repair()
        place, words = explained.first
        hops = [hop.namespace for leg in explained.path.legs for hop in leg.hops]
        if node not in hops:
            continue  # another backend or node was chosen this time: the rule wasn't met
        met += 1
        if place != node or hit.chain not in words:
            wrong.append(f"{flow} {node} {hit.chain} {hit.text}: {place} {words}")
    assert not wrong, "\n".join(wrong)
    for flow in FLOWS:
        assert world.explain(*flow, family=family).agrees, flow
