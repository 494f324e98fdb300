from __future__ import annotations

from testbed.dns.manifests import cluster_dns


def test_dns_is_a_deployment_behind_a_service_of_both_families() -> None:
    service, deployment = cluster_dns(["10.96.0.10", "fd00:10:96::a"])
    assert service["spec"]["clusterIP"] == "10.96.0.10"
    assert service["spec"]["ipFamilies"] == ["IPv4", "IPv6"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels == {"k8s-app": "kube-dns"}
    ports = {(p["protocol"], p["port"]) for p in service["spec"]["ports"]}
    assert ports == {("UDP", 53), ("TCP", 53)}
    assert deployment["spec"]["template"]["spec"]["dnsPolicy"] == "Default"
