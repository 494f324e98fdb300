"""What the service controller asks of a cloud, and what a cloud answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from testbed.api.objects import LoadBalancerIngress, NamespacedName, Node, Service
from testbed.errors import TestbedError


class CloudError(TestbedError):
    """The cloud can't make this load balancer; the message is for the Service's Event."""


class Cloud(Protocol):
    """A cloud provider's load balancers (upstream: cloud-provider's LoadBalancer interface).

    Every call states the whole desired state of one Service and may be repeated.
    """

    #: Called where a load balancer couldn't be kept as it was asked for (a node's health changed
    #: and the data plane refused the change), so that it is asked for again.
    refused: Callable[[NamespacedName], None]

    def ensure(self, service: Service, nodes: Sequence[Node]) -> tuple[LoadBalancerIngress, ...]:
        """Make or change the Service's load balancer; its status entries. Raises CloudError."""

    def update_nodes(self, service: Service, nodes: Sequence[Node]) -> None:
        """Change its target nodes only. Raises CloudError."""

    def exists(self, key: NamespacedName) -> bool:
        """Whether the Service has a load balancer."""

    def delete(self, key: NamespacedName) -> None:
        """Remove it with everything it holds; one that isn't there is no error.

        Raises CloudError.
        """
