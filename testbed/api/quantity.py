"""Kubernetes quantities (`100m`, `64Mi`): parsing and the canonical form.

Source: apimachinery pkg/api/resource/{quantity,suffix}.go.
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal

FORMAT_ERROR = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)

_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_NANO = Decimal("1e-9")
_MILLI = Decimal("1e-3")


def parse(text: str) -> tuple[Decimal, str]:
    """The value (rounded up to a billionth) and its form: `decimal`, `binary` or `exponent`.

    Raises ValueError with Go's words.
    """
    found = _SHAPE.fullmatch(text)
    if not text or not found or not (found[2] or found[3]):
        raise ValueError(FORMAT_ERROR)
    sign, whole, fraction, suffix = found.groups()
    number = Decimal(f"{sign}{whole or '0'}.{fraction or '0'}")
    if suffix in _BINARY:
        form, value = "binary", number * 2 ** _BINARY[suffix]
    elif suffix in _DECIMAL:
        form, value = "decimal", number.scaleb(_DECIMAL[suffix])
    elif exponent := _EXPONENT.fullmatch(suffix):
        form, value = "exponent", number.scaleb(int(exponent[1]))
    else:
        raise ValueError("unable to parse quantity's suffix")
    rounded = value.quantize(_NANO, rounding=ROUND_UP) if value % _NANO else value
    return rounded, form


def canonical(text: str) -> str:
    """`text` as the API server prints it: `1000m` is `1`, `1024Ki` is `1Mi`. Raises ValueError."""
    return written(*parse(text))


def rounded_up(text: str) -> str:
    """`text` rounded up to a thousandth, as amounts of resources are. Raises ValueError."""
    value, form = parse(text)
    return written(value.quantize(_MILLI, rounding=ROUND_UP) if value % _MILLI else value, form)


def written(value: Decimal, form: str) -> str:
    """An amount in a form of `parse`."""
    if form == "binary":
        if abs(value) >= 1024 and value == value.to_integral_value():
            return _binary(int(value))
        form = "decimal"
    mantissa, exponent = _thousands(value)
    if form == "exponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    suffix = next((name for name, power in _DECIMAL.items() if power == exponent), None)
    return f"{mantissa}e{exponent}" if suffix is None else f"{mantissa}{suffix}"


def _binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and value and power < 60:
        value //= 1024
        power += 10
    return str(value) + next((name for name, bits in _BINARY.items() if bits == power), "")


def _thousands(value: Decimal) -> tuple[int, int]:
    """`value` as an integer times a power of ten that is a multiple of three, the largest one."""
    if not value:
        return 0, 0
    exponent = -9
    mantissa = int(value.scaleb(9))
    while mantissa % 1000 == 0 and exponent < 18:
        mantissa //= 1000
        exponent += 3
    return mantissa, exponent
