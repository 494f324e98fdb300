"""Service ports as the proxy sees them.

Source: pkg/proxy/types.go (ServicePortName), pkg/proxy/serviceport.go.
"""

from __future__ import annotations

from typing import NamedTuple

from testbed.api.objects import NamespacedName


class ServicePortName(NamedTuple):
    """The key of everything the proxy does: one port of one Service, in one protocol.

    Printed `namespace/name:port`, or `namespace/name` where the port has no name. Sorts by its
    fields: the order in which a RuleSet lists Services.
    """

    namespace: str
    name: str
    port: str
    protocol: str

    @property
    def service(self) -> NamespacedName:
        return NamespacedName(self.namespace, self.name)

    def __str__(self) -> str:
        named = f"{self.namespace}/{self.name}"
        return f"{named}:{self.port}" if self.port else named
