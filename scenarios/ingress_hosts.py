"""Two hosts, and two Services on one host, behind one load balancer: what an Ingress is for.

An Ingress is a wish; a controller makes it true. Here that is nginx in a Pod, behind a LoadBalancer
Service of its own. It doesn't use the Services' ClusterIPs: it reads their EndpointSlices and
connects to Pods itself. So a request has two connections, and the Pod sees the proxy as its client;
the client's address is in a header, X-Forwarded-For, if the load balancer let the proxy see it.
"""

from testbed.cluster import Cluster
from testbed.scenario import Steps, expect, scenario
from testbed.scenario.expect import check
from testbed.scenario.manifests import pod

SERVICES = """
apiVersion: v1
kind: Service
metadata: {name: shop}
spec:
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: 8080}]
---
apiVersion: v1
kind: Service
metadata: {name: api}
spec:
  selector: {app: api}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""
INGRESS = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: example}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: shop, port: {name: http}}}}
      - {path: /api, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}
  - host: api.example.com
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: api, port: {name: http}}}}
"""
MISTAKE = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: mistake}
spec:
  ingressClassName: nginx
  rules:
  - host: shop.example.com
    http:
      paths:
      - {path: /new, pathType: Prefix, backend: {service: {name: shpo, port: {name: http}}}}
"""
CONTROLLER = "ingress-nginx/ingress-nginx-controller"


@scenario("Ingress: two hosts, and two Services on one of them", needs=("nginx",), ingress=True)
def ingress_hosts(lab: Cluster, steps: Steps) -> None:
    lab.apply(SERVICES, pod("shop-1", "w1", app="shop"), pod("api-1", "w2", app="api"))

    with steps("One Ingress for both hosts; its status shows where they are"):
        for line in lab.apply(INGRESS):
            steps.note(line)
        entries = lab.get("ingresses", "example")["status"]["loadBalancer"]["ingress"]
        address = entries[0]["ip"]
        steps.note(f"status: {address}, {entries[0]['hostname']}")
        for host in ("shop.example.com", "api.example.com"):
            found = lab.resolve("client", host, "A")
            check(found.addresses == (address,), f"the public DNS has {host} at {address}")

    with steps("The host and the path decide who answers"):
        for url, wanted in (
            ("shop.example.com/", "shop-1"),
            ("shop.example.com/api/items", "api-1"),
            ("shop.example.com/apis", "shop-1"),
            ("api.example.com/anything", "api-1"),
        ):
            host, _, path = url.partition("/")
            body = lab.exchange("client", f"{host}:80", http_path=f"/{path}").body()
            check(body.get("pod") == wanted, f"http://{url} is answered by {wanted}")

    with steps("Every step of one request: cloud, node, nginx, Pod"):
        path = lab.probe("client", "shop.example.com:80", http_path="/api")
        steps.show(path)
        expect(path).through("client", "router", "lb").delivered_to(CONTROLLER)
        onward = path.relayed
        check(onward is not None, "nginx makes a connection of its own")
        assert onward is not None
        clusterips = [ip for name in ("shop", "api") for ip in lab.service(name).cluster_ips]
        expect(onward).delivered_to("api-1").not_translated()
        for address in clusterips:
            expect(onward).never_carried(address)

    with steps("The Pod sees nginx; nginx saw the client, and says so in a header"):
        body = lab.exchange("client", "shop.example.com:80", http_path="/").body()
        (proxy,) = (p for p in lab.all_pods() if p.key.namespace == "ingress-nginx")
        peer = body["peer"].rpartition(":")[0]
        check(peer == proxy.ips[0], f"its peer is nginx at {peer}")
        client = lab.topology.machine("client").address(4)
        check(body.get("forwarded") == client, f"X-Forwarded-For is {client}")

    with steps("An Ingress that names a wrong Service: an Event, a 503, and the rest goes on"):
        lab.apply(MISTAKE)
        events = lab.events("mistake")
        for line in events:
            steps.note(line)
        check(any("default/shpo does not exist" in line for line in events), "the Event names it")
        status = lab.exchange("client", "shop.example.com:80", http_path="/new").status
        check(status == 503, "its path answers 503")
        status = lab.exchange("client", "shop.example.com:80", http_path="/").status
        check(status == 200, "the others answer as before")
