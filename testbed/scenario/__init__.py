"""Scenarios: what they are, how they are found and run.

A scenario file holds a docstring that teaches, its manifests, and one function under `@scenario`.
"""

from testbed.scenario.expect import expect
from testbed.scenario.spec import Scenario, scenario
from testbed.scenario.steps import Steps

__all__ = ["Scenario", "Steps", "expect", "scenario"]
