"""The words that both backends use for Services and endpoints."""

from __future__ import annotations

from testbed.proxy.changes import ProxyState
from testbed.proxy.endpoint import EndpointInfo
from testbed.proxy.service_port import ServicePortName


def service_words(state: ProxyState, name: ServicePortName) -> str:
    """`Service ns/name, port http 80/TCP`."""
    info = state.services.get(name)
    number = f" {info.port}" if info else ""
    label = f" {name.port}" if name.port else ""
    return f"Service {name.service}, port{label}{number}/{name.protocol}"


def endpoint_words(endpoint: EndpointInfo) -> str:
    """`endpoint ip:port`, and the Pod and node where they are known."""
    known = [f"Pod {endpoint.target}"] if endpoint.target else []
    known += [f"on {endpoint.node_name}"] if endpoint.node_name else []
    if endpoint.is_serving_terminating and not endpoint.ready:
        known.append("terminating")
    return f"endpoint {endpoint.text}" + (f" ({' '.join(known)})" if known else "")
