"""What a scenario is: a topology, settings of the lab, and a function that acts and checks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from testbed.cluster import Cluster
    from testbed.scenario.steps import Steps

#: Gets a running lab and the step log; raises CheckFailedError where a promise isn't kept.
ScenarioFunction: TypeAlias = "Callable[[Cluster, Steps], None]"

PROXY_MODES = ("iptables", "nftables")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario, as `@scenario` made it from a function.

    `modes` are the proxy modes it is run in, each in a lab of its own; `needs` are kernel features
    (names of `testbed doctor`) without which it is skipped; `options` go to Cluster.
    """

    name: str
    title: str
    teaches: str
    function: ScenarioFunction
    topology: str = "three_nodes"
    modes: tuple[str, ...] = PROXY_MODES
    needs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


def scenario(
    title: str,
    *,
    topology: str = "three_nodes",
    modes: tuple[str, ...] = PROXY_MODES,
    needs: tuple[str, ...] = (),
    **options: Any,
) -> Callable[[ScenarioFunction], Scenario]:
    """Make a Scenario of the function below; its module's docstring is what it teaches."""

    def decorate(function: ScenarioFunction) -> Scenario:
        module = inspect.getmodule(function)
        return Scenario(
            name=function.__name__.replace("_", "-"),
            title=title,
            teaches=inspect.cleandoc((module.__doc__ if module else "") or ""),
            function=function,
            topology=topology,
            modes=modes,
            needs=needs,
            options=options,
            source=function.__code__.co_filename,
        )

    return decorate
