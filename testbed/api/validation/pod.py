"""Validation of Pods and Pod specs.

Source: pkg/apis/core/validation/validation.go (ValidatePodSpec, ValidatePodUpdate).
"""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import is_ipv6, legacy_ip
from testbed.api.validation.containers import (
    Context,
    containers,
    ephemeral_containers,
    image_blanks,
    init_containers,
)
from testbed.api.validation.names import (
    dns_label,
    dns_search_name,
    dns_subdomain,
    each,
    in_range,
    label_key,
    one_of,
)
from testbed.api.validation.scheduling import affinity, spread_constraints, tolerations
from testbed.api.validation.security import own_users, pod_security
from testbed.api.validation.volumes import volumes

MAX_NAMESERVERS = 3
MAX_SEARCH_PATHS = 32
MAX_SEARCH_CHARACTERS = 2048

_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_PREEMPTION = ("PreemptLowerPriority", "Never")
#: Fields of a Pod's spec that an update may change.
_MUTABLE = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
_FROZEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)


def create(pod: Document) -> list[FieldError]:
    """Everything wrong with a new Pod."""
    errors = _pod(pod)
    spec = pod.get("spec", {})
    if spec.get("ephemeralContainers"):
        errors.append(FieldError.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        words = "cannot be set until all schedulingGates have been cleared"
        errors.append(FieldError.forbidden("spec.nodeName", words))
    return errors


def _pod(pod: Document) -> list[FieldError]:
    errors = meta.object_meta(pod["metadata"], namespaced=True, name=dns_subdomain)
    spec = pod.get("spec", {})
    errors += pod_spec(spec, "spec", is_pod=True)
    for name in ("containers", "initContainers"):
        for i, container in enumerate(spec.get(name, ())):
            errors += image_blanks(container, f"spec.{name}[{i}]")
    return errors


def update(pod: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed Pod: few fields may change."""
    errors = meta.object_meta_update(pod["metadata"], old["metadata"])
    errors += _pod(pod)
    spec, stored = pod.get("spec", {}), old.get("spec", {})
    for name in ("containers", "initContainers"):
        if len(spec.get(name, ())) != len(stored.get(name, ())):
            words = "pod updates may not add or remove containers"
            return [*errors, FieldError.forbidden(f"spec.{name}", words)]
    if refused := _deadline(spec, stored):
        return errors + refused
    errors += _added_tolerations(spec, stored)
    errors += _fewer_gates(spec, stored)
    if stored.get("schedulingGates"):
        errors += _more_selective(spec, stored)
    if _without_mutable(spec, stored) != _without_mutable(stored, stored):
        errors.append(FieldError.forbidden("spec", _FROZEN + _difference(spec, stored)))
    return errors


def update_status(pod: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed status."""
    errors = meta.object_meta_update(pod["metadata"], old["metadata"])
    status, stored = pod.get("status", {}), old.get("status", {})
    nominated = status.get("nominatedNodeName", "")
    if nominated:
        errors += each("status.nominatedNodeName", nominated, dns_subdomain)
    for name in ("podIPs", "hostIPs"):
        addresses = [entry.get("ip", "") for entry in status.get(name, ())]
        known = [entry.get("ip", "") for entry in stored.get(name, ())]
        for i, address in enumerate(addresses):
            errors += legacy_ip(f"status.{name}[{i}]", address, known)
        two = len(addresses) == 2 and is_ipv6(addresses[0]) != is_ipv6(addresses[1])
        if len(addresses) > 1 and not two:
            words = "may specify no more than one IP for each IP family"
            value = [{"IP": address} for address in addresses]
            errors.append(FieldError.invalid(f"status.{name}", value, words))
    return errors


def _without_mutable(spec: Document, stored: Document) -> Document:
    """What must be the same before and after an update; a gated Pod's node selector may grow."""
    kept = copy.deepcopy({k: v for k, v in spec.items() if k not in _MUTABLE and v not in ([], {})})
    if stored.get("schedulingGates"):
        kept.pop("nodeSelector", None)
    for name in ("containers", "initContainers"):
        for container in kept.get(name, ()):
            container.pop("image", None)
    return kept


def _difference(spec: Document, stored: Document) -> str:
    """The fields that differ, one a line, as the API server appends a diff of its own form."""
    before, after = _without_mutable(stored, stored), _without_mutable(spec, stored)
    lines = [f"\n- {name}: {before[name]!r}" for name in before if before[name] != after.get(name)]
    lines += [f"\n+ {name}: {after[name]!r}" for name in after if after[name] != before.get(name)]
    return "".join(lines)


def _deadline(spec: Document, stored: Document) -> list[FieldError]:
    """A deadline may be set or come closer; an error here ends the check of an update."""
    value, old = spec.get("activeDeadlineSeconds"), stored.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if value is None and old is not None:
        words = "must not update from a positive integer to nil value"
        return [FieldError.invalid(path, None, words)]
    if value is not None and (messages := in_range(value, 0, 2**31 - 1)):
        return [FieldError.invalid(path, value, messages[0])]
    if value is not None and old is not None and value > old:
        return [FieldError.invalid(path, value, "must be less than or equal to previous value")]
    return []


def _added_tolerations(spec: Document, stored: Document) -> list[FieldError]:
    def shape(toleration: Document) -> Document:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds" and v}

    present = [shape(toleration) for toleration in spec.get("tolerations", ())]
    if all(shape(toleration) in present for toleration in stored.get("tolerations", ())):
        return []
    words = "existing toleration can not be modified except its tolerationSeconds"
    return [FieldError.forbidden("spec.tolerations", words)]


def _fewer_gates(spec: Document, stored: Document) -> list[FieldError]:
    known = {gate.get("name", "") for gate in stored.get("schedulingGates", ())}
    errors = []
    for i, gate in enumerate(spec.get("schedulingGates", ())):
        if gate.get("name", "") not in known:
            words = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(FieldError.forbidden(f"spec.schedulingGates[{i}].name", words))
    return errors


def _more_selective(spec: Document, stored: Document) -> list[FieldError]:
    selector: Document = spec.get("nodeSelector", {})
    if stored.get("nodeSelector", {}).items() <= selector.items():
        return []
    words = "additions only are allowed (no mutations or deletions)"
    return [FieldError.invalid("spec.nodeSelector", selector or None, words)]


def pod_template(template: Document, path: str) -> list[FieldError]:
    """A workload's template."""
    metadata = template.get("metadata", {})
    errors = meta.labels(metadata.get("labels", {}), f"{path}.labels")
    errors += meta.annotation_map(metadata.get("annotations", {}), f"{path}.annotations")
    spec = template.get("spec", {})
    errors += pod_spec(spec, f"{path}.spec", is_pod=False)
    if spec.get("ephemeralContainers"):
        words = "ephemeral containers not allowed in pod template"
        errors.append(FieldError.forbidden(f"{path}.spec.ephemeralContainers", words))
    return errors


def pod_spec(spec: Document, path: str, *, is_pod: bool) -> list[FieldError]:
    """A Pod's spec, by itself or in a template, in Kubernetes' order."""
    errors = volumes(spec.get("volumes", ()), f"{path}.volumes")
    named = {volume.get("name", ""): volume for volume in spec.get("volumes", ())}
    context = Context(named, spec.get("terminationGracePeriodSeconds"))
    errors += containers(spec, path, context)
    errors += init_containers(spec, path, context)
    errors += ephemeral_containers(spec, path, context)
    errors += _host_network(spec, path, is_pod=is_pod)
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
    errors += own_users(spec, path)
    errors += _names(spec, path)
    errors += tolerations(spec.get("tolerations", ()), f"{path}.tolerations")
    errors += _host_aliases(spec, f"{path}.hostAliases")
    return errors + _policies(spec, path)


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
    system = spec.get("os")
    if system is not None:
        name = system.get("name", "")
        if not name:
            errors.append(FieldError.required(f"{path}.os.name", "cannot be empty"))
        elif name not in ("linux", "windows"):
            errors.append(FieldError.not_supported(f"{path}.os", name, ("linux", "windows")))
    return errors
