"""Validation of what Windows Pods may and Linux Pods may not have, and the other way round.

Source: pkg/apis/core/validation/validation.go (validateWindowsSecurityContextOptions,
validateWindowsHostProcessPod, validateOS, validateLinux, validateWindows).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation.names import dns_subdomain, each

MAX_CREDENTIAL_BYTES = 64 * 1024
MAX_DOMAIN_BYTES = 256
MAX_USER_BYTES = 104

_NET_BIOS = re.compile(r"[^\\/:*?\"<>|.][^\\/:*?\"<>|]{0,14}")
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_USER_CHARACTERS = re.compile(r"[\"/\\:;|=,+*?<>@\[\]]")
_USER_DOTS = re.compile(r"[. ]+")

_NOT_ON_WINDOWS = "cannot be set for a windows pod"
#: Fields of a Pod's security context, some kept in its spec, in the order of the checks.
_POD_FIELDS = (
    ("securityContext", "appArmorProfile"),
    ("securityContext", "seLinuxOptions"),
    ("", "hostUsers"),
    ("", "hostPID"),
    ("", "hostIPC"),
    ("securityContext", "seccompProfile"),
    ("securityContext", "fsGroup"),
    ("securityContext", "fsGroupChangePolicy"),
    ("securityContext", "sysctls"),
    ("", "shareProcessNamespace"),
    ("securityContext", "runAsUser"),
    ("securityContext", "runAsGroup"),
    ("securityContext", "supplementalGroups"),
    ("securityContext", "supplementalGroupsPolicy"),
    ("securityContext", "seLinuxChangePolicy"),
)
#: Of these, false or an empty list counts as not set.
_FLAGS = ("hostPID", "hostIPC", "sysctls")
_CONTAINER_FIELDS = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)


def containers_with_paths(spec: Document, path: str) -> Iterator[tuple[Document, str]]:
    """Every container with its path: init containers, containers, ephemeral ones."""
    for name in ("initContainers", "containers", "ephemeralContainers"):
        for i, container in enumerate(spec.get(name, ())):
            yield container, f"{path}.{name}[{i}]"


def windows_options(options: Document, path: str) -> list[FieldError]:
    """`windowsOptions` of a Pod or a container."""
    errors: list[FieldError] = []
    if "gmsaCredentialSpecName" in options:
        name = options["gmsaCredentialSpecName"]
        errors += each(f"{path}.gmsaCredentialSpecName", name, dns_subdomain)
    if "gmsaCredentialSpec" in options:
        text = options["gmsaCredentialSpec"]
        where = f"{path}.gmsaCredentialSpec"
        if not text:
            words = "gmsaCredentialSpec cannot be an empty string"
            errors.append(FieldError.invalid(where, text, words))
        elif len(text.encode()) > MAX_CREDENTIAL_BYTES:
            words = "gmsaCredentialSpec size must be under 64 KiB"
            errors.append(FieldError.invalid(where, text, words))
    if "runAsUserName" in options:
        where, name = f"{path}.runAsUserName", options["runAsUserName"]
        errors += [FieldError.invalid(where, name, words) for words in _user_name(name)]
    return errors


def _user_name(name: str) -> list[str]:
    """What is wrong with `DOMAIN\\user` or `user`."""
    if not name:
        return ["runAsUserName cannot be an empty string"]
    if _CONTROL.search(name):
        return ["runAsUserName cannot contain control characters"]
    if name.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, slash, user = name.rpartition("\\")
    found = []
    if len(domain.encode()) >= MAX_DOMAIN_BYTES:
        limit = f"must be under {MAX_DOMAIN_BYTES} characters"
        found.append(f"runAsUserName's Domain length {limit}")
    if slash and not (_NET_BIOS.fullmatch(domain) or _DOMAIN.fullmatch(domain)):
        found.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        found.append("runAsUserName's User cannot be empty")
    elif len(user.encode()) > MAX_USER_BYTES:
        limit = f"must not be longer than {MAX_USER_BYTES} characters"
        found.append(f"runAsUserName's User length {limit}")
    if _USER_DOTS.fullmatch(user):
        found.append("runAsUserName's User cannot contain only periods or spaces")
    if _USER_CHARACTERS.search(user):
        words = "runAsUserName's User cannot contain the following characters"
        found.append(f'{words}: "/\\:;|=,+*?<>@[]')
    return found


def host_process(spec: Document, path: str) -> list[FieldError]:
    """Host processes: all containers of a Pod or none, on the host's network."""
    errors: list[FieldError] = []
    pods = _host_process(spec.get("securityContext", {}))
    count = 0
    entries = list(containers_with_paths(spec, path))
    for container, where in entries:
        own = _host_process(container.get("securityContext", {}))
        if pods is not None and own is not None and pods != own:
            shown = str(pods).lower()
            words = f"pod hostProcess value must be identical if both are specified, was {shown}"
            at = f"{where}.securityContext.windowsOptions.hostProcess"
            errors.append(FieldError.invalid(at, own, words))
        count += bool(pods if own is None else own)
    if count and count != len(entries):
        words = (
            "If pod contains any hostProcess containers then all containers must be HostProcess "
            "containers"
        )
        errors.append(FieldError.invalid(path, "", words))
    if count and not spec.get("hostNetwork"):
        words = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(FieldError.invalid(f"{path}.hostNetwork", False, words))
    return errors


def _host_process(context: Document) -> bool | None:
    found: bool | None = context.get("windowsOptions", {}).get("hostProcess")
    return found


def operating_system(spec: Document, path: str) -> list[FieldError]:
    """`os`, and that the Pod asks for nothing that this system doesn't have."""
    system = spec.get("os")
    if system is None:
        return []
    name = system.get("name", "")
    if not name:
        return [FieldError.required(f"{path}.os.name")]
    if name == "linux":
        return _linux(spec, path)
    if name == "windows":
        return _windows(spec, path)
    return [FieldError.not_supported(f"{path}.os", name, ("linux", "windows"))]


def _linux(spec: Document, path: str) -> list[FieldError]:
    owners = [(spec, path), *containers_with_paths(spec, path)]
    words = "windows options cannot be set for a linux pod"
    return [
        FieldError.forbidden(f"{where}.securityContext.windowsOptions", words)
        for owner, where in owners
        if "windowsOptions" in owner.get("securityContext", {})
    ]


def _windows(spec: Document, path: str) -> list[FieldError]:
    errors = []
    for group, name in _POD_FIELDS:
        owner = spec.get(group, {}) if group else spec
        if name in owner and (name not in _FLAGS or owner[name]):
            where = f"{path}.{group}.{name}" if group else f"{path}.{name}"
            errors.append(FieldError.forbidden(where, _NOT_ON_WINDOWS))
    for container, where in containers_with_paths(spec, path):
        context = container.get("securityContext", {})
        errors += [
            FieldError.forbidden(f"{where}.securityContext.{name}", _NOT_ON_WINDOWS)
            for name in _CONTAINER_FIELDS
            if name in context
        ]
    return errors
