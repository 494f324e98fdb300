"""Kubernetes quantities (`100m`, `64Mi`): parsing and the form in which they are printed.

Go keeps a number of up to 18 digits as it was written where it takes that for canonical already,
which also leaves `1.500` and `+1` alone. Source: apimachinery
pkg/api/resource/{quantity,suffix,amount}.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

FORMAT_ERROR = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
NUMBER_ERROR = "unable to parse numeric part of quantity"
SUFFIX_ERROR = "unable to parse quantity's suffix"

_SHAPE = re.compile(
    r"([+-]?)0*([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII | re.DOTALL
)
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)", re.ASCII)
_SUFFIX_OF = {power: name for name, power in _DECIMAL.items()}

#: Digits that surely fit 64 bits, and those of them that are left to a binary number.
_DIGITS, _BINARY_DIGITS = 18, 15
#: The smallest power of ten that a quantity can hold.
_NANO = -9
_MILLI = -3
_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class _Amount:
    """`mantissa` times ten to the `exponent`; `form` is decimal, binary or exponent.

    `text` is what was given, where it is printed as it is.
    """

    mantissa: int
    exponent: int
    form: str
    text: str = ""


def parse(text: str) -> tuple[Decimal, str]:
    """The value (rounded up to a billionth) and its form: `decimal`, `binary` or `exponent`.

    Raises ValueError with Go's words.
    """
    amount = _read(text)
    digits = tuple(int(digit) for digit in str(abs(amount.mantissa)))
    value = Decimal((int(amount.mantissa < 0), digits, amount.exponent))
    return value, amount.form


def canonical(text: str) -> str:
    """`text` as the API server prints it: `1000m` is `1`, `1024Ki` is `1Mi`. Raises ValueError."""
    return _printed(_read(text))


def rounded_up(text: str) -> str:
    """`text` rounded up to a thousandth, as amounts of resources are. Raises ValueError."""
    amount = _read(text)
    if amount.exponent >= _MILLI:
        return _printed(amount)
    sign = -1 if amount.mantissa < 0 else 1
    number = -(-abs(amount.mantissa) // 10 ** (_MILLI - amount.exponent))
    return _printed(_Amount(sign * number, _MILLI, amount.form))


def divides(size: Decimal, amount: Decimal) -> bool:
    """True where `amount` is a whole number of `size`, however large it is."""
    return Fraction(amount) % Fraction(size) == 0


def written(value: Decimal, form: str) -> str:
    """An amount in one of `parse`'s forms."""
    shape = value.as_tuple()
    mantissa = int("".join(map(str, shape.digits))) * (-1 if shape.sign else 1)
    return _printed(_Amount(mantissa, int(shape.exponent), form))


def _printed(amount: _Amount) -> str:
    if amount.text:
        return amount.text
    if not amount.mantissa:
        return "0"
    if amount.form == "binary":
        whole, rest = divmod(abs(amount.mantissa), 10 ** -min(amount.exponent, 0))
        whole *= 10 ** max(amount.exponent, 0)
        if whole >= 1024 and not rest:
            return _binary(whole if amount.mantissa > 0 else -whole)
    mantissa, exponent = _thousands(amount.mantissa, amount.exponent)
    if amount.form == "exponent":
        return f"{mantissa}e{exponent}" if exponent else str(mantissa)
    # Go prints a number without a suffix where there is no suffix for it.
    return f"{mantissa}{_SUFFIX_OF.get(exponent, '')}"


def _read(text: str) -> _Amount:
    found = _SHAPE.fullmatch(text)
    if not text or not found:
        raise ValueError(FORMAT_ERROR)
    sign, whole, fraction, suffix = found[1], found[2] or "0", found[3] or "", found[4]
    form, power = _meaning(suffix)
    if form == "binary":
        spare = _BINARY_DIGITS - len(whole) - power * 3 // 10 - 1 if not fraction else -1
        scale, factor = 0, 2**power
    else:
        spare, scale, factor = _DIGITS - len(whole) - len(fraction), power, 1
    digits = whole + fraction
    exact = scale - len(fraction)
    if spare >= 0 and exact >= _NANO:
        kept = text if _is_kept(digits, exact, form) else ""
        number = int(digits) * factor
        return _Amount(-number if sign == "-" else number, exact, form, kept)
    if not re.search("[0-9]", text.removesuffix(suffix) if suffix else text):
        raise ValueError(NUMBER_ERROR)
    return _rounded(int(digits) * factor, exact, form, negative=sign == "-")


def _meaning(suffix: str) -> tuple[str, int]:
    """A suffix's form and power, of two for `binary` and of ten for the others."""
    if suffix in _DECIMAL:
        return "decimal", _DECIMAL[suffix]
    if suffix in _BINARY:
        return "binary", _BINARY[suffix]
    exponent = _EXPONENT.fullmatch(suffix)
    if not exponent or abs(int(exponent[1])) > _INT64:
        raise ValueError(SUFFIX_ERROR)
    # Go keeps the lower 32 bits.
    return "exponent", (int(exponent[1]) + 2**31) % 2**32 - 2**31


def _is_kept(digits: str, exponent: int, form: str) -> bool:
    if form == "binary":
        return int(digits) % 8 != 0
    return exponent % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _rounded(number: int, exponent: int, form: str, *, negative: bool) -> _Amount:
    """A number that 64 bits may not hold: rounded away from zero, a binary one capped."""
    if exponent < _NANO:
        # What is smaller than any digit still rounds up to one billionth.
        divisor = 10 ** min(_NANO - exponent, len(str(number)) + 1)
        number, exponent = -(-number // divisor), _NANO
    if form == "binary":
        unit = 10 ** -min(exponent, 0)
        if number > _INT64 * unit:
            number, exponent, unit = _INT64, 0, 1
        if 0 < number < unit:
            form = "decimal"
    return _Amount(-number if negative else number, exponent, form)


def _binary(value: int) -> str:
    power = 0
    while abs(value) >= 1024 and value % 1024 == 0 and power < 60:
        value //= 1024
        power += 10
    return str(value) + next((name for name, bits in _BINARY.items() if bits == power), "")


def _thousands(mantissa: int, exponent: int) -> tuple[int, int]:
    """The number with the largest power of ten that is a multiple of three."""
    while mantissa % 10 == 0:
        mantissa //= 10
        exponent += 1
    return mantissa * 10 ** (exponent % 3), exponent - exponent % 3
