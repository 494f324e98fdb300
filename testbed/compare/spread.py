"""How connections were spread over backends, against how they should be: Pearson's chi-square."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Below this probability a spread counts as different from the expected one.
SIGNIFICANT = 1e-5
#: Below this one it is called unlikely: one run in a hundred of a right setup looks like that.
UNLIKELY = 0.01
#: A backend that this many were expected for and that got none is left out, whatever p says.
_CERTAIN = 10


@dataclass(frozen=True, slots=True)
class Spread:
    """`counts` by backend name, `expected` probabilities by the same names, `failed` by outcome."""

    counts: Mapping[str, int]
    expected: Mapping[str, float]
    failed: Mapping[str, int]

    @property
    def p(self) -> float:
        """The probability of a spread at least this far off, if the expectation holds."""
        total = sum(self.counts.values())
        if any(name not in self.expected and n for name, n in self.counts.items()):
            return 0.0
        if not total or len(self.expected) < 2:
            return 1.0
        statistic = sum(
            (self.counts.get(name, 0) - total * share) ** 2 / (total * share)
            for name, share in self.expected.items()
        )
        return chi_square_p(statistic, len(self.expected) - 1)

    @property
    def agrees(self) -> bool:
        """No unexpected backend, no failure where delivery is expected, no significant bias."""
        delivered = not self.expected or not self.failed
        return delivered and self.p >= SIGNIFICANT and not self.left_out

    @property
    def left_out(self) -> tuple[str, ...]:
        """Backends that got nothing where ten or more were expected."""
        total = sum(self.counts.values())
        return tuple(
            name
            for name, share in self.expected.items()
            if share * total >= _CERTAIN and not self.counts.get(name)
        )

    @property
    def words(self) -> str:
        """The judgement: `as expected`, `unlikely, …` (which agrees), or what isn't as expected."""
        if self.left_out:
            return f"not as expected: nothing came to {', '.join(self.left_out)}"
        if not self.agrees:
            return "not as expected"
        return "unlikely, but no proof of a difference" if self.p < UNLIKELY else "as expected"

    def as_json(self) -> dict[str, Any]:
        return {
            "counts": dict(self.counts),
            "expected": dict(self.expected),
            "failed": dict(self.failed),
            "p": self.p,
            "agrees": self.agrees,
        }


def chi_square_p(statistic: float, degrees: int) -> float:
    """P(X ≥ statistic) for chi-square with `degrees` of freedom: the upper regularised gamma
    function Q(degrees/2, statistic/2), by its series or its continued fraction.

    Source: Abramowitz and Stegun 6.5.29 and 6.5.31.
    """
    a, x = degrees / 2, statistic / 2
    if x <= 0:
        return 1.0
    scale = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        n = a
        while abs(term) > abs(total) * 1e-15:
            n += 1
            term *= x / n
            total += term
        return max(0.0, 1 - total * scale)
    tiny = 1e-300
    b = x + 1 - a
    c, d = 1 / tiny, 1 / b
    fraction = d
    for i in range(1, 10_000):
        factor = -i * (i - a)
        b += 2
        d = factor * d + b or tiny
        c = b + factor / c or tiny
        d = 1 / d
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return scale * fraction
