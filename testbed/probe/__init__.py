"""Packets out, captures and traces in, put together as one Path."""

from testbed.probe.exchange import Outcome, Request, exchange, exchange_async
from testbed.probe.namespaces import Namespace
from testbed.probe.observe import Observation, Observer, follow

__all__ = [
    "Namespace",
    "Observation",
    "Observer",
    "Outcome",
    "Request",
    "exchange",
    "exchange_async",
    "follow",
]
