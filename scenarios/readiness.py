"""Readiness decides whether a Pod takes part in its Services. It doesn't cut the Pod off.

A Pod that runs but isn't ready stays in the EndpointSlice, marked `ready: false`, and the proxy
leaves it out. Whoever knows its address still reaches it. With no Pod ready, the Service refuses.

`publishNotReadyAddresses: true` calls every Pod ready that has an address: for peers that must find
each other before they can become ready.

The Pods here have a readiness gate, a condition that somebody outside the Pod sets; a readiness
probe that fails has the same effect.
"""

from testbed.cluster import Cluster
from testbed.flow.tuples import endpoint
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.manifests import pod
from testbed.scenario.traffic import answers, served_by_only

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  ipFamilyPolicy: RequireDualStack
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}]
"""
GATE = "example.com/warmed-up"


@scenario("Readiness: in or out of the Service, but never cut off")
def readiness(lab: Cluster, steps: Steps) -> None:
    gates = [{"conditionType": GATE}]
    lab.apply(SERVICE, pod("caller", "w1"))
    lab.apply(*(pod(f"web-{n}", f"w{n}", app="web", readinessGates=gates) for n in (1, 2)))
    targets = [endpoint(address, 80) for address in lab.service("web").cluster_ips]

    with steps("Both Pods run, none is ready: the Service refuses"):
        for target in targets:
            path = lab.probe("pod/caller", target)
            steps.mention(path)
            expect(path).refused(at="w1")

    with steps("A Pod that isn't ready answers at its own address"):
        (second,) = lab.pods("web-2")
        path = lab.probe("pod/caller", endpoint(second.ips[0], 8080))
        steps.mention(path)
        expect(path).delivered_to("web-2")

    with steps("web-1 becomes ready: it gets all connections"):
        set_ready(lab, "web-1", True)
        for target in targets:
            seen = answers(lab, "pod/caller", target)
            served_by_only(seen, "web-1")

    with steps("Both are ready: both serve. One falls out again: the other has all"):
        set_ready(lab, "web-2", True)
        seen = answers(lab, "pod/caller", targets[0])
        served_by_only(seen, "web-1", "web-2")
        set_ready(lab, "web-1", False)
        seen = answers(lab, "pod/caller", targets[0])
        served_by_only(seen, "web-2")

    with steps("publishNotReadyAddresses: readiness doesn't matter any more"):
        set_ready(lab, "web-2", False)
        lab.patch("services", "web", {"spec": {"publishNotReadyAddresses": True}})
        for entry in lab.endpoint_slices("web")[0]["endpoints"]:
            steps.note(f"{entry['targetRef']['name']}: {entry['conditions']}")
        for target in targets:
            seen = answers(lab, "pod/caller", target)
            served_by_only(seen, "web-1", "web-2")


def set_ready(lab: Cluster, name: str, ready: bool) -> None:
    """Set the gate's condition, as its owner would."""
    condition = {"type": GATE, "status": "True" if ready else "False"}
    kept = [c for c in lab.get("pods", name)["status"]["conditions"] if c["type"] != GATE]
    patch = {"status": {"conditions": [*kept, condition]}}
    lab.patch("pods", name, patch, subresource="status")
