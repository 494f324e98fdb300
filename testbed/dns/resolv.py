"""A Pod's /etc/resolv.conf and /etc/hosts as kubelet and the runtime write them. Pure.

Source: pkg/kubelet/network/dns/dns.go (GetPodDNS, formDNSSearchFitsLimits), kubelet_pods.go
(managedHostsFileContent, GeneratePodHostNameAndDomain); the order of the lines is containerd's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testbed.api.documents import Document, name_of, namespace_of

NAMESERVER_LIMIT = 3
SEARCH_LIMIT = 32
SEARCH_LENGTH_LIMIT = 2048
DOMAIN_LENGTH_LIMIT = 253
HOSTNAME_LIMIT = 63


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """A resolver's configuration; `omitted` are kubelet's DNSConfigForming messages about it."""

    nameservers: tuple[str, ...]
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The file."""
        lines = [f"search {' '.join(self.searches)}"] if self.searches else []
        lines += [f"nameserver {server}" for server in self.nameservers]
        lines += [f"options {' '.join(self.options)}"] if self.options else []
        return "".join(f"{line}\n" for line in lines)


def resolv_conf(
    pod: Document,
    cluster_dns: Sequence[str],
    node: ResolvConf,
    domain: str = "cluster.local",
) -> ResolvConf:
    """The configuration of `pod` on a node whose own is `node`.

    `cluster_dns`: the DNS Service's addresses.
    """
    spec = pod.get("spec") or {}
    if _uses_cluster_dns(spec) and cluster_dns:
        own = [f"{namespace_of(pod) or 'default'}.svc.{domain}", f"svc.{domain}", domain]
        base = ResolvConf(tuple(cluster_dns), _unique([*own, *node.searches]), ("ndots:5",))
    elif spec.get("dnsPolicy") == "None":
        base = ResolvConf(())
    else:
        base = node
    config = spec.get("dnsConfig") or {}
    return _limited(
        _unique([*base.nameservers, *(config.get("nameservers") or ())]),
        _unique([*base.searches, *(config.get("searches") or ())]),
        _merged(base.options, config.get("options") or ()),
    )


def _uses_cluster_dns(spec: Document) -> bool:
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst":
        return not spec.get("hostNetwork")
    return bool(policy == "ClusterFirstWithHostNet")


def _merged(options: Sequence[str], more: Iterable[Document]) -> tuple[str, ...]:
    """Later options replace earlier ones of that name."""
    merged = {option.partition(":")[0]: option for option in options}
    for option in more:
        name, value = option.get("name") or "", option.get("value")
        merged[name] = f"{name}:{value}" if value else name
    return tuple(merged.values())


def _limited(
    nameservers: Sequence[str], searches: Sequence[str], options: tuple[str, ...]
) -> ResolvConf:
    omitted = []
    kept = tuple(nameservers[:NAMESERVER_LIMIT])
    if len(kept) < len(nameservers):
        omitted.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, "
            f"the applied nameserver line is: {' '.join(kept)}"
        )
    fitting = [s for s in searches[:SEARCH_LIMIT] if len(s) <= DOMAIN_LENGTH_LIMIT]
    while len(" ".join(fitting)) > SEARCH_LENGTH_LIMIT:
        fitting.pop()
    if len(fitting) < len(searches):
        omitted.append(
            "Search Line limits were exceeded, some search paths have been omitted, "
            f"the applied search line is: {' '.join(fitting)}"
        )
    return ResolvConf(kept, tuple(fitting), options, tuple(omitted))


def hostname_of(pod: Document, domain: str = "cluster.local") -> tuple[str, str]:
    """A Pod's hostname and the domain it is in ("" without a subdomain)."""
    spec = pod.get("spec") or {}
    if spec.get("hostnameOverride"):
        return spec["hostnameOverride"], ""
    hostname = spec.get("hostname") or name_of(pod)[:HOSTNAME_LIMIT].rstrip("-.")
    if not spec.get("subdomain"):
        return hostname, ""
    return hostname, f"{spec['subdomain']}.{namespace_of(pod) or 'default'}.svc.{domain}"


def hosts_file(
    pod: Document, ips: Sequence[str], node_hosts: str = "", domain: str = "cluster.local"
) -> str:
    """A Pod's /etc/hosts; `node_hosts` is the node's own file, for Pods on its network."""
    spec = pod.get("spec") or {}
    if spec.get("hostNetwork"):
        head = "# Kubernetes-managed hosts file (host network).\n" + node_hosts
    else:
        hostname, subdomain = hostname_of(pod, domain)
        own = f"{hostname}.{subdomain}\t{hostname}" if subdomain else hostname
        head = _HOSTS_HEAD + "".join(f"{ip}\t{own}\n" for ip in ips)
    aliases = spec.get("hostAliases") or ()
    if not aliases:
        return head
    listed = ("\t".join([a.get("ip") or "", *(a.get("hostnames") or ())]) for a in aliases)
    return head + "\n# Entries added by HostAliases.\n" + "".join(f"{line}\n" for line in listed)


_HOSTS_HEAD = """\
# Kubernetes-managed hosts file.
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::0\tip6-localnet
fe00::0\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


def _unique(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))
