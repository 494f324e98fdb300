"""The objects that the Ingress controller runs as. Pure.

Source: ingress-nginx deploy/static/provider/cloud (its LoadBalancer keeps the client's address by
externalTrafficPolicy Local).
"""

from __future__ import annotations

from testbed.api.documents import Document

NAMESPACE = SERVICE = "ingress-nginx"
DEPLOYMENT = "ingress-nginx-controller"
CLASS = "nginx"
CONTROLLER = "k8s.io/ingress-nginx"
IMAGE = "registry.k8s.io/ingress-nginx/controller:v1.14.0"
LABELS = {
    "app.kubernetes.io/name": "ingress-nginx",
    "app.kubernetes.io/component": "controller",
}
PORTS = (("http", 80), ("https", 443))


def ingress_controller(replicas: int = 1, *, dual_stack: bool = True) -> list[Document]:
    """Namespace, IngressClass `nginx`, Deployment and its LoadBalancer Service."""
    meta = {"namespace": NAMESPACE, "labels": dict(LABELS)}
    container = {
        "name": "controller",
        "image": IMAGE,
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in PORTS],
    }
    service = {
        "type": "LoadBalancer",
        "externalTrafficPolicy": "Local",
        "ipFamilyPolicy": "PreferDualStack" if dual_stack else "SingleStack",
        "selector": dict(LABELS),
        "ports": [
            {"name": name, "port": port, "protocol": "TCP", "targetPort": name}
            for name, port in PORTS
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "IngressClass",
            "metadata": {"name": CLASS, "labels": dict(LABELS)},
            "spec": {"controller": CONTROLLER},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": DEPLOYMENT, **meta},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": dict(LABELS)},
                "template": {
                    "metadata": {"labels": dict(LABELS)},
                    "spec": {"containers": [container]},
                },
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": SERVICE, **meta},
            "spec": service,
        },
    ]
