"""Paths and file modes in volumes and mounts.

Source: pkg/apis/core/validation/validation.go (validateLocalDescendingPath,
ValidateLocalNonReservedPath).
"""

from __future__ import annotations

from testbed.api.status import FieldError

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"


def no_backsteps(value: str, path: str) -> list[FieldError]:
    """A path that never goes up; one error, however often it does."""
    if ".." not in value.split("/"):
        return []
    return [FieldError.invalid(path, value, "must not contain '..'")]


def descending_path(value: str, path: str) -> list[FieldError]:
    """A relative path that doesn't go up."""
    errors = []
    if value.startswith("/"):
        errors.append(FieldError.invalid(path, value, "must be a relative path"))
    return errors + no_backsteps(value, path)


def unreserved_path(value: str, path: str) -> list[FieldError]:
    """A relative path that neither goes up nor starts with two dots, which the kubelet uses."""
    errors = descending_path(value, path)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(FieldError.invalid(path, value, "must not start with '..'"))
    return errors


def file_mode(value: int | None, path: str) -> list[FieldError]:
    """Permission bits, where there are any."""
    if value is None or 0 <= value <= 0o777:
        return []
    return [FieldError.invalid(path, value, _MODE)]
