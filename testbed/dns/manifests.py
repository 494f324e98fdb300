"""The objects that cluster DNS runs as: Deployment coredns behind Service kube-dns. Pure.

Source: kubeadm's addon manifests (cmd/kubeadm/app/phases/addons/dns).
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api.documents import Document

NAMESPACE = "kube-system"
SERVICE, DEPLOYMENT = "kube-dns", "coredns"
IMAGE = "registry.k8s.io/coredns/coredns:v1.14.2"
LABELS = {"k8s-app": "kube-dns"}
PORTS = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53))


def cluster_dns(addresses: Sequence[str], replicas: int = 2) -> list[Document]:
    """Service kube-dns with `addresses` (one per family, the first decides) and its Deployment."""
    return [_service(addresses), _deployment(replicas)]


def _service(addresses: Sequence[str]) -> Document:
    families = ["IPv6" if ":" in address else "IPv4" for address in addresses]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": SERVICE,
            "namespace": NAMESPACE,
            "labels": {**LABELS, "kubernetes.io/name": "CoreDNS"},
        },
        "spec": {
            "clusterIP": addresses[0],
            "clusterIPs": list(addresses),
            "ipFamilies": families,
            "ipFamilyPolicy": "RequireDualStack" if len(addresses) > 1 else "SingleStack",
            "selector": dict(LABELS),
            "ports": [
                {"name": name, "protocol": protocol, "port": port, "targetPort": port}
                for name, protocol, port in PORTS
            ],
        },
    }


def _deployment(replicas: int) -> Document:
    container = {
        "name": "coredns",
        "image": IMAGE,
        "ports": [
            {"name": name, "protocol": protocol, "containerPort": port}
            for name, protocol, port in PORTS
        ],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": DEPLOYMENT, "namespace": NAMESPACE, "labels": dict(LABELS)},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": dict(LABELS)},
            "template": {
                "metadata": {"labels": dict(LABELS)},
                # A DNS server that asked itself would never get an answer.
                "spec": {"dnsPolicy": "Default", "containers": [container]},
            },
        },
    }
