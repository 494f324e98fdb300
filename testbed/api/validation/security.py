"""Validation of security contexts, of a Pod and of its containers.

Source: pkg/apis/core/validation/validation.go (ValidateSecurityContext,
validatePodSpecSecurityContext).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import FieldError
from testbed.api.validation.names import Messages, in_range
from testbed.api.validation.profiles import app_armor, go_profile, seccomp
from testbed.api.validation.windows import containers_with_paths, windows_options

MAX_ID = 2**31 - 1
MAX_SYSCTL_LENGTH = 253

_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_POLICIES = {
    "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
    "supplementalGroupsPolicy": ("Merge", "Strict"),
    "seLinuxChangePolicy": ("Recursive",),  # MountOption waits for the gate SELinuxMount
}
#: Prefixes of the sysctls that belong to the IPC namespace.
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")


def container_security(context: Document, path: str, *, own_users: bool) -> list[FieldError]:
    """`securityContext` of a container; `own_users` where its Pod has a user namespace."""
    errors = _ids(context, path, ("runAsUser", "runAsGroup"))
    mount = context.get("procMount")
    if mount is not None and mount not in ("Default", "Unmasked"):
        supported = ("Default", "Unmasked")
        errors.append(FieldError.not_supported(f"{path}.procMount", mount, supported))
    if mount == "Unmasked" and not own_users:
        words = "`hostUsers` must be false to use `Unmasked`"
        errors.append(FieldError.invalid(f"{path}.procMount", mount, words))
    errors += seccomp(context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        refused = "cannot set `allowPrivilegeEscalation` to false and"
        if context.get("privileged"):
            words = f"{refused} `privileged` to true"
            errors.append(FieldError.invalid(path, _go_context(context), words))
        for name in context.get("capabilities", {}).get("add", ()):
            if name == "CAP_SYS_ADMIN":
                words = f"{refused} `capabilities.Add` CAP_SYS_ADMIN"
                errors.append(FieldError.invalid(path, _go_context(context), words))
    errors += windows_options(context.get("windowsOptions", {}), f"{path}.windowsOptions")
    return errors + app_armor(context.get("appArmorProfile"), f"{path}.appArmorProfile")


def pod_security(spec: Document, path: str) -> list[FieldError]:
    """`securityContext` of a Pod, with the fields of its spec that Go keeps there."""
    context: Document = spec.get("securityContext", {})
    where = f"{path}.securityContext"
    errors = _ids(context, where, ("fsGroup", "runAsUser", "runAsGroup"))
    for i, group in enumerate(context.get("supplementalGroups", ())):
        errors += _id(group, f"{where}.supplementalGroups[{i}]")
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        words = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(FieldError.invalid(f"{where}.shareProcessNamespace", True, words))
    errors += _sysctls(context.get("sysctls", ()), spec, f"{where}.sysctls")
    errors += _policy(context, where, "fsGroupChangePolicy")
    errors += seccomp(context.get("seccompProfile"), f"{where}.seccompProfile")
    errors += windows_options(context.get("windowsOptions", {}), f"{where}.windowsOptions")
    errors += app_armor(context.get("appArmorProfile"), f"{where}.appArmorProfile")
    errors += _policy(context, where, "supplementalGroupsPolicy")
    return errors + _policy(context, where, "seLinuxChangePolicy")


def _policy(context: Document, path: str, name: str) -> list[FieldError]:
    value = context.get(name)
    if value is None or value in _POLICIES[name]:
        return []
    return [FieldError.not_supported(f"{path}.{name}", value, _POLICIES[name])]


def own_users(spec: Document, path: str) -> list[FieldError]:
    """A Pod with users of its own shares no other namespace with its node, nor has it devices."""
    if spec.get("hostUsers") is not False:
        return []
    words = "when `hostUsers` is false"
    pairs = (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC"))
    shared = [f"{path}.{name}" for key, name in pairs if spec.get(key)]
    devices = [
        f"{where}.volumeDevices"
        for container, where in containers_with_paths(spec, path)
        if container.get("volumeDevices")
    ]
    return [FieldError.forbidden(where, words) for where in (*shared, *devices)]


def _ids(context: Document, path: str, names: Iterable[str]) -> list[FieldError]:
    found = [_id(context[name], f"{path}.{name}") for name in names if name in context]
    return [error for errors in found for error in errors]


def _id(value: int, path: str) -> list[FieldError]:
    messages: Messages = in_range(value, 0, MAX_ID)
    return [FieldError.invalid(path, value, message) for message in messages]


def _sysctls(entries: Iterable[Document], spec: Document, path: str) -> list[FieldError]:
    errors = []
    seen: set[str] = set()
    for i, entry in enumerate(entries):
        where, name = f"{path}[{i}].name", entry.get("name", "")
        if not name:
            errors.append(FieldError.required(where))
        elif len(name) > MAX_SYSCTL_LENGTH or not re.fullmatch(_SYSCTL, name):
            limit = f"at most {MAX_SYSCTL_LENGTH} characters"
            words = f"must have {limit} and match regex ^{_SYSCTL}$"
            errors.append(FieldError.invalid(where, name, words))
        elif name in seen:
            errors.append(FieldError.duplicate(where, name))
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith("net."):
            words = "may not be specified when 'hostNetwork' is true"
            errors.append(FieldError.invalid(where, name, words))
        elif spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS):
            words = "may not be specified when 'hostIPC' is true"
            errors.append(FieldError.invalid(where, name, words))
    return errors


def _go_context(context: Document) -> GoStruct:
    """A container's security context as messages print it."""
    capabilities = context.get("capabilities")
    return GoStruct(
        Capabilities=None
        if capabilities is None
        else GoStruct(Add=capabilities.get("add"), Drop=capabilities.get("drop")),
        Privileged=context.get("privileged"),
        SELinuxOptions=_go_labels(context.get("seLinuxOptions")),
        WindowsOptions=_go_windows(context.get("windowsOptions")),
        RunAsUser=context.get("runAsUser"),
        RunAsGroup=context.get("runAsGroup"),
        RunAsNonRoot=context.get("runAsNonRoot"),
        ReadOnlyRootFilesystem=context.get("readOnlyRootFilesystem"),
        AllowPrivilegeEscalation=context.get("allowPrivilegeEscalation"),
        ProcMount=context.get("procMount"),
        SeccompProfile=go_profile(context.get("seccompProfile")),
        AppArmorProfile=go_profile(context.get("appArmorProfile")),
    )


def _go_labels(options: Document | None) -> GoStruct | None:
    if options is None:
        return None
    names = ("user", "role", "type", "level")
    return GoStruct({name.capitalize(): options.get(name, "") for name in names})


def _go_windows(options: Document | None) -> GoStruct | None:
    if options is None:
        return None
    return GoStruct(
        GMSACredentialSpecName=options.get("gmsaCredentialSpecName"),
        GMSACredentialSpec=options.get("gmsaCredentialSpec"),
        RunAsUserName=options.get("runAsUserName"),
        HostProcess=options.get("hostProcess"),
    )
