"""Numbers of Pods as a number or a percentage, as strategies of roll-outs have them.

Source: pkg/apis/apps/validation/validation.go (ValidatePositiveIntOrPercent and what follows it).
"""

from __future__ import annotations

import re

from testbed.api.status import FieldError
from testbed.api.validation.meta import not_negative
from testbed.api.validation.names import percent


def int_or_percent(value: int | str, path: str) -> list[FieldError]:
    """A number that isn't negative, or a percentage."""
    if isinstance(value, str):
        return [FieldError.invalid(path, value, message) for message in percent(value)]
    return not_negative(value, path)


def at_most_all(value: int | str, path: str) -> list[FieldError]:
    """A percentage of at most 100."""
    if isinstance(value, str) and not percent(value) and int(value[:-1]) > 100:
        return [FieldError.invalid(path, value, "must not be greater than 100%")]
    return []


def amount(value: int | str) -> int:
    """The number, also of a percentage or of a string with a number; 0 for what is neither."""
    if isinstance(value, str):
        found = re.fullmatch(r"([0-9]{1,18})%|([-+]?[0-9]{1,18})", value)
        return int(found[1] or found[2]) if found else 0
    return value
