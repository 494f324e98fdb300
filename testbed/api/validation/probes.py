"""Validation of a container's probes and of what runs at its start and end.

Source: pkg/apis/core/validation/validation.go (validateLifecycle, validateProbe, validateHandler).
"""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.meta import not_negative
from testbed.api.validation.names import each, header_name
from testbed.api.validation.service import number_or_name

PROBES = ("livenessProbe", "readinessProbe", "startupProbe")

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def life(entry: Document, where: str, grace: int | None) -> list[FieldError]:
    """`lifecycle` and the probes of a container in a Pod with that grace period."""
    errors: list[FieldError] = []
    lifecycle = entry.get("lifecycle", {})
    for name in ("postStart", "preStop"):
        if name in lifecycle:
            errors += _handler(lifecycle[name], f"{where}.lifecycle.{name}", grace)
    for name in PROBES:
        if name in entry:
            errors += _probe(entry[name], f"{where}.{name}", name, grace)
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
