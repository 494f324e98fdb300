"""Validation of seccomp and AppArmor profiles, as fields and as the annotations before them.

Source: pkg/apis/core/validation/validation.go (validateSeccompProfileField,
ValidateAppArmorProfileField, validateSeccompAnnotationsAndFields,
validateAppArmorAnnotationsAndFieldsMatchOnCreate).
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct, quote
from testbed.api.status import FieldError
from testbed.api.validation.paths import descending_path
from testbed.api.validation.windows import containers_with_paths

MAX_PROFILE_BYTES = 4095
SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER = "container.seccomp.security.alpha.kubernetes.io/"
APP_ARMOR = "container.apparmor.security.beta.kubernetes.io/"

_LOCALHOST = "localhost/"
_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_DEFAULTS = ("runtime/default", "docker/default")


def seccomp(profile: Document | None, path: str) -> list[FieldError]:
    """`seccompProfile`."""
    if profile is None:
        return []
    kind, file = profile.get("type", ""), profile.get("localhostProfile")
    errors = []
    if not kind:
        words = "type is required when seccompProfile is set"
        errors.append(FieldError.required(f"{path}.type", words))
    elif kind not in _TYPES:
        errors.append(FieldError.not_supported(f"{path}.type", kind, _TYPES))
    where = f"{path}.localhostProfile"
    if kind == "Localhost" and file is None:
        words = "must be set when seccomp type is Localhost"
        errors.append(FieldError.required(where, words))
    elif kind == "Localhost":
        errors += descending_path(file or "", where)
    elif file is not None:
        words = "can only be set when seccomp type is Localhost"
        errors.append(FieldError.invalid(where, go_profile(profile), words))
    return errors


def go_profile(profile: Document | None) -> GoStruct | None:
    """A profile of either kind as messages print it."""
    if profile is None:
        return None
    file = profile.get("localhostProfile")
    return GoStruct(Type=profile.get("type", ""), LocalhostProfile=file)


def app_armor(profile: Document | None, path: str) -> list[FieldError]:
    """`appArmorProfile`."""
    if profile is None:
        return []
    kind, file = profile.get("type", ""), profile.get("localhostProfile")
    where = f"{path}.localhostProfile"
    if kind == "Localhost":
        return _app_armor_file(file, where)
    if not kind:
        words = "type is required when appArmorProfile is set"
        return [FieldError.required(f"{path}.type", words)]
    if kind not in _TYPES:
        return [FieldError.not_supported(f"{path}.type", kind, _TYPES)]
    if file is not None:
        words = "can only be set when AppArmor type is Localhost"
        return [FieldError.invalid(where, file, words)]
    return []


def _app_armor_file(file: str | None, where: str) -> list[FieldError]:
    missing = FieldError.required(where, "must be set when AppArmor type is Localhost")
    if file is None:
        return [missing]
    errors = []
    if file != file.strip():
        words = "must not be padded with whitespace"
        errors.append(FieldError.invalid(where, file, words))
    elif not file:
        errors.append(missing)
    if len(file.encode()) > MAX_PROFILE_BYTES:
        errors.append(FieldError.too_long(where, MAX_PROFILE_BYTES))
    return errors


def profile_annotations(
    annotations: Mapping[str, str], spec: Document, path: str
) -> list[FieldError]:
    """Annotations with profiles, on their own."""
    errors: list[FieldError] = []
    if SECCOMP_POD in annotations:
        errors += _seccomp_text(annotations[SECCOMP_POD], f"{path}.{SECCOMP_POD}")
    for key in sorted(annotations):
        if key.startswith(SECCOMP_CONTAINER):
            errors += _seccomp_text(annotations[key], f"{path}.{key}")
    names = {container.get("name", "") for container, _ in containers_with_paths(spec, "")}
    for key in sorted(annotations):
        if not key.startswith(APP_ARMOR):
            continue
        where, name, text = f"{path}[{key}]", key.removeprefix(APP_ARMOR), annotations[key]
        if name not in names:
            errors.append(FieldError.invalid(where, name, "container not found"))
        if text not in ("", "runtime/default", "unconfined") and not text.startswith(_LOCALHOST):
            words = f"invalid AppArmor profile name: {quote(text)}"
            errors.append(FieldError.invalid(where, text, words))
    return errors


def _seccomp_text(text: str, path: str) -> list[FieldError]:
    if text in _DEFAULTS or text == "unconfined":
        return []
    if text.startswith(_LOCALHOST):
        return descending_path(text.removeprefix(_LOCALHOST), path)
    return [FieldError.invalid(path, text, "must be a valid seccomp profile")]


def seccomp_agrees(annotations: Mapping[str, str], spec: Document, path: str) -> list[FieldError]:
    """Seccomp annotations say what the fields say, where there are both."""
    entries = [(spec, path, SECCOMP_POD)]
    for container, where in containers_with_paths(spec, path):
        entries.append((container, where, SECCOMP_CONTAINER + container.get("name", "")))
    errors: list[FieldError] = []
    for owner, where, key in entries:
        profile = owner.get("securityContext", {}).get("seccompProfile")
        if profile is not None and key in annotations:
            at = f"{where}.securityContext.seccompProfile"
            errors += _same(profile, annotations[key], at, ("seccomp", _DEFAULTS))
    return errors


def app_armor_agrees(annotations: Mapping[str, str], spec: Document, path: str) -> list[FieldError]:
    """A new Pod's AppArmor annotations say what the fields say, where there are both."""
    if spec.get("os", {}).get("name") == "windows":
        return []
    pods = spec.get("securityContext", {}).get("appArmorProfile")
    errors: list[FieldError] = []
    for container, where in containers_with_paths(spec, path):
        profile = container.get("securityContext", {}).get("appArmorProfile", pods)
        key = APP_ARMOR + container.get("name", "")
        if profile is not None and key in annotations:
            at = f"{where}.securityContext.appArmorProfile"
            errors += _same(profile, annotations[key], at, ("apparmor", _DEFAULTS[:1]))
    return errors


def _same(
    profile: Document, text: str, path: str, words: tuple[str, tuple[str, ...]]
) -> list[FieldError]:
    name, defaults = words
    kind = profile.get("type", "")
    other = FieldError.forbidden(f"{path}.type", f"{name} type in annotation and field must match")
    if kind == "Unconfined":
        return [] if text == "unconfined" else [other]
    if kind == "RuntimeDefault":
        return [] if text in defaults else [other]
    if kind != "Localhost":
        return []
    if not text.startswith(_LOCALHOST):
        return [other]
    if text.removeprefix(_LOCALHOST) == profile.get("localhostProfile"):
        return []
    detail = f"{name} profile in annotation and field must match"
    return [FieldError.forbidden(f"{path}.localhostProfile", detail)]
