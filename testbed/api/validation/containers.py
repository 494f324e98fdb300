"""Validation of containers: names, ports, probes, environment, mounts, resources.

Source: pkg/apis/core/validation/validation.go (validateContainers and what it calls).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.environment import environment
from testbed.api.validation.mounts import devices, mounts
from testbed.api.validation.names import dns_label, each, one_of, port_name, port_number
from testbed.api.validation.probes import PROBES, life
from testbed.api.validation.resources import resources
from testbed.api.validation.security import container_security
from testbed.api.validation.service import PROTOCOLS
from testbed.api.validation.volumes import PULL_POLICIES

MAX_RESTART_RULES = 20
MAX_EXIT_CODES = 255

_POLICIES = ("Always", "Never", "OnFailure")
_RULE_ACTIONS = ("Restart", "RestartAllContainers")
_RESIZABLE = ("cpu", "memory")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")
_SIDECAR_ONLY = "may not be set for init containers without restartPolicy=Always"
#: In the order of the fields of Go's EphemeralContainerCommon.
_EPHEMERAL_FORBIDDEN = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a container's validation needs of its Pod.

    `volumes` has the volumes that mounts can name, `claims` the names of its resource claims.
    """

    volumes: Mapping[str, Document] = field(default_factory=dict)
    claims: Collection[str] = ()
    grace: int | None = None
    restart_policy: str = ""
    own_users: bool = False


def containers(spec: Document, path: str, context: Context) -> list[FieldError]:
    """`spec.containers`."""
    entries: Sequence[Document] = spec.get("containers", ())
    if not entries:
        return [FieldError.required(f"{path}.containers")]
    errors: list[FieldError] = []
    names: set[str] = set()
    for i, entry in enumerate(entries):
        where = f"{path}.containers[{i}]"
        errors += _common(entry, where, context)
        errors += _unique(entry, where, names)
        names.add(entry.get("name", ""))
        errors += life(entry, where, context.grace)
        errors += _restarts(entry, where)
    return errors + host_ports(entries, f"{path}.containers")


def init_containers(spec: Document, path: str, context: Context) -> list[FieldError]:
    """`spec.initContainers`."""
    errors: list[FieldError] = []
    names = {entry.get("name", "") for entry in spec.get("containers", ())}
    for i, entry in enumerate(spec.get("initContainers", ())):
        where = f"{path}.initContainers[{i}]"
        errors += _common(entry, where, context)
        if "restartPolicy" in entry or not entry.get("restartPolicyRules"):
            errors += _restarts(entry, where)
        else:
            errors.append(_policy_missing(where))
        errors += _unique(entry, where, names)
        if entry.get("name"):
            names.add(entry["name"])
        errors += host_ports([entry], f"{path}.initContainers")
        sidecar = entry.get("restartPolicy") == "Always"
        if sidecar:
            errors += life(entry, where, context.grace)
        else:
            errors += [
                FieldError.forbidden(f"{where}.{name}", _SIDECAR_ONLY)
                for name in ("lifecycle", *PROBES)
                if name in entry
            ]
            errors += _restarts_to_resize(entry.get("resizePolicy", ()), f"{where}.resizePolicy")
    return errors


def ephemeral_containers(spec: Document, path: str, context: Context) -> list[FieldError]:
    """`spec.ephemeralContainers`."""
    errors: list[FieldError] = []
    entries = (*spec.get("containers", ()), *spec.get("initContainers", ()))
    others = {entry.get("name", "") for entry in entries}
    names = set(others)
    for i, entry in enumerate(spec.get("ephemeralContainers", ())):
        where = f"{path}.ephemeralContainers[{i}]"
        errors += _common(entry, where, context)
        errors += image_blanks(entry, where)
        errors += _unique(entry, where, names)
        names.add(entry.get("name", ""))
        target = entry.get("targetContainerName", "")
        if target and target not in others:
            errors.append(FieldError.not_found(f"{where}.targetContainerName", target))
        words = "cannot be set for an Ephemeral Container"
        errors += [
            FieldError.forbidden(f"{where}.{name}", words)
            for name in _EPHEMERAL_FORBIDDEN
            if entry.get(name)
        ]
        for j, mount in enumerate(entry.get("volumeMounts", ())):
            errors += [
                FieldError.forbidden(f"{where}.volumeMounts[{j}].{name}", words)
                for name in ("subPath", "subPathExpr")
                if mount.get(name)
            ]
    return errors


def image_blanks(entry: Document, where: str) -> list[FieldError]:
    """A Pod's image has no blanks around it (a template's may)."""
    image = entry.get("image", "")
    if image == image.strip():
        return []
    words = "must not have leading or trailing whitespace"
    return [FieldError.invalid(f"{where}.image", image, words)]


def _unique(entry: Document, where: str, names: set[str]) -> list[FieldError]:
    name = entry.get("name", "")
    return [FieldError.duplicate(f"{where}.name", name)] if name in names else []


def _common(entry: Document, where: str, context: Context) -> list[FieldError]:
    errors: list[FieldError] = []
    if not entry.get("name"):
        errors.append(FieldError.required(f"{where}.name"))
    else:
        errors += each(f"{where}.name", entry["name"], dns_label)
    if not entry.get("image"):
        errors.append(FieldError.required(f"{where}.image"))
    policies = ("File", "FallbackToLogsOnError")
    policy = entry.get("terminationMessagePolicy", "")
    errors += one_of(f"{where}.terminationMessagePolicy", policy, policies)
    errors += _ports(entry.get("ports", ()), f"{where}.ports")
    errors += environment(entry, where)
    errors += mounts(entry, f"{where}.volumeMounts", context.volumes)
    errors += devices(entry, f"{where}.volumeDevices", context.volumes)
    pull = entry.get("imagePullPolicy", "")
    errors += one_of(f"{where}.imagePullPolicy", pull, PULL_POLICIES)
    errors += resources(entry.get("resources", {}), f"{where}.resources", context.claims)
    errors += _resizes(entry.get("resizePolicy", ()), f"{where}.resizePolicy", context)
    security = entry.get("securityContext", {})
    return errors + container_security(
        security, f"{where}.securityContext", own_users=context.own_users
    )


def _resizes(entries: Sequence[Document], path: str, context: Context) -> list[FieldError]:
    """How a change of a resource's amount is made."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        name, policy = entry.get("resourceName", ""), entry.get("restartPolicy", "")
        if name in seen:
            errors.append(FieldError.duplicate(f"{path}[{i}]", name))
        seen.add(name)
        errors += one_of(path, name, _RESIZABLE)
        errors += one_of(path, policy, _RESIZE_POLICIES)
        if context.restart_policy == "Never" and policy != "NotRequired":
            words = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(FieldError.invalid(path, policy, words))
    return errors


def _restarts_to_resize(entries: Sequence[Document], path: str) -> list[FieldError]:
    """An init container that ends by itself isn't restarted to be resized."""
    words = "must not be set to 'RestartContainer' for non-sidecar initContainers"
    return [
        FieldError.invalid(f"{path}[{j}].restartPolicy", "RestartContainer", words)
        for j, entry in enumerate(entries)
        if entry.get("restartPolicy") == "RestartContainer"
    ]


def _policy_missing(where: str) -> FieldError:
    words = "must specify restartPolicy when restart rules are used"
    return FieldError.required(f"{where}.restartPolicy", words)


def _restarts(entry: Document, where: str) -> list[FieldError]:
    """A container's own restart policy, and rules that go before it."""
    policy, rules = entry.get("restartPolicy"), entry.get("restartPolicyRules", ())
    errors: list[FieldError] = []
    if policy is None and rules:
        errors.append(_policy_missing(where))
    elif policy is not None and policy not in _POLICIES:
        errors.append(FieldError.not_supported(f"{where}.restartPolicy", policy, _POLICIES))
    path = f"{where}.restartPolicyRules"
    if len(rules) > MAX_RESTART_RULES:
        errors.append(FieldError.too_many(path, len(rules), MAX_RESTART_RULES))
    for i, rule in enumerate(rules):
        errors += _restart_rule(rule, f"{path}[{i}]")
    return errors


def _restart_rule(rule: Document, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    action = rule.get("action", "")
    if action not in _RULE_ACTIONS:
        errors.append(FieldError.not_supported(f"{where}.action", action, _RULE_ACTIONS))
    if "exitCodes" not in rule:
        return [*errors, FieldError.required(f"{where}.exitCodes", "must be specified")]
    codes = rule["exitCodes"]
    operator, values = codes.get("operator", ""), codes.get("values", ())
    if operator not in ("In", "NotIn"):
        path = f"{where}.exitCodes.operator"
        errors.append(FieldError.not_supported(path, operator, ("In", "NotIn")))
    if len(values) > MAX_EXIT_CODES:
        path = f"{where}.exitCodes.values"
        errors.append(FieldError.too_many(path, len(values), MAX_EXIT_CODES))
    return errors


def _ports(entries: Sequence[Document], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    names: set[str] = set()
    for i, entry in enumerate(entries):
        where = f"{path}[{i}]"
        if name := entry.get("name", ""):
            if wrong := each(f"{where}.name", name, port_name):
                errors += wrong
            elif name in names:
                errors.append(FieldError.duplicate(f"{where}.name", name))
            else:
                names.add(name)
        number, host = entry.get("containerPort", 0), entry.get("hostPort", 0)
        if not number:
            errors.append(FieldError.required(f"{where}.containerPort"))
        else:
            errors += _number(f"{where}.containerPort", number)
        if host:
            errors += _number(f"{where}.hostPort", host)
        errors += one_of(f"{where}.protocol", entry.get("protocol", ""), PROTOCOLS)
    return errors


def _number(path: str, value: int) -> list[FieldError]:
    return [FieldError.invalid(path, value, message) for message in port_number(value)]


def host_ports(entries: Sequence[Document], path: str) -> list[FieldError]:
    """No host port is used twice."""
    errors = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        for j, port in enumerate(entry.get("ports", ())):
            if not port.get("hostPort"):
                continue
            key = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if key in seen:
                errors.append(FieldError.duplicate(f"{path}[{i}].ports[{j}].hostPort", key))
            seen.add(key)
    return errors
