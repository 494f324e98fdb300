"""Validation of Ingress, IngressClass, ServiceCIDR and IPAddress.

Source: pkg/apis/networking/validation/validation.go.
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import legacy_ip, parse_ip, strict_cidr, strict_ip
from testbed.api.validation.names import (
    Messages,
    dns_label,
    dns_subdomain,
    domain_prefixed_path,
    each,
    path_segment,
    port_name,
    port_number,
    wildcard_subdomain,
)
from testbed.api.validation.service import balancer_hostname

MAX_CONTROLLER_LENGTH = 250

_CLASS_ANNOTATION = "kubernetes.io/ingress.class"
_PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
_BAD_SEQUENCES = ("//", "/./", "/../", "%2f", "%2F")
_BAD_SUFFIXES = ("/..", "/.")
_CONTROLLER = "spec.controller"


# Ingress


def ingress(document: Document) -> list[FieldError]:
    errors = _ingress(document, None)
    annotation = document["metadata"].get("annotations", {}).get(_CLASS_ANNOTATION)
    name = document.get("spec", {}).get("ingressClassName")
    if annotation is not None and name is not None and annotation != name:
        path = f"annotations.{_CLASS_ANNOTATION}"
        words = "must match `ingressClassName` when both are specified"
        errors.append(FieldError.invalid(path, annotation, words))
    return errors


def ingress_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    return errors + _ingress(document, old)


def ingress_status(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    stored = [entry.get("ip", "") for entry in _balancer(old)]
    for i, entry in enumerate(_balancer(document)):
        where = f"status.loadBalancer.ingress[{i}]"
        if entry.get("ip"):
            errors += legacy_ip(f"{where}.ip", entry["ip"], stored)
        errors += balancer_hostname(entry.get("hostname", ""), f"{where}.hostname")
    return errors


def _balancer(document: Document) -> list[Document]:
    balancer = document.get("status", {}).get("loadBalancer") or {}
    return balancer.get("ingress") or []


def _ingress(document: Document, old: Document | None) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=True, name=dns_subdomain)
    spec = document.get("spec", {})
    rules = spec.get("rules")
    if not rules and "defaultBackend" not in spec:
        words = "either `defaultBackend` or `rules` must be specified"
        errors.append(FieldError.invalid("spec", rules, words))
    if "defaultBackend" in spec:
        errors += _backend(spec["defaultBackend"], "spec.defaultBackend")
    loose = old is not None and _has_bad_wildcard(old)
    for i, rule in enumerate(rules or ()):
        errors += _host(rule.get("host", ""), f"spec.rules[{i}].host")
        if "http" in rule and not (loose and "*" in rule.get("host", "")):
            errors += _http(rule["http"], f"spec.rules[{i}].http")
    any_secret = old is not None and _has_bad_secret(old)
    for i, entry in enumerate(spec.get("tls", ())):
        errors += _tls(entry, f"spec.tls[{i}]", any_secret=any_secret)
    if "ingressClassName" in spec:
        errors += each("spec.ingressClassName", spec["ingressClassName"], dns_subdomain)
    return errors


def _has_bad_wildcard(old: Document) -> bool:
    rules = old.get("spec", {}).get("rules") or ()
    return any("*" in r.get("host", "") and "http" in r and _http(r["http"], "") for r in rules)


def _has_bad_secret(old: Document) -> bool:
    entries = old.get("spec", {}).get("tls") or ()
    return any(e.get("secretName") and dns_subdomain(e["secretName"]) for e in entries)


def _host(host: str, path: str) -> list[FieldError]:
    if not host:
        return []
    errors = []
    if parse_ip(host) is not None:
        words = "must be a DNS name, not an IP address"
        errors.append(FieldError.invalid(path, host, words))
    return errors + each(path, host, wildcard_subdomain if "*" in host else dns_subdomain)


def _tls(entry: Document, where: str, *, any_secret: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, host in enumerate(entry.get("hosts", ())):
        check = wildcard_subdomain if "*" in host else dns_subdomain
        errors += each(f"{where}.hosts[{i}]", host, check)
    if entry.get("secretName") and not any_secret:
        errors += each(f"{where}.secretName", entry["secretName"], dns_subdomain)
    return errors


def _http(http: Document, path: str) -> list[FieldError]:
    paths = http.get("paths") or ()
    if not paths:
        return [FieldError.required(f"{path}.paths")]
    errors: list[FieldError] = []
    for i, entry in enumerate(paths):
        errors += _http_path(entry, f"{path}.paths[{i}]")
    return errors


def _http_path(entry: Document, where: str) -> list[FieldError]:
    kind, value, path = entry.get("pathType"), entry.get("path", ""), f"{where}.path"
    if kind is None:
        return [FieldError.required(f"{where}.pathType", "pathType must be specified")]
    errors: list[FieldError] = []
    absolute = FieldError.invalid(path, value, "must be an absolute path")
    if kind in ("Exact", "Prefix"):
        if not value.startswith("/"):
            errors.append(absolute)
        for part in _BAD_SEQUENCES:
            if part in value:
                errors.append(FieldError.invalid(path, value, f"must not contain '{part}'"))
        for part in _BAD_SUFFIXES:
            if value.endswith(part):
                errors.append(FieldError.invalid(path, value, f"cannot end with '{part}'"))
    elif kind == "ImplementationSpecific":
        if value and not value.startswith("/"):
            errors.append(absolute)
    else:
        errors.append(FieldError.not_supported(f"{where}.pathType", kind, _PATH_TYPES))
    return errors + _backend(entry.get("backend", {}), f"{where}.backend")


def _backend(backend: Document, path: str) -> list[FieldError]:
    if "resource" in backend and "service" in backend:
        words = "cannot set both resource and service backends"
        return [FieldError.invalid(path, "", words)]
    if "resource" in backend:
        return _reference(backend["resource"], f"{path}.resource")
    if "service" not in backend:
        return [FieldError.invalid(path, "", "resource or service backend is required")]
    service = backend["service"]
    errors: list[FieldError] = []
    if not service.get("name"):
        errors.append(FieldError.required(f"{path}.service.name"))
    else:
        errors += each(f"{path}.service.name", service["name"], dns_label)
    port = service.get("port", {})
    name, number = port.get("name", ""), port.get("number", 0)
    if name and number:
        words = "cannot set both port name & port number"
        errors.append(FieldError.invalid(path, "", words))
    elif name:
        errors += each(f"{path}.service.port.name", name, port_name)
    elif number:
        where = f"{path}.service.port.number"
        errors += [FieldError.invalid(where, number, message) for message in port_number(number)]
    else:
        errors.append(FieldError.required(path, "port name or number is required"))
    return errors


def _reference(reference: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if "apiGroup" in reference:
        errors += each(f"{path}.apiGroup", reference["apiGroup"], dns_subdomain)
    for name in ("kind", "name"):
        if not reference.get(name):
            errors.append(FieldError.required(f"{path}.{name}"))
        else:
            errors += each(f"{path}.{name}", reference[name], path_segment)
    return errors


# IngressClass


def ingress_class(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=False, name=dns_subdomain)
    spec = document.get("spec", {})
    controller = spec.get("controller", "")
    if not controller:
        errors.append(FieldError.required(_CONTROLLER))
    else:
        if len(controller.encode()) > MAX_CONTROLLER_LENGTH:
            errors.append(FieldError.too_long(_CONTROLLER, MAX_CONTROLLER_LENGTH))
        errors += domain_prefixed_path(_CONTROLLER, controller)
    if "parameters" in spec:
        errors += _parameters(spec["parameters"], "spec.parameters")
    return errors


def ingress_class_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    before = old.get("spec", {}).get("controller", "")
    after = document.get("spec", {}).get("controller", "")
    errors += meta.immutable(after, before, _CONTROLLER)
    return errors + ingress_class(document)


def _parameters(parameters: Document, path: str) -> list[FieldError]:
    errors = _reference(parameters, path)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        return [*errors, FieldError.required(f"{path}.scope")]
    if scope not in ("Cluster", "Namespace"):
        supported = ("Cluster", "Namespace")
        errors.append(FieldError.not_supported(f"{path}.scope", scope, supported))
    elif scope == "Namespace" and namespace is None:
        words = "`parameters.scope` is set to 'Namespace'"
        errors.append(FieldError.required(f"{path}.namespace", words))
    elif scope == "Namespace" and namespace is not None:
        errors += each(f"{path}.namespace", namespace, dns_label)
    elif namespace is not None:
        words = "`parameters.scope` is set to 'Cluster'"
        errors.append(FieldError.forbidden(f"{path}.namespace", words))
    return errors


# ServiceCIDR and IPAddress


def service_cidr(document: Document) -> list[FieldError]:
    errors = meta.object_meta(document["metadata"], namespaced=False, name=dns_subdomain)
    return errors + _cidrs(document.get("spec", {}).get("cidrs") or [])


def _cidrs(cidrs: list[str]) -> list[FieldError]:
    path = "spec.cidrs"
    if not cidrs:
        return [FieldError.required(path, "at least one CIDR required")]
    if len(cidrs) > 2:
        value = GoStruct(CIDRs=cidrs)
        return [FieldError.invalid(path, value, "may only hold up to 2 values")]
    errors: list[FieldError] = []
    for i, cidr in enumerate(cidrs):
        errors += strict_cidr(f"{path}[{i}]", cidr)
    versions = [_family(cidr) for cidr in cidrs]
    if len(cidrs) == 2 and versions[0] == versions[1] != 0:
        words = (
            "may specify no more than one IP for each IP family, "
            "i.e 192.168.0.0/24 and 2001:db8::/64"
        )
        errors.append(FieldError.invalid(path, cidrs, words))
    return errors


def _family(cidr: str) -> int:
    """4, 6, or 0 for what is no CIDR."""
    address = parse_ip(cidr.rpartition("/")[0])
    return 0 if address is None else address.version


def service_cidr_update(document: Document, old: Document) -> list[FieldError]:
    errors = meta.object_meta_update(document["metadata"], old["metadata"])
    cidrs = document.get("spec", {}).get("cidrs") or []
    stored = old.get("spec", {}).get("cidrs") or []
    path = "spec.cidrs"
    changed = [i for i, cidr in enumerate(stored) if i < len(cidrs) and cidrs[i] != cidr]
    fixed = [FieldError.invalid(f"{path}[{i}]", cidrs[i], "field is immutable") for i in changed]
    if len(cidrs) == len(stored):
        return errors + fixed
    if (len(stored), len(cidrs)) == (1, 2):
        return errors + fixed + _cidrs(cidrs)
    return [*errors, FieldError.invalid(path, cidrs or None, "field is immutable")]


def service_cidr_status(document: Document, old: Document) -> list[FieldError]:
    return meta.object_meta_update(document["metadata"], old["metadata"])


def ip_address(document: Document) -> list[FieldError]:
    own = document["metadata"]
    errors = meta.object_meta(own, namespaced=False, name=_address_name, prefix=_address_name)
    parent = document.get("spec", {}).get("parentRef")
    path = "spec.parentRef"
    if parent is None:
        return [*errors, FieldError.required(path)]
    if parent.get("group"):
        errors += each(f"{path}.group", parent["group"], dns_subdomain)
    for name in ("resource", "name"):
        if not parent.get(name):
            errors.append(FieldError.required(f"{path}.{name}"))
        else:
            errors += each(f"{path}.{name}", parent[name], path_segment)
    if parent.get("namespace"):
        errors += each(f"{path}.namespace", parent["namespace"], path_segment)
    return errors


def _address_name(name: str) -> Messages:
    return [error.detail for error in strict_ip("", name)]


def ip_address_update(document: Document, old: Document) -> list[FieldError]:
    errors = ip_address(document) + meta.object_meta_update(document["metadata"], old["metadata"])
    before = old.get("spec", {}).get("parentRef")
    after = document.get("spec", {}).get("parentRef")
    return errors + meta.immutable(after, before, "spec.parentRef")
