"""Validation of Pod specs and of templates.

Source: pkg/apis/core/validation/validation.go (ValidatePodSpec, ValidatePodTemplateSpec).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import legacy_ip
from testbed.api.validation.claims import resource_claims
from testbed.api.validation.containers import (
    Context,
    containers,
    ephemeral_containers,
    init_containers,
)
from testbed.api.validation.environment import file_volumes
from testbed.api.validation.names import (
    dns_label,
    dns_search_name,
    dns_subdomain,
    each,
    label_key,
    one_of,
)
from testbed.api.validation.pod_annotations import pod_annotations
from testbed.api.validation.profiles import seccomp_agrees
from testbed.api.validation.resources import amounts, pod_resources
from testbed.api.validation.scheduling import affinity, spread_constraints, tolerations
from testbed.api.validation.security import own_users, pod_security
from testbed.api.validation.volumes import Owner, volumes
from testbed.api.validation.windows import host_process, operating_system

MAX_NAMESERVERS = 3
MAX_SEARCH_PATHS = 32
MAX_SEARCH_CHARACTERS = 2048
MAX_HOSTNAME = 64

_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_PREEMPTION = ("PreemptLowerPriority", "Never")


def pod_template(template: Document, path: str, extra: Sequence[Document] = ()) -> list[FieldError]:
    """A workload's template; `extra` are volumes that its Pods get besides the template's."""
    metadata = template.get("metadata", {})
    errors = template_metadata(template, path)
    spec = template.get("spec", {})
    if extra:
        claimed = {volume["name"] for volume in extra}
        own = [v for v in spec.get("volumes", ()) if v.get("name", "") not in claimed]
        spec = {**spec, "volumes": [*extra, *own]}
    errors += pod_spec(spec, f"{path}.spec", Owner())
    errors += seccomp_agrees(metadata.get("annotations", {}), spec, f"{path}.spec")
    if spec.get("ephemeralContainers"):
        words = "ephemeral containers not allowed in pod template"
        errors.append(FieldError.forbidden(f"{path}.spec.ephemeralContainers", words))
    return errors


def template_metadata(template: Document, path: str) -> list[FieldError]:
    """A template's labels and annotations."""
    metadata = template.get("metadata", {})
    annotations = metadata.get("annotations", {})
    errors = meta.labels(metadata.get("labels", {}), f"{path}.labels")
    errors += meta.annotation_map(annotations, f"{path}.annotations")
    return errors + pod_annotations(annotations, template.get("spec", {}), f"{path}.annotations")


def pod_spec(spec: Document, path: str, owner: Owner) -> list[FieldError]:
    """A Pod's spec, by itself or in a template, in Kubernetes' order."""
    named, errors = volumes(spec.get("volumes", ()), f"{path}.volumes", owner)
    claims = spec.get("resourceClaims", ())
    errors += resource_claims(claims, f"{path}.resourceClaims")
    context = Context(
        volumes=named,
        claims={claim["name"] for claim in claims if claim.get("name")},
        grace=spec.get("terminationGracePeriodSeconds"),
        restart_policy=spec.get("restartPolicy", ""),
        own_users=spec.get("hostUsers") is False,
    )
    errors += containers(spec, path, context)
    errors += init_containers(spec, path, context)
    errors += ephemeral_containers(spec, path, context)
    errors += pod_resources(spec, f"{path}.resources")
    errors += _host_network(spec, path, is_pod=owner.is_pod)
    errors += one_of(f"{path}.restartPolicy", spec.get("restartPolicy", ""), _RESTART_POLICIES)
    errors += one_of(f"{path}.dnsPolicy", spec.get("dnsPolicy", ""), _DNS_POLICIES)
    errors += meta.labels(spec.get("nodeSelector", {}), f"{path}.nodeSelector")
    errors += pod_security(spec, path)
    errors += affinity(spec.get("affinity", {}), f"{path}.affinity")
    errors += dns_config(spec, f"{path}.dnsConfig")
    for i, gate in enumerate(spec.get("readinessGates", ())):
        where = f"{path}.readinessGates[{i}].conditionType"
        errors += each(where, gate.get("conditionType", ""), label_key)
    errors += _scheduling_gates(spec, f"{path}.schedulingGates")
    constraints = spec.get("topologySpreadConstraints", ())
    errors += spread_constraints(constraints, f"{path}.topologySpreadConstraints")
    errors += host_process(spec, path)
    errors += own_users(spec, path)
    errors += _hostname_override(spec, f"{path}.hostnameOverride")
    errors += _names(spec, path)
    errors += tolerations(spec.get("tolerations", ()), f"{path}.tolerations")
    errors += _host_aliases(spec, f"{path}.hostAliases")
    return errors + _policies(spec, path) + file_volumes(spec, path)


def _host_network(spec: Document, path: str, *, is_pod: bool) -> list[FieldError]:
    if not spec.get("hostNetwork"):
        return []
    errors = []
    for i, container in enumerate(spec.get("containers", ())):
        for j, port in enumerate(container.get("ports", ())):
            host, number = port.get("hostPort", 0), port.get("containerPort", 0)
            if (is_pod or host) and host != number:
                where = f"{path}.containers[{i}].ports[{j}].hostPort"
                words = "must match `containerPort` when `hostNetwork` is true"
                errors.append(FieldError.invalid(where, host, words))
    return errors


def dns_config(spec: Document, path: str) -> list[FieldError]:
    """`dnsConfig`, and that policy None has one."""
    config: Document | None = spec.get("dnsConfig")
    policy = spec.get("dnsPolicy", "")
    if policy == "None":
        if config is None:
            words = "must provide `dnsConfig` when `dnsPolicy` is None"
            return [FieldError.required(path, words)]
        if not config.get("nameservers"):
            words = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [FieldError.required(f"{path}.nameservers", words)]
    if config is None:
        return []
    servers, searches = config.get("nameservers", []), config.get("searches", [])
    errors: list[FieldError] = []
    if len(servers) > MAX_NAMESERVERS:
        words = f"must not have more than {MAX_NAMESERVERS} nameservers"
        errors.append(FieldError.invalid(f"{path}.nameservers", servers, words))
    for i, server in enumerate(servers):
        errors += legacy_ip(f"{path}.nameservers[{i}]", server)
    if len(searches) > MAX_SEARCH_PATHS:
        words = f"must not have more than {MAX_SEARCH_PATHS} search paths"
        errors.append(FieldError.invalid(f"{path}.searches", searches, words))
    if len(" ".join(searches).encode()) > MAX_SEARCH_CHARACTERS:
        limit = f"{MAX_SEARCH_CHARACTERS} characters (including spaces)"
        words = f"must not have more than {limit} in the search list"
        errors.append(FieldError.invalid(f"{path}.searches", searches, words))
    for i, search in enumerate(searches):
        if search != ".":
            errors += each(f"{path}.searches[{i}]", search.removesuffix("."), dns_search_name)
    for i, option in enumerate(config.get("options", ())):
        if not option.get("name"):
            errors.append(FieldError.required(f"{path}.options[{i}]", "must not be empty"))
    return errors


def _scheduling_gates(spec: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, gate in enumerate(spec.get("schedulingGates", ())):
        name = gate.get("name", "")
        errors += each(f"{path}[{i}]", name, label_key)
        if name in seen:
            errors.append(FieldError.duplicate(f"{path}[{i}]", name))
        seen.add(name)
    return errors


def _names(spec: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("serviceAccountName", "nodeName"):
        if spec.get(name):
            errors += each(f"{path}.{name}", spec[name], dns_subdomain)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline < 2**31:
        words = "must be between 1 and 2147483647, inclusive"
        errors.append(FieldError.invalid(f"{path}.activeDeadlineSeconds", deadline, words))
    for name in ("hostname", "subdomain"):
        if spec.get(name):
            errors += each(f"{path}.{name}", spec[name], dns_label)
    return errors


def _hostname_override(spec: Document, path: str) -> list[FieldError]:
    """A hostname in place of the Pod's own: not of a Pod with its node's, or with a full name."""
    name = spec.get("hostnameOverride")
    if name is None:
        return []
    errors = [
        FieldError.forbidden(path, f"may not be specified when {other} is true")
        for other in ("setHostnameAsFQDN", "hostNetwork")
        if spec.get(other)
    ]
    if len(name.encode()) > MAX_HOSTNAME:
        errors.append(FieldError.too_long(path, MAX_HOSTNAME))
    return errors + each(path, name, dns_subdomain)


def _host_aliases(spec: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, alias in enumerate(spec.get("hostAliases", ())):
        errors += legacy_ip(f"{path}[{i}].ip", alias.get("ip", ""))
        for j, hostname in enumerate(alias.get("hostnames", ())):
            errors += each(f"{path}[{i}].hostnames[{j}]", hostname, dns_subdomain)
    return errors


def _policies(spec: Document, path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.get("priorityClassName"):
        errors += each(f"{path}.priorityClassName", spec["priorityClassName"], dns_subdomain)
    runtime: Any = spec.get("runtimeClassName")
    if runtime is not None:
        errors += each(f"{path}.runtimeClassName", runtime, dns_subdomain)
    if "preemptionPolicy" in spec:
        errors += one_of(f"{path}.preemptionPolicy", spec["preemptionPolicy"], _PREEMPTION)
    errors += amounts({"limits": spec.get("overhead", {})}, f"{path}.overhead")
    return errors + operating_system(spec, path)
