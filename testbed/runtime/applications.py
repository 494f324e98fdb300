"""Built-in applications: servers of Pods that live in the lab's own event loop, beside the echo.

A cluster's own parts (DNS, the Ingress controller) run so: their Pods have namespaces, addresses
and logs as any other, and can be deleted and come back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from testbed.fabric.namespace import Namespace


class Application(Protocol):
    """Something that runs in a Pod until it is closed."""

    def close(self) -> None: ...


#: Starts an application in a Pod's namespace: ((namespace, Pod), where, log of a line) → it.
#: Raises TestbedError or OSError where it can't start.
Starter: TypeAlias = Callable[[tuple[str, str], Namespace, Callable[[str], None]], Application]
