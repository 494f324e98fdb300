"""A Pod that is going away still serves, if nobody else can.

A deleted Pod isn't gone at once: it has a grace period, and often a preStop hook that waits. During
that time its endpoint is `terminating`, not ready any more, but still `serving`. The proxy uses
such endpoints as a last resort: as long as any Pod is ready they get nothing new; when none is,
they get everything, which beats refusing.

With a Local policy each node decides for itself: its own terminating Pod is used even though
ready Pods exist elsewhere, because those aren't allowed here.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import answers, served_by_only

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  ipFamilyPolicy: RequireDualStack
  externalTrafficPolicy: Local
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
"""
#: Seconds that a Pod goes on serving after it was deleted.
LAST_SECONDS = 20


@scenario("Terminating Pods: the last resort")
def terminating(lab: Cluster, steps: Steps) -> None:
    hook = {"preStop": {"sleep": {"seconds": LAST_SECONDS}}}
    containers = [{"name": "app", "image": "echo", "lifecycle": hook}]
    first, second = (pod(f"web-{n}", f"w{n}", app="web", containers=containers) for n in (1, 2))
    lab.apply(SERVICE, first, second, pod("caller", "w3"))
    inside = [endpoint(address, 80) for address in lab.service("web").cluster_ips]
    on_w1, on_w2 = (endpoint(lab.node_addresses(node)[0], 30080) for node in ("w1", "w2"))

    with steps("web-1 is deleted and has 20 seconds left: web-2 is ready, and gets all"):
        lab.delete(first)
        for entry in lab.endpoint_slices("web")[0]["endpoints"]:
            steps.note(f"{entry['targetRef']['name']}: {entry['conditions']}")
        for target in inside:
            seen = answers(lab, "pod/caller", target)
            served_by_only(seen, "web-2")

    with steps("Node w1 may only use its own Pods, so web-1 still serves w1's node port"):
        path = lab.probe("client", on_w1)
        steps.show(path)
        expect(path).delivered_to("web-1").source_kept()

    with steps("web-2 is deleted too: nobody is ready, so both serve until their end"):
        lab.delete(second)
        for target in inside:
            seen = answers(lab, "pod/caller", target)
            served_by_only(seen, "web-1", "web-2")

    with steps(f"{LAST_SECONDS + 1} seconds later both are gone, and the Service refuses"):
        lab.advance(LAST_SECONDS + 1)
        check(not lab.pods("web"), "no Pod is left")
        for source, target in (("pod/caller", inside[0]), ("client", on_w1), ("client", on_w2)):
            path = lab.probe(source, target)
            steps.mention(path)
            expect(path).refused()
