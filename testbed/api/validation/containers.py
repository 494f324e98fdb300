"""Validation of containers: names, ports, probes, environment, mounts, resources.

Source: pkg/apis/core/validation/validation.go (validateContainers and what it calls).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.environment import environment
from testbed.api.validation.meta import not_negative
from testbed.api.validation.names import (
    dns_label,
    each,
    header_name,
    one_of,
    port_name,
    port_number,
)
from testbed.api.validation.resources import resources
from testbed.api.validation.security import container_security
from testbed.api.validation.service import PROTOCOLS, number_or_name

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")
_SIDECAR_ONLY = "may not be set for init containers without restartPolicy=Always"
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PROPAGATIONS = ("Bidirectional", "HostToContainer", "None")
_EPHEMERAL_FORBIDDEN = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
)


@dataclass(frozen=True, slots=True)
class Context:
    """What a container's validation needs of its Pod: volumes by name, grace period."""

    volumes: dict[str, Document] = field(default_factory=dict)
    grace: int | None = None


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
        errors += _life(entry, where, context)
        if "restartPolicy" in entry:
            policies = ("Always", "OnFailure", "Never")
            if entry["restartPolicy"] not in policies:
                errors.append(
                    FieldError.not_supported(
                        f"{where}.restartPolicy", entry["restartPolicy"], policies
                    )
                )
    return errors + host_ports(entries, f"{path}.containers")


def init_containers(spec: Document, path: str, context: Context) -> list[FieldError]:
    """`spec.initContainers`."""
    errors: list[FieldError] = []
    names = {entry.get("name", "") for entry in spec.get("containers", ())}
    for i, entry in enumerate(spec.get("initContainers", ())):
        where = f"{path}.initContainers[{i}]"
        errors += _common(entry, where, context)
        policy = entry.get("restartPolicy")
        if policy is not None and policy not in ("Always", "OnFailure", "Never"):
            supported = ("Always", "OnFailure", "Never")
            errors.append(FieldError.not_supported(f"{where}.restartPolicy", policy, supported))
        errors += _unique(entry, where, names)
        if entry.get("name"):
            names.add(entry["name"])
        errors += host_ports([entry], f"{path}.initContainers")
        if policy == "Always":
            errors += _life(entry, where, context)
        else:
            errors += [
                FieldError.forbidden(f"{where}.{name}", _SIDECAR_ONLY)
                for name in ("lifecycle", *_PROBES)
                if name in entry
            ]
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
    errors += one_of(
        f"{where}.terminationMessagePolicy", entry.get("terminationMessagePolicy", ""), policies
    )
    errors += _ports(entry.get("ports", ()), f"{where}.ports")
    errors += environment(entry, where)
    errors += _mounts(entry, f"{where}.volumeMounts", context.volumes)
    pull = ("Always", "IfNotPresent", "Never")
    errors += one_of(f"{where}.imagePullPolicy", entry.get("imagePullPolicy", ""), pull)
    errors += resources(entry.get("resources", {}), f"{where}.resources")
    return errors + container_security(entry.get("securityContext", {}), f"{where}.securityContext")


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


def _mounts(entry: Document, path: str, volumes: dict[str, Document]) -> list[FieldError]:
    errors: list[FieldError] = []
    paths: set[str] = set()
    for i, mount in enumerate(entry.get("volumeMounts", ())):
        where = f"{path}[{i}]"
        name, target = mount.get("name", ""), mount.get("mountPath", "")
        if not name:
            errors.append(FieldError.required(f"{where}.name"))
        if name not in volumes:
            errors.append(FieldError.not_found(f"{where}.name", name))
        if not target:
            errors.append(FieldError.required(f"{where}.mountPath"))
        if target in paths:
            errors.append(FieldError.invalid(f"{where}.mountPath", target, "must be unique"))
        paths.add(target)
        errors += _part_of_volume(mount, path, where)
        errors += _propagation(mount, entry, f"{path}.mountPropagation")
    return errors


def _part_of_volume(mount: Document, path: str, where: str) -> list[FieldError]:
    errors = descending_path(mount.get("subPath", ""), f"{path}.subPath")
    if mount.get("subPath") and mount.get("subPathExpr"):
        words = "subPathExpr and subPath are mutually exclusive"
        errors.append(FieldError.invalid(f"{where}.subPathExpr", mount["subPathExpr"], words))
    return errors + descending_path(mount.get("subPathExpr", ""), f"{path}.subPathExpr")


def _propagation(mount: Document, entry: Document, path: str) -> list[FieldError]:
    mode = mount.get("mountPropagation")
    if mode is None:
        return []
    errors = []
    if mode not in _PROPAGATIONS:
        errors.append(FieldError.not_supported(path, mode, _PROPAGATIONS))
    if mode == "Bidirectional" and not entry.get("securityContext", {}).get("privileged"):
        words = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(FieldError.forbidden(path, words))
    return errors


def descending_path(value: str, path: str) -> list[FieldError]:
    """A relative path that doesn't go up."""
    errors = []
    if value.startswith("/"):
        errors.append(FieldError.invalid(path, value, "must be a relative path"))
    if ".." in value.split("/"):
        errors.append(FieldError.invalid(path, value, "must not contain '..'"))
    return errors


# probes and handlers


def _life(entry: Document, where: str, context: Context) -> list[FieldError]:
    errors: list[FieldError] = []
    lifecycle = entry.get("lifecycle", {})
    for name in ("postStart", "preStop"):
        if name in lifecycle:
            errors += _handler(lifecycle[name], f"{where}.lifecycle.{name}", context.grace)
    for name in _PROBES:
        if name in entry:
            errors += _probe(entry[name], f"{where}.{name}", name, context.grace)
    return errors


def _probe(probe: Document, path: str, name: str, grace: int | None) -> list[FieldError]:
    errors = _handler(probe, path, grace)
    for number in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        errors += not_negative(probe.get(number, 0), f"{path}.{number}")
    own_grace = probe.get("terminationGracePeriodSeconds")
    where = f"{path}.terminationGracePeriodSeconds"
    if own_grace is not None and own_grace <= 0:
        errors.append(FieldError.invalid(where, own_grace, "must be greater than 0"))
    if name == "readinessProbe":
        if own_grace is not None:
            words = "must not be set for readinessProbes"
            errors.append(FieldError.invalid(where, own_grace, words))
    elif probe.get("successThreshold") != 1:
        value = probe.get("successThreshold", 0)
        errors.append(FieldError.invalid(f"{path}.successThreshold", value, "must be 1"))
    return errors


def _handler(handler: Document, path: str, grace: int | None) -> list[FieldError]:
    errors: list[FieldError] = []
    present = [name for name in _HANDLERS if name in handler]
    if not present:
        return [FieldError.required(path, "must specify a handler type")]
    for name in present:
        where = f"{path}.{name}"
        if name != present[0]:
            words = "may not specify more than 1 handler type"
            errors.append(FieldError.forbidden(where, words))
            continue
        errors += _action(name, handler[name], where, grace)
    return errors


def _action(name: str, action: Document, where: str, grace: int | None) -> list[FieldError]:
    match name:
        case "exec":
            return [] if action.get("command") else [FieldError.required(f"{where}.command")]
        case "httpGet":
            return _http_get(action, where)
        case "sleep":
            seconds = action.get("seconds", 0)
            if grace is None or 0 <= seconds <= grace:
                return []
            words = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
            return [FieldError.invalid(where, seconds, words)]
    return number_or_name(action.get("port", 0), f"{where}.port")


def _http_get(action: Document, where: str) -> list[FieldError]:
    errors: list[FieldError] = []
    if not action.get("path"):
        errors.append(FieldError.required(f"{where}.path"))
    errors += number_or_name(action.get("port", 0), f"{where}.port")
    scheme = action.get("scheme", "")
    if scheme not in ("HTTP", "HTTPS"):
        errors.append(FieldError.not_supported(f"{where}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders", ()):
        errors += each(f"{where}.httpHeaders", header.get("name", ""), header_name)
    return errors
