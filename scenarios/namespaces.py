"""The same short name means another Service in another namespace.

A short name is looked up in the namespace of the Pod that asks. `ham-svc.perf` names the namespace,
and the full name works from everywhere. Both Services listen on port 443: each has a ClusterIP of
its own, so they don't meet.
"""

from typing import Any

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod


def namespace(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def service(name: str, space: str, app: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": space},
        "spec": {"selector": {"app": app}, "ports": [{"port": 443, "targetPort": 8443}]},
    }


def placed(name: str, space: str, node: str, app: str = "") -> dict[str, Any]:
    made = pod(name, node, app=app)
    made["metadata"]["namespace"] = space
    return made


@scenario(
    "Two namespaces, two Services on 443: short names, namespaced names, full names", dns=True
)
def namespaces(lab: Cluster, steps: Steps) -> None:
    with steps("ham-svc lives in perf, eggs-svc in qa; both listen on 443"):
        lab.apply(namespace("perf"), namespace("qa"))
        lab.apply(service("ham-svc", "perf", "ham"), service("eggs-svc", "qa", "eggs"))
        lab.apply(placed("ham", "perf", "w1", "ham"), placed("eggs", "qa", "w2", "eggs"))
        lab.apply(placed("caller", "perf", "w3"), placed("caller", "qa", "w3"))
        ham = lab.service("perf/ham-svc").cluster_ips[0]
        eggs = lab.service("qa/eggs-svc").cluster_ips[0]
        check(ham != eggs, f"each has a ClusterIP of its own: {ham} and {eggs}")

    with steps("From perf the short name ham-svc is enough; eggs-svc isn't"):
        found = lab.resolve("pod/perf/caller", "ham-svc", "A")
        steps.note(str(found))
        check(found.full_name == "ham-svc.perf.svc.cluster.local", "found in its own namespace")
        lost = lab.resolve("pod/perf/caller", "eggs-svc", "A")
        steps.note(str(lost))
        check(lost.problem == "no such name", "eggs-svc isn't a name in perf")

    with steps("With its namespace, each is found from the other one"):
        for source, name, pod_name in (
            ("pod/perf/caller", "eggs-svc.qa", "qa/eggs"),
            ("pod/qa/caller", "ham-svc.perf", "perf/ham"),
        ):
            path = lab.probe(source, f"{name}:443")
            steps.mention(path)
            expect(path).delivered_to(pod_name)

    with steps("The full name works from everywhere, on the same port, and never mixes them up"):
        for name, pod_name in (("ham-svc.perf", "perf/ham"), ("eggs-svc.qa", "qa/eggs")):
            for source in ("pod/perf/caller", "pod/qa/caller"):
                path = lab.probe(source, f"{name}.svc.cluster.local:443")
                expect(path).delivered_to(pod_name)
