"""Warnings about Pods and the templates of workloads.

Sources: pkg/api/pod/warnings.go, pkg/registry/apps/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from testbed.api import quantity
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.validation.names import dns_label
from testbed.api.warn import address_form

_NAME = "which can result in surprising behavior; a DNS label is recommended"
_NO_SELECTOR = "a null labelSelector results in matching no pod"


def pod(document: Document, old: Document | None) -> list[str]:
    """A new Pod's; changes of Pods come from programs, and get none."""
    if old is not None:
        return []
    found = _name(document, "the Pod's hostname")
    return found + _spec(document.get("spec", {}), "spec")


def pod_status(document: Document, old: Document | None) -> list[str]:
    """Of the addresses of a Pod and of its node."""
    found = []
    for name in ("podIPs", "hostIPs"):
        for i, entry in enumerate(document.get("status", {}).get(name, ())):
            found += address_form(f"status.{name}[{i}].ip", entry.get("ip", ""))
    return found


def workload(document: Document, old: Document | None) -> list[str]:
    """A Deployment's or ReplicaSet's; of a change, only one of its spec."""
    return ([] if old else _name(document, "Pod names and hostnames")) + template(document, old)


def template(document: Document, old: Document | None) -> list[str]:
    """A workload's whose Pods aren't named after it."""
    spec = document.get("spec", {})
    if old is not None and spec == old.get("spec", {}):
        return []
    return _spec(spec.get("template", {}).get("spec", {}), "spec.template.spec")


def _name(document: Document, use: str) -> list[str]:
    messages = dns_label(document["metadata"].get("name", ""))
    if not messages:
        return []
    return [f"metadata.name: this is used in {use}, {_NAME}: [{' '.join(messages)}]"]


def _spec(spec: Document, path: str) -> list[str]:
    found = _spread(spec, path)
    found += _repeated(spec, path)
    for container, where in _containers(spec, path):
        found += _fractions(container, where)
        found += _hidden_variables(container, where)
    found += _ports(spec, path)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        words = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}.terminationGracePeriodSeconds: {words}")
    found += _affinity(spec, f"{path}.affinity")
    for i, server in enumerate(spec.get("dnsConfig", {}).get("nameservers", ())):
        found += address_form(f"{path}.dnsConfig.nameservers[{i}]", server)
    for i, alias in enumerate(spec.get("hostAliases", ())):
        found += address_form(f"{path}.hostAliases[{i}].ip", alias.get("ip", ""))
    return found


def _containers(spec: Document, path: str) -> Iterator[tuple[Document, str]]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(name, ())):
            yield container, f"{path}.{name}[{i}]"


def _spread(spec: Document, path: str) -> list[str]:
    return [
        f"{path}.topologySpreadConstraints[{i}].labelSelector: {_NO_SELECTOR}"
        for i, constraint in enumerate(spec.get("topologySpreadConstraints", ()))
        if "labelSelector" not in constraint
    ]


def _repeated(spec: Document, path: str) -> list[str]:
    found = []
    for name, key in (("hostAliases", "ip"), ("imagePullSecrets", "name")):
        seen: set[str] = set()
        for i, entry in enumerate(spec.get(name, ())):
            value = entry.get(key, "")
            if value in seen:
                found.append(f"{path}.{name}[{i}].{key}: duplicate {key} {quote(value)}")
            seen.add(value)
    for i, entry in enumerate(spec.get("imagePullSecrets", ())):
        if not entry.get("name"):
            found.append(f'{path}.imagePullSecrets[{i}].name: invalid empty name ""')
    return found


def _fractions(container: Document, where: str) -> list[str]:
    found = []
    for name in ("memory", "ephemeral-storage"):
        for kind in ("limits", "requests"):
            amount = container.get("resources", {}).get(kind, {}).get(name, "0")
            value = quantity.parse(amount)[0]
            if value != value.to_integral_value():
                words = f"fractional byte value {quote(amount)} is invalid, must be an integer"
                found.append(f"{where}.resources.{kind}[{name}]: {words}")
    return found


def _hidden_variables(container: Document, where: str) -> list[str]:
    found = []
    seen: set[str] = set()
    for i, variable in enumerate(container.get("env", ())):
        name, value = variable.get("name", ""), variable.get("value", "")
        reference = f"$({name})"
        extends = "valueFrom" not in variable and value != reference and reference in value
        if name in seen and not extends:
            words = f"hides previous definition of {quote(name)}"
            found.append(f"{where}.env[{i}]: {words}, which may be dropped when using apply")
        seen.add(name)
    return found


def _ports(spec: Document, path: str) -> list[str]:
    found = []
    known: dict[tuple[int, str], list[tuple[str, Document]]] = {}
    for container, where in _containers(spec, path):
        for i, port in enumerate(container.get("ports", ())):
            here = f"{where}.ports[{i}]"
            if port.get("hostIP") and not port.get("hostPort"):
                found.append(f"{here}: hostIP set without hostPort: {_go_port(port)}")
            key = (port.get("containerPort", 0), port.get("protocol", ""))
            for there, other in known.setdefault(key, []):
                if words := _overlap(port, other):
                    found.append(f"{here}: {words} port definition with {there}")
            known[key].append((here, port))
    return found


def _overlap(port: Document, other: Document) -> str:
    """How two definitions of a container's port get in each other's way, or ""."""
    address, number = port.get("hostIP", ""), port.get("hostPort", 0)
    other_address, other_number = other.get("hostIP", ""), other.get("hostPort", 0)
    if (address, number) == (other_address, other_number):
        return "duplicate"
    if not number or not other_number:
        return "overlapping"
    if number == other_number and bool(address) != bool(other_address):
        return "dangerously ambiguous"
    return ""


def _go_port(port: Document) -> str:
    """A container's port as Go's %+v prints it."""
    values = {"name": "", "hostPort": 0, "containerPort": 0, "protocol": "", "hostIP": ""} | port
    parts = (f"{name[0].upper()}{name[1:]}:{value}" for name, value in values.items())
    return "{" + " ".join(parts) + "}"


def _affinity(spec: Document, path: str) -> list[str]:
    found = []
    for name in ("podAffinity", "podAntiAffinity"):
        terms = spec.get("affinity", {}).get(name, {})
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        preferred = "preferredDuringSchedulingIgnoredDuringExecution"
        for i, term in enumerate(terms.get(required, ())):
            if "labelSelector" not in term:
                found.append(f"{path}.{name}.{required}[{i}].labelSelector: {_NO_SELECTOR}")
        for i, weighted in enumerate(terms.get(preferred, ())):
            if "labelSelector" not in weighted.get("podAffinityTerm", {}):
                where = f"{path}.{name}.{preferred}[{i}].podAffinityTerm.labelSelector"
                found.append(f"{where}: {_NO_SELECTOR}")
    return found
