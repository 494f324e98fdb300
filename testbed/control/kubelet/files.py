"""A Pod's hostname, /etc/hosts and /etc/resolv.conf, from the objects that they depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.api.documents import Document
from testbed.control.kubelet.environment import Finder
from testbed.dns.resolv import ResolvConf, hostname_of, hosts_file, resolv_conf

#: The Service of the cluster DNS, whose addresses kubelet is configured with.
DNS_SERVICE = "kube-system", "kube-dns"


@dataclass(frozen=True, slots=True)
class PodFiles:
    """`problems` are kubelet's DNSConfigForming messages."""

    hostname: str
    files: dict[str, str]
    problems: tuple[str, ...]


def pod_files(pod: Document, addresses: Sequence[str], find: Finder, node: ResolvConf) -> PodFiles:
    """The files of a Pod with these addresses; `node` is its node's own resolver."""
    service = find("services", *DNS_SERVICE)
    cluster_dns = tuple((service or {"spec": {}})["spec"].get("clusterIPs") or ())
    resolver = resolv_conf(pod, cluster_dns, node)
    files = {"/etc/hosts": hosts_file(pod, addresses), "/etc/resolv.conf": resolver.text}
    return PodFiles(hostname_of(pod)[0], files, resolver.omitted)
