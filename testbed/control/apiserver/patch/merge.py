"""JSON merge patch (RFC 7386)."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import copy_value


def merge_patch(target: Any, patch: Any) -> Any:
    """`target` with `patch` merged in: null deletes, objects merge, all else replaces."""
    if not isinstance(patch, dict):
        return copy_value(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
