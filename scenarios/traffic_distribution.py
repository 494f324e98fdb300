"""trafficDistribution keeps traffic near: in the client's zone, or on its node, if it can.

The EndpointSlice controller writes a hint into every endpoint: for which zone it is meant, and with
PreferSameNode also for which node. A proxy uses only the endpoints that are meant for it. It is a
preference: where no endpoint is meant for a zone, the proxy there uses all of them. That makes it
different from `internalTrafficPolicy: Local`, which would rather drop.

Mind the load: a zone's only Pod gets all of that zone's traffic, however many Pods idle elsewhere.
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
WEB = {f"web-{n}": pod(f"web-{n}", f"w{n}", app="web") for n in (1, 2, 3)}


@scenario("Traffic distribution: near Pods first", topology="two_zones")
def traffic_distribution(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, WEB.values(), *(pod(f"caller-{n}", f"w{n}") for n in (1, 3, 4)))
    targets = [endpoint(address, 80) for address in lab.service("web").cluster_ips]

    def served(caller: str, *expected: str) -> None:
        for target in targets:
            steps.note(f"{caller} calls {target}")
            served_by_only(answers(lab, f"pod/{caller}", target), *expected)

    with steps("zone-a has web-1 and web-2, zone-b has web-3. Without a preference: any of them"):
        served("caller-1", "web-1", "web-2", "web-3")

    with steps("PreferSameZone: callers stay in their zone, and web-3 has zone-b for itself"):
        lab.patch("services", "web", {"spec": {"trafficDistribution": "PreferSameZone"}})
        for entry in lab.endpoint_slices("web")[0]["endpoints"]:
            steps.note(f"{entry['targetRef']['name']} in {entry['zone']}: {entry['hints']}")
        served("caller-1", "web-1", "web-2")
        served("caller-3", "web-3")
        served("caller-4", "web-3")
        path = lab.probe("pod/caller-4", targets[0])
        steps.show(path)
        expect(path).delivered_to("web-3").source_kept()

    with steps("PreferSameNode: a node with a Pod of its own uses that; others stay in their zone"):
        lab.patch("services", "web", {"spec": {"trafficDistribution": "PreferSameNode"}})
        served("caller-1", "web-1")
        served("caller-3", "web-3")
        served("caller-4", "web-3")

    with steps("web-3 goes: zone-b has no Pod any more and uses all that are left"):
        lab.delete(WEB["web-3"])
        served("caller-3", "web-1", "web-2")
        served("caller-4", "web-1", "web-2")
