"""Paths against expectations: where a packet first did something else. Pure."""

from testbed.compare.agreement import Difference, compare
from testbed.compare.rules import RuleChange, changes
from testbed.compare.spread import Spread, chi_square_p

__all__ = ["Difference", "RuleChange", "Spread", "changes", "chi_square_p", "compare"]
