"""Warnings that go with an accepted write.

Sources: pkg/api/service/warnings.go, pkg/api/pod/warnings.go, the strategies' WarningsOnCreate.
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.service_fields import cluster_ips, external_name, headless, spec_of
from testbed.api.validation.addresses import (
    address_text,
    cidr_leading_zeros,
    is_mapped,
    network_text,
    parse_cidr,
    parse_ip,
)

ENDPOINTS = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"

_HINTS = "service.kubernetes.io/topology-aware-hints"
_CLASS = "kubernetes.io/ingress.class"
_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
_MODE = "service.kubernetes.io/topology-mode"


def nothing(document: Document, old: Document | None) -> list[str]:
    """A kind without warnings."""
    return []


def service(document: Document, old: Document | None) -> list[str]:
    spec = spec_of(document)
    found = []
    if _HINTS in document["metadata"].get("annotations", {}):
        found.append(f"annotation {_HINTS} is deprecated, please use {_MODE} instead")
    if not headless(document):
        for i, address in enumerate(cluster_ips(document)):
            found += address_form(f"spec.clusterIPs[{i}]", address)
    external = spec.get("externalIPs", ())
    if headless(document) and spec.get("type") == "ClusterIP":
        if spec.get("loadBalancerIP"):
            found.append("spec.loadBalancerIP is ignored for headless services")
        if external:
            found.append("spec.externalIPs is ignored for headless services")
        if spec.get("sessionAffinity") != "None":
            found.append("spec.SessionAffinity is ignored for headless services")
    for i, address in enumerate(external):
        found += address_form(f"spec.externalIPs[{i}]", address)
    if external and not headless(document) and not external_name(document):
        words = "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
        found.append(words)
    if spec.get("loadBalancerIP"):
        found += address_form("spec.loadBalancerIP", spec["loadBalancerIP"])
    for i, network in enumerate(spec.get("loadBalancerSourceRanges", ())):
        found += network_form(f"spec.loadBalancerSourceRanges[{i}]", network)
    if external_name(document) and external:
        found.append('spec.externalIPs is ignored when spec.type is "ExternalName"')
    if not external_name(document) and spec.get("externalName"):
        found.append('spec.externalName is ignored when spec.type is not "ExternalName"')
    if spec.get("trafficDistribution") == "PreferClose":
        found.append('spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"')
    return found


def service_status(document: Document, old: Document | None) -> list[str]:
    """Of the addresses of a load balancer."""
    found = []
    balancer = document.get("status", {}).get("loadBalancer", {})
    for i, entry in enumerate(balancer.get("ingress", ())):
        found += address_form(f"status.loadBalancer.ingress[{i}]", entry.get("ip", ""))
    return found


def address_form(path: str, value: str) -> list[str]:
    """An address that isn't written as it should be; what is no address gets no warning."""
    address = parse_ip(value)
    if address is None:
        return []
    text = address_text(address)
    if text == value:
        return []
    if address.version == 4 or is_mapped(address):
        return [f"{path}: non-standard IP address {quote(value)} is invalid: use {quote(text)}"]
    words = f"{path}: IPv6 address {quote(value)} should be in RFC 5952 canonical format"
    return [f"{words} ({quote(text)})"]


def network_form(path: str, value: str) -> list[str]:
    """A CIDR that isn't written as it should be; what is no CIDR gets no warning."""
    parsed = parse_cidr(value)
    if parsed is None:
        return []
    address, network = parsed
    text, found = network_text(network), []
    if network.network_address != address:
        one = f"{address_text(address)}/{address.max_prefixlen}"
        words = f"is ambiguous in this context (should be {quote(text)} or {quote(one)}?)"
        found.append(f"{path}: CIDR value {quote(value)} {words}")
    if cidr_leading_zeros(value) or is_mapped(address):
        words = f"non-standard CIDR value {quote(value)} is invalid: use {quote(text)}"
        found.append(f"{path}: {words}")
    if not found and network.version == 6 and text != value:
        words = f"IPv6 CIDR value {quote(value)} should be in RFC 5952 canonical format"
        found.append(f"{path}: {words} ({quote(text)})")
    return found


def endpoints(document: Document, old: Document | None) -> list[str]:
    found = [ENDPOINTS]
    for i, subset in enumerate(document.get("subsets") or ()):
        for name in ("addresses", "notReadyAddresses"):
            for j, entry in enumerate(subset.get(name, ())):
                found += address_form(f"subsets[{i}].{name}[{j}].ip", entry.get("ip", ""))
    return found


def endpoint_slice(document: Document, old: Document | None) -> list[str]:
    fqdn = document.get("addressType") == "FQDN"
    return ["spec.addressType: FQDN endpoints are deprecated"] if fqdn else []


def ingress(document: Document, old: Document | None) -> list[str]:
    named = _CLASS in document["metadata"].get("annotations", {})
    if old is not None or not named or "ingressClassName" in document.get("spec", {}):
        return []
    return [f"annotation {quote(_CLASS)} is deprecated, please use 'spec.ingressClassName' instead"]


def node(document: Document, old: Document | None) -> list[str]:
    spec, found = document.get("spec", {}), []
    if "configSource" in spec:
        found.append("spec.configSource: the feature is removed")
    if spec.get("externalID"):
        words = "this field is deprecated, and is unused by Kubernetes"
        found.append(f"spec.externalID: {words}")
    return found


def service_account(document: Document, old: Document | None) -> list[str]:
    stored = {} if old is None else old["metadata"].get("annotations", {})
    if _MOUNTABLE in stored or _MOUNTABLE not in document["metadata"].get("annotations", {}):
        return []
    words = "prefer separate namespaces to isolate access to mounted secrets"
    return [f"metadata.annotations[{_MOUNTABLE}]: deprecated in v1.32+; {words}"]
