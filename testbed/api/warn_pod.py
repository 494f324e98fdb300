"""Warnings about Pods and the templates of workloads.

Sources: pkg/api/pod/warnings.go (release 1.35), pkg/api/node/util.go,
pkg/registry/apps/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.validation.names import dns_label, label_value
from testbed.api.validation.profiles import APP_ARMOR, SECCOMP_CONTAINER, SECCOMP_POD
from testbed.api.warn import address_form
from testbed.api.warn_volumes import fraction, volumes

_NAME = "which can result in surprising behavior; a DNS label is recommended"
_NO_SELECTOR = "a null labelSelector results in matching no pod"
_NO_SECCOMP = 'non-functional in v1.27+; use the "seccompProfile" field instead'
_OLD_APP_ARMOR = 'deprecated since v1.30; use the "appArmorProfile" field instead'
_NODE_LABELS = {
    "beta.kubernetes.io/arch": 'deprecated since v1.14; use "kubernetes.io/arch" instead',
    "beta.kubernetes.io/os": 'deprecated since v1.14; use "kubernetes.io/os" instead',
    "failure-domain.beta.kubernetes.io/region": (
        'deprecated since v1.17; use "topology.kubernetes.io/region" instead'
    ),
    "failure-domain.beta.kubernetes.io/zone": (
        'deprecated since v1.17; use "topology.kubernetes.io/zone" instead'
    ),
    "beta.kubernetes.io/instance-type": (
        'deprecated since v1.17; use "node.kubernetes.io/instance-type" instead'
    ),
    "app.kubernetes.io/created-by": "deprecated since v1.9",
    "scheduler.alpha.kubernetes.io/preferAvoidPods": (
        "deprecated since v1.22; use Taints and Tolerations instead"
    ),
    "node-role.kubernetes.io/master": 'use "node-role.kubernetes.io/control-plane" instead',
}
_ANNOTATIONS = {
    "scheduler.alpha.kubernetes.io/critical-pod": (
        'non-functional in v1.16+; use the "priorityClassName" field instead'
    ),
    "security.alpha.kubernetes.io/sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
    "security.alpha.kubernetes.io/unsafe-sysctls": (
        'non-functional in v1.11+; use the "sysctls" field instead'
    ),
}


def pod(document: Document, old: Document | None) -> list[str]:
    """A new Pod's; changes of Pods come from programs, and get none."""
    if old is not None:
        return []
    return _name(document, "the Pod's hostname") + _pod(document)


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
    return _pod(spec.get("template", {}), "spec.template.")


def _name(document: Document, use: str) -> list[str]:
    messages = dns_label(document["metadata"].get("name", ""))
    if not messages:
        return []
    return [f"metadata.name: this is used in {use}, {_NAME}: [{' '.join(messages)}]"]


def _pod(document: Document, prefix: str = "") -> list[str]:
    """A Pod's, or those of a template at `prefix`."""
    spec, path = document.get("spec", {}), f"{prefix}spec"
    annotations = document.get("metadata", {}).get("annotations", {})
    notes = f"{prefix}metadata.annotations"
    found = _node_labels(spec, path) + _spread(spec, path)
    found += [f"{notes}[{key}]: {_ANNOTATIONS[key]}" for key in _ANNOTATIONS if key in annotations]
    found += volumes(spec, path)
    found += _repeated(spec, path)
    for name in ("memory", "ephemeral-storage"):
        found += fraction(spec.get("overhead", {}), name, f"{path}.overhead")
    shared = spec.get("securityContext", {})
    if SECCOMP_POD in annotations and "seccompProfile" not in shared:
        found.append(f"{notes}[{SECCOMP_POD}]: {_NO_SECCOMP}")
    for container, where in _containers(spec, path):
        context, name = container.get("securityContext", {}), container.get("name", "")
        if (key := SECCOMP_CONTAINER + name) in annotations and "seccompProfile" not in context:
            found.append(f"{notes}[{key}]: {_NO_SECCOMP}")
        profiled = "appArmorProfile" in shared or "appArmorProfile" in context
        if prefix and (key := APP_ARMOR + name) in annotations and not profiled:
            found.append(f"{notes}[{key}]: {_OLD_APP_ARMOR}")
        found += _fractions(container, where)
        found += _hidden_variables(container, where)
    found += _ports(spec, path) + _port_names(spec, path)
    if spec.get("terminationGracePeriodSeconds", 0) < 0:
        words = "must be >= 0; negative values are invalid and will be treated as 1"
        found.append(f"{path}.terminationGracePeriodSeconds: {words}")
    found += _affinity(spec, f"{path}.affinity")
    for i, server in enumerate(spec.get("dnsConfig", {}).get("nameservers", ())):
        found += address_form(f"{path}.dnsConfig.nameservers[{i}]", server)
    for i, alias in enumerate(spec.get("hostAliases", ())):
        found += address_form(f"{path}.hostAliases[{i}].ip", alias.get("ip", ""))
    return found


def _node_labels(spec: Document, path: str) -> list[str]:
    """Labels of nodes that have other names now, and values that no node can have."""
    found = [
        f"{path}.nodeSelector[{key}]: {_NODE_LABELS[key]}"
        for key in sorted(spec.get("nodeSelector", {}))
        if key in _NODE_LABELS
    ]
    nodes = spec.get("affinity", {}).get("nodeAffinity", {})
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    for i, term in enumerate(nodes.get(required, {}).get("nodeSelectorTerms", ())):
        where = f"{path}.affinity.nodeAffinity.{required}.nodeSelectorTerms[{i}]"
        found += _node_term(term, where)
    preferred = "preferredDuringSchedulingIgnoredDuringExecution"
    for i, entry in enumerate(nodes.get(preferred, ())):
        where = f"{path}.affinity.nodeAffinity.{preferred}[{i}].preference"
        found += _node_term(entry.get("preference", {}), where, values=True)
    return found


def _node_term(term: Document, path: str, *, values: bool = False) -> list[str]:
    found = []
    for i, expression in enumerate(term.get("matchExpressions", ())):
        where, key = f"{path}.matchExpressions[{i}]", expression.get("key", "")
        if key in _NODE_LABELS:
            found.append(f"{where}.key: {key} is {_NODE_LABELS[key]}")
        for j, value in enumerate(expression.get("values", ()) if values else ()):
            texts = label_value(value)
            found += [f"{where}.values[{j}]: {value} is invalid, {text}" for text in texts]
    return found


def _containers(spec: Document, path: str) -> Iterator[tuple[Document, str]]:
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(name, ())):
            yield container, f"{path}.{name}[{i}]"


def _spread(spec: Document, path: str) -> list[str]:
    found = []
    for i, constraint in enumerate(spec.get("topologySpreadConstraints", ())):
        where, key = f"{path}.topologySpreadConstraints[{i}]", constraint.get("topologyKey", "")
        if key in _NODE_LABELS:
            found.append(f"{where}.topologyKey: {key} is {_NODE_LABELS[key]}")
        if "labelSelector" not in constraint:
            found.append(f"{where}.labelSelector: {_NO_SELECTOR}")
    return found


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
    resources = container.get("resources", {})
    return [
        warning
        for name in ("memory", "ephemeral-storage")
        for kind in ("limits", "requests")
        for warning in fraction(resources.get(kind, {}), name, f"{where}.resources.{kind}")
    ]


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


def _port_names(spec: Document, path: str) -> list[str]:
    """A name of two containers' ports means the first of them."""
    found, known = [], dict[str, str]()
    for container, where in _containers(spec, path):
        for i, port in enumerate(container.get("ports", ())):
            name, here = port.get("name", ""), f"{where}.ports[{i}]"
            first = known.setdefault(name, here)
            if name and first != here:
                use = f"services and probes that select ports by name will use {first}"
                found.append(f"{here}: duplicate port name {quote(name)} with {first}, {use}")
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
