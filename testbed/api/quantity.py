"""Kubernetes quantities (`100m`, `64Mi`): parsing and the canonical form.

Source: apimachinery pkg/api/resource/{quantity,suffix,amount}.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

FORMAT_ERROR = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
NUMERIC_ERROR = "unable to parse numeric part of quantity"
SUFFIX_ERROR = "unable to parse quantity's suffix"

_SHAPE = re.compile(r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
#: Digits that fit an int64, and its limit, which binary quantities are cut to.
_DIGITS = 18
_LIMIT = 2**63 - 1
_NANO = -9
#: A larger exponent is refused: Go would compute with it for minutes.
_POWER = 1000


@dataclass(frozen=True, slots=True)
class _Parsed:
    """A quantity: its value (rounded up to a billionth), its form, and whether its text stays."""

    value: Fraction
    form: str
    kept: bool = False


def parse(text: str) -> tuple[Fraction, str]:
    """The value (rounded up to a billionth) and its form: `decimal`, `binary` or `exponent`.

    Raises ValueError with Go's words.
    """
    parsed = _parse(text)
    return parsed.value, parsed.form


def canonical(text: str) -> str:
    """`text` as the API server prints it: `1000m` is `1`, `1024Ki` is `1Mi`. Raises ValueError.

    A text that is written well enough stays as it is, as in Go: `1.500`, `+5`.
    """
    parsed = _parse(text)
    if parsed.kept or text == "0":
        return text
    value, form = parsed.value, parsed.form
    if not value:
        return "0"
    if form == "binary":
        if abs(value) >= 1024 and value.denominator == 1:
            return _binary(int(value))
        form = "decimal"
    mantissa, exponent = _thousands(value)
    if form == "exponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    suffix = next((name for name, power in _DECIMAL.items() if power == exponent), "")
    return f"{mantissa}{suffix}"


def _parse(text: str) -> _Parsed:
    found = _SHAPE.fullmatch(text)
    if not text or not found:
        raise ValueError(FORMAT_ERROR)
    sign, whole, fraction, suffix = found[1], found[2] or "0", found[3] or "", found[4]
    if suffix in _DECIMAL:
        form, power = "decimal", _DECIMAL[suffix]
    elif suffix in _BINARY:
        form, power = "binary", _BINARY[suffix]
    elif exponent := _EXPONENT.fullmatch(suffix):
        form, power = "exponent", int(exponent[1])
        if abs(power) > _POWER:
            raise ValueError(SUFFIX_ERROR)
    else:
        raise ValueError(SUFFIX_ERROR)
    fast = _fast(sign, whole, fraction, form, power)
    if fast is not None:
        return fast
    if not (whole + fraction).isdigit() or text.lstrip("+-")[:1] not in "0123456789.":
        raise ValueError(NUMERIC_ERROR)
    value = Fraction(int(whole + fraction), 10 ** len(fraction))
    value *= Fraction(2) ** power if form == "binary" else Fraction(10) ** power
    value = _rounded_up(value)
    if form == "binary":
        form = "decimal" if 0 < value < 1 else form
        value = min(value, Fraction(_LIMIT))
    return _Parsed(-value if sign == "-" else value, form)


def _fast(sign: str, whole: str, fraction: str, form: str, power: int) -> _Parsed | None:
    """A quantity that fits an int64 and its scale; None for another one."""
    shifted = whole + fraction
    scale = 0
    factor = 1
    if form == "binary":
        fits = not fraction and 15 - len(whole) - int(power * 3 / 10) - 1 >= 0
        factor = 2**power
    else:
        fits = len(shifted) <= _DIGITS
        scale = power - len(fraction)
    if not fits or scale < _NANO:
        return None
    digits = int(shifted)
    if digits * factor > _LIMIT:
        return None
    if form == "binary":
        kept = digits & 7 != 0
    else:
        kept = scale % 3 == 0 and not shifted.endswith("000") and shifted[0] != "0"
    value = Fraction(digits * factor) * Fraction(10) ** scale
    return _Parsed(-value if sign == "-" else value, form, kept)


def _rounded_up(value: Fraction) -> Fraction:
    billionths = value * 10**9
    return Fraction(-(-billionths.numerator // billionths.denominator), 10**9)


def _binary(value: int) -> str:
    power = 0
    while value % 1024 == 0 and value and power < 60:
        value //= 1024
        power += 10
    return str(value) + next((name for name, bits in _BINARY.items() if bits == power), "")


def _thousands(value: Fraction) -> tuple[int, int]:
    """`value` as an integer times a power of ten that is a multiple of three, the largest one."""
    exponent = -9
    mantissa = int(value * 10**9)
    while mantissa % 1000 == 0:
        mantissa //= 1000
        exponent += 3
    return mantissa, exponent
