"""Validation of Services. Source: pkg/apis/core/validation/validation.go (ValidateService…)."""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.service_fields import (
    WITH_ADDRESS,
    WITH_NODE_PORTS,
    cluster_ips,
    external_name,
    externally_accessible,
    families,
    headless,
    needs_health_check,
    ports_of,
    same,
    spec_of,
    type_of,
)
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import legacy_cidr, legacy_ip, not_special, parse_ip
from testbed.api.validation.names import (
    dns_label,
    dns_subdomain,
    each,
    label_key,
    one_of,
    port_name,
    port_number,
)
from testbed.api.validation.service_addresses import address_changes, cluster_ip_fields

PROTOCOLS = ("SCTP", "TCP", "UDP")
TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
MAX_AFFINITY_SECONDS = 86400

_TRAFFIC_POLICIES = ("Cluster", "Local")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")
_HINTS = "service.kubernetes.io/topology-aware-hints"
_MODE = "service.kubernetes.io/topology-mode"
_RANGES = "service.beta.kubernetes.io/load-balancer-source-ranges"
_ONLY_BALANCER = "may only be used when `type` is 'LoadBalancer'"


def create(service: Document) -> list[FieldError]:
    """Everything wrong with a new Service, in field order."""
    errors = meta.object_meta(service["metadata"], namespaced=True, name=dns_label)
    return errors + _service(service, None)


def update(service: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed Service."""
    errors = meta.object_meta_update(service["metadata"], old["metadata"])
    errors += address_changes(service, old)
    errors += _balancer_class(service, old)
    errors += _health_check_change(service, old)
    return errors + _service(service, old)


def update_status(service: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed status."""
    errors = meta.object_meta_update(service["metadata"], old["metadata"])
    return errors + _balancer_status(service, old)


def _service(service: Document, old: Document | None) -> list[FieldError]:
    errors = _topology_annotations(service)
    errors += _type_and_address(service)
    names: set[str] = set()
    entries = ports_of(service)
    for i, entry in enumerate(entries):
        errors += _port(entry, f"spec.ports[{i}]", names, named=len(entries) > 1)
    errors += meta.labels(spec_of(service).get("selector", {}), "spec.selector")
    errors += _affinity(service)
    errors += cluster_ip_fields(service, old)
    errors += _external_ips(service, old)
    errors += one_of("spec.type", type_of(service), TYPES)
    errors += _node_ports(service)
    errors += _duplicate_ports(service)
    errors += _source_ranges(service, old)
    errors += _balancer_ports(service)
    errors += _balancer_class(service, None)
    errors += _external_policy(service)
    errors += _internal_policy(service)
    return errors + _distribution(service)


def _topology_annotations(service: Document) -> list[FieldError]:
    found = service["metadata"].get("annotations", {})
    if _MODE in found and _HINTS in found and found[_MODE] != found[_HINTS]:
        words = f"must match annotations[{_HINTS}] when both are specified"
        return [FieldError.invalid(f"metadata.annotations[{_MODE}]", found[_MODE], words)]
    return []


def _type_and_address(service: Document) -> list[FieldError]:
    kind = type_of(service)
    errors = []
    if not ports_of(service) and not headless(service) and not external_name(service):
        errors.append(FieldError.required("spec.ports"))
    if kind in WITH_NODE_PORTS and headless(service):
        words = f"may not be set to 'None' for {kind} services"
        errors.append(FieldError.invalid("spec.clusterIPs[0]", "None", words))
    if external_name(service):
        errors += _external_name(service)
    return errors


def _external_name(service: Document) -> list[FieldError]:
    spec = spec_of(service)
    words = "may not be set for ExternalName services"
    present = (
        ("clusterIPs", bool(cluster_ips(service))),
        ("ipFamilies", bool(families(service))),
        ("ipFamilyPolicy", "ipFamilyPolicy" in spec),
    )
    errors = [FieldError.forbidden(f"spec.{name}", words) for name, there in present if there]
    target = str(spec.get("externalName", "")).removesuffix(".")
    if not target:
        return [*errors, FieldError.required("spec.externalName")]
    return errors + each("spec.externalName", target, dns_subdomain)


def _port(entry: Document, path: str, names: set[str], *, named: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    name = entry.get("name", "")
    if name:
        errors += each(f"{path}.name", name, dns_label)
        if name in names:
            errors.append(FieldError.duplicate(f"{path}.name", name))
        names.add(name)
    elif named:
        errors.append(FieldError.required(f"{path}.name"))
    number = entry.get("port", 0)
    errors += [FieldError.invalid(f"{path}.port", number, m) for m in port_number(number)]
    errors += one_of(f"{path}.protocol", entry.get("protocol", ""), PROTOCOLS)
    errors += number_or_name(entry.get("targetPort", 0), f"{path}.targetPort")
    if "appProtocol" in entry:
        errors += each(f"{path}.appProtocol", entry["appProtocol"], label_key)
    return errors


def number_or_name(value: int | str, path: str) -> list[FieldError]:
    """A port as a number or as the name of a container's port."""
    messages = port_name(value) if isinstance(value, str) else port_number(value)
    return [FieldError.invalid(path, value, message) for message in messages]


def _affinity(service: Document) -> list[FieldError]:
    spec = spec_of(service)
    errors = one_of("spec.sessionAffinity", spec.get("sessionAffinity", ""), ("ClientIP", "None"))
    path = "spec.sessionAffinityConfig"
    config = spec.get("sessionAffinityConfig")
    if spec.get("sessionAffinity") == "ClientIP":
        seconds = ((config or {}).get("clientIP") or {}).get("timeoutSeconds")
        if seconds is None:
            words = "when session affinity type is ClientIP"
            errors.append(FieldError.required(path, words))
        elif not 0 < seconds <= MAX_AFFINITY_SECONDS:
            words = f"must be greater than 0 and less than {MAX_AFFINITY_SECONDS}"
            errors.append(FieldError.invalid(f"{path}.clientIP.timeoutSeconds", seconds, words))
    elif spec.get("sessionAffinity") == "None" and config is not None:
        words = "must not be set when session affinity is None"
        errors.append(FieldError.forbidden(path, words))
    return errors


def _external_ips(service: Document, old: Document | None) -> list[FieldError]:
    stored = spec_of(old).get("externalIPs", []) if old is not None else []
    errors = []
    for i, address in enumerate(spec_of(service).get("externalIPs", ())):
        path = f"spec.externalIPs[{i}]"
        errors += legacy_ip(path, address, stored) or not_special(path, address)
    return errors


def _node_ports(service: Document) -> list[FieldError]:
    errors = []
    seen: set[tuple[str, int]] = set()
    for i, entry in enumerate(ports_of(service)):
        path, port = f"spec.ports[{i}].nodePort", entry.get("nodePort", 0)
        if port and type_of(service) == "ClusterIP":
            words = "may not be used when `type` is 'ClusterIP'"
            errors.append(FieldError.forbidden(path, words))
    for i, entry in enumerate(ports_of(service)):
        path, port = f"spec.ports[{i}].nodePort", entry.get("nodePort", 0)
        key = (entry.get("protocol", ""), port)
        if port and key in seen:
            errors.append(FieldError.duplicate(path, port))
        seen.add(key)
    return errors


def _duplicate_ports(service: Document) -> list[FieldError]:
    errors = []
    seen: set[tuple[str, int]] = set()
    for i, entry in enumerate(ports_of(service)):
        protocol, number = entry.get("protocol", ""), entry.get("port", 0)
        if (protocol, number) in seen:
            value = GoStruct(
                Name="", Protocol=protocol, AppProtocol=None, Port=number, TargetPort=0, NodePort=0
            )
            errors.append(FieldError.duplicate(f"spec.ports[{i}]", value))
        seen.add((protocol, number))
    return errors


def _source_ranges(service: Document, old: Document | None) -> list[FieldError]:
    balancer = type_of(service) == "LoadBalancer"
    ranges = spec_of(service).get("loadBalancerSourceRanges", [])
    errors: list[FieldError] = []
    if ranges:
        path = "spec.LoadBalancerSourceRanges"
        if not balancer:
            errors.append(FieldError.forbidden(path, _ONLY_BALANCER))
        stored = [each.strip() for each in spec_of(old or {}).get("loadBalancerSourceRanges", ())]
        for i, value in enumerate(ranges):
            errors += legacy_cidr(f"{path}[{i}]", value.strip(), stored)
        return errors
    annotations = service["metadata"].get("annotations", {})
    if _RANGES not in annotations:
        return []
    path = f"metadata.annotations[{_RANGES}]"
    if not balancer:
        errors.append(FieldError.forbidden(path, _ONLY_BALANCER))
    if (
        old is not None
        and old["metadata"].get("annotations", {}).get(_RANGES) == annotations[_RANGES]
    ):
        return errors
    text = annotations[_RANGES].strip()
    for value in text.split(",") if text else ():
        errors += legacy_cidr(path, value.strip())
    return errors


def _balancer_ports(service: Document) -> list[FieldError]:
    field = "allocateLoadBalancerNodePorts"
    there = field in spec_of(service)
    if there and type_of(service) != "LoadBalancer":
        return [FieldError.forbidden(f"spec.{field}", _ONLY_BALANCER)]
    if not there and type_of(service) == "LoadBalancer":
        return [FieldError.required(field)]
    return []


def _balancer_class(service: Document, old: Document | None) -> list[FieldError]:
    path, value = "spec.loadBalancerClass", spec_of(service).get("loadBalancerClass")
    balancer = type_of(service) == "LoadBalancer"
    errors = []
    was_balancer = old is not None and type_of(old) == "LoadBalancer"
    if was_balancer and balancer and not same(service, old or {}, "loadBalancerClass"):
        errors.append(FieldError.invalid(path, value, "may not change once set"))
    if value is None:
        return errors
    if balancer:
        return errors + each(path, value, label_key)
    return [*errors, FieldError.forbidden(path, _ONLY_BALANCER)]


def _external_policy(service: Document) -> list[FieldError]:
    spec = spec_of(service)
    path, policy = "spec.externalTrafficPolicy", spec.get("externalTrafficPolicy", "")
    errors = []
    if externally_accessible(service):
        errors += one_of(path, policy, _TRAFFIC_POLICIES)
    elif policy:
        words = "may only be set for externally-accessible services"
        errors.append(FieldError.invalid(path, policy, words))
    path, port = "spec.healthCheckNodePort", spec.get("healthCheckNodePort", 0)
    if needs_health_check(service):
        if not port:
            return [*errors, FieldError.required(path)]
        return errors + [FieldError.invalid(path, port, m) for m in port_number(port)]
    if port:
        words = (
            "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        )
        errors.append(FieldError.invalid(path, port, words))
    return errors


def _health_check_change(service: Document, old: Document) -> list[FieldError]:
    port, stored = (spec_of(s).get("healthCheckNodePort", 0) for s in (service, old))
    if needs_health_check(service) and needs_health_check(old) and port != stored:
        return [FieldError.forbidden("spec.healthCheckNodePort", "field is immutable")]
    return []


def _internal_policy(service: Document) -> list[FieldError]:
    path, policy = "spec.internalTrafficPolicy", spec_of(service).get("internalTrafficPolicy")
    if policy is None:
        return [FieldError.required(path)] if type_of(service) in WITH_ADDRESS else []
    if policy in _TRAFFIC_POLICIES:
        return []
    return [FieldError.not_supported(path, policy, _TRAFFIC_POLICIES)]


def _distribution(service: Document) -> list[FieldError]:
    path, value = "spec.trafficDistribution", spec_of(service).get("trafficDistribution")
    if value is None or value in _DISTRIBUTIONS:
        return []
    return [FieldError.not_supported(path, value, _DISTRIBUTIONS)]


def _balancer_status(service: Document, old: Document) -> list[FieldError]:
    entries = _ingress(service)
    stored = [entry.get("ip", "") for entry in _ingress(old)]
    path = "status.loadBalancer.ingress"
    errors = []
    if type_of(service) != "LoadBalancer" and entries:
        words = "may only be used when `spec.type` is 'LoadBalancer'"
        return [FieldError.forbidden(path, words)]
    for i, entry in enumerate(entries):
        errors += _ingress_entry(entry, f"{path}[{i}]", stored)
    return errors


def _ingress(service: Document) -> list[Document]:
    balancer = service.get("status", {}).get("loadBalancer") or {}
    return balancer.get("ingress") or []


def _ingress_entry(entry: Document, path: str, stored: list[str]) -> list[FieldError]:
    errors: list[FieldError] = []
    address, mode, hostname = entry.get("ip", ""), entry.get("ipMode"), entry.get("hostname", "")
    if address:
        errors += legacy_ip(f"{path}.ip", address, stored)
    if mode is not None and not address:
        words = "may not be specified when `ip` is not set"
        errors.append(FieldError.forbidden(f"{path}.ipMode", words))
    elif mode is None and address:
        words = "must be specified when `ip` is set"
        errors.append(FieldError.required(f"{path}.ipMode", words))
    elif mode is not None and mode not in ("Proxy", "VIP"):
        errors.append(FieldError.not_supported(f"{path}.ipMode", mode, ("Proxy", "VIP")))
    return errors + balancer_hostname(hostname, f"{path}.hostname")


def balancer_hostname(hostname: str, path: str) -> list[FieldError]:
    """A load balancer's DNS name."""
    if not hostname:
        return []
    errors = each(path, hostname, dns_subdomain)
    if parse_ip(hostname) is not None:
        words = "must be a DNS name, not an IP address"
        errors.append(FieldError.invalid(path, hostname, words))
    return errors
