"""A Service that answers nobody: the walk that finds a typo in its selector.

Name, address, rules, endpoints, labels: each step asks one question, and the first wrong answer is
the place. A selector that fits no Pod is no error to Kubernetes. It makes a Service without
endpoints, and the proxies refuse what comes for it.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: wbe}
  ports: [{port: 80, targetPort: 8080}]
"""
LISTENING = {"name": "app", "image": "echo", "ports": [{"containerPort": 8080}]}


@scenario("Troubleshooting: a Service whose selector has a typo", dns=True)
def dns_selector_typo(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICE, pod("caller", "w1"))
    lab.apply(pod("web-1", "w2", app="web", containers=[LISTENING]))

    with steps("1. The symptom: the call is refused at once"):
        path = lab.probe("pod/caller", "web:80")
        steps.show(path)
        expect(path).refused(at="w1")

    with steps("2. Does the name resolve? Yes: so the Service exists, and DNS works"):
        found = lab.resolve("pod/caller", "web", "A")
        steps.note(str(found))
        check(found.addresses == lab.service("web").cluster_ips, "it is the ClusterIP")

    with steps("3. Does the Pod answer by its own address? Yes: so it isn't the application"):
        (backend,) = lab.pods("web")
        path = lab.probe("pod/caller", f"{backend.ips[0]}:8080")
        steps.mention(path)
        expect(path).delivered_to("web-1")

    with steps("4. Who refuses? A rule on the caller's node: the Service has no endpoints"):
        path = lab.probe("pod/caller", "web:80")
        expect(path).refused(at="w1").met("endpoint", at="w1")

    with steps("5. Its EndpointSlices are empty"):
        slices = lab.endpoint_slices("web")
        count = sum(len(each.get("endpoints") or ()) for each in slices)
        check(count == 0, "no endpoint in any slice")

    with steps("6. The selector against the labels: app=wbe, and no Pod has that"):
        selector = lab.get("services", "web")["spec"]["selector"]
        fitting = [p for p in lab.pods() if selector.items() <= p.labels.items()]
        labels = {p.key.name: dict(p.labels) for p in lab.pods()}
        steps.note(f"selector {selector}; Pods {labels}")
        check(fitting == [], "no Pod fits the selector")

    with steps("The repair: one letter; the endpoints follow, the call is answered"):
        lab.patch("services", "web", {"spec": {"selector": {"app": "web"}}})
        path = lab.probe("pod/caller", "web:80")
        steps.show(path)
        expect(path).delivered_to("web-1")
