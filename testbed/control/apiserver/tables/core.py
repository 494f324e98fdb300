"""Rows of the core group's kinds. Source: pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.control.apiserver.tables.text import (
    NONE,
    UNKNOWN,
    balancer_addresses,
    joined,
    labels,
    since,
    some,
    spec,
    state,
)

ROLE_PREFIX = "node-role.kubernetes.io/"


def _name(document: Document) -> str:
    return str(document["metadata"].get("name", ""))


def _age(document: Document, now: float) -> str:
    return since(document["metadata"].get("creationTimestamp"), now)


def service_row(service: Document, now: float) -> list[Any]:
    addresses = spec(service).get("clusterIPs") or [spec(service).get("clusterIP") or NONE]
    return [
        _name(service),
        spec(service).get("type") or "",
        addresses[0],
        _external_address(service),
        joined(_port(port) for port in spec(service).get("ports") or ()),
        _age(service, now),
        labels(spec(service).get("selector")),
    ]


def _external_address(service: Document) -> str:
    kind, external = spec(service).get("type"), spec(service).get("externalIPs") or []
    if kind == "ExternalName":
        return str(spec(service).get("externalName") or "")
    if kind == "LoadBalancer":
        return joined([*balancer_addresses(service), *external], "<pending>")
    return joined(external)


def _port(port: Document) -> str:
    node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node_port}/{port.get('protocol')}"


def endpoints_row(endpoints: Document, now: float) -> list[Any]:
    listed: list[str] = []
    for subset in endpoints.get("subsets") or ():
        addresses = [a.get("ip") or "" for a in subset.get("addresses") or ()]
        ports = subset.get("ports") or ()
        if not ports:
            listed += addresses
        listed += [_host_port(a, p.get("port")) for p in ports for a in addresses]
    text = some(listed) if endpoints.get("subsets") else NONE
    return [_name(endpoints), text, _age(endpoints, now)]


def _host_port(address: str, port: Any) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def node_row(node: Document, now: float) -> list[Any]:
    ready = [c for c in state(node).get("conditions") or () if c.get("type") == "Ready"]
    words = ["Ready" if c.get("status") == "True" else "NotReady" for c in ready] or ["Unknown"]
    if spec(node).get("unschedulable"):
        words.append("SchedulingDisabled")
    info = state(node).get("nodeInfo") or {}
    return [
        _name(node),
        ",".join(words),
        joined(sorted(_roles(node))),
        _age(node, now),
        info.get("kubeletVersion") or "",
        _node_address(node, "InternalIP"),
        _node_address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _roles(node: Document) -> set[str]:
    found = set()
    for key, value in (node["metadata"].get("labels") or {}).items():
        if key.startswith(ROLE_PREFIX) and key != ROLE_PREFIX:
            found.add(key.removeprefix(ROLE_PREFIX))
        elif key == "kubernetes.io/role" and value:
            found.add(value)
    return found


def _node_address(node: Document, kind: str) -> str:
    for entry in state(node).get("addresses") or ():
        if entry.get("type") == kind:
            return str(entry.get("address"))
    return NONE


def namespace_row(namespace: Document, now: float) -> list[Any]:
    return [_name(namespace), state(namespace).get("phase") or "", _age(namespace, now)]


def config_map_row(config: Document, now: float) -> list[Any]:
    count = len(config.get("data") or ()) + len(config.get("binaryData") or ())
    return [_name(config), count, _age(config, now)]


def secret_row(secret: Document, now: float) -> list[Any]:
    count = len(secret.get("data") or ())
    return [_name(secret), secret.get("type") or "", count, _age(secret, now)]


def service_account_row(account: Document, now: float) -> list[Any]:
    return [_name(account), len(account.get("secrets") or ()), _age(account, now)]


def pod_template_row(template: Document, now: float) -> list[Any]:
    inner = template.get("template") or {}
    listed = (inner.get("spec") or {}).get("containers") or ()
    return [
        _name(template),
        ",".join(c.get("name") or "" for c in listed),
        ",".join(c.get("image") or "" for c in listed),
        labels((inner.get("metadata") or {}).get("labels")),
    ]


def event_row(event: Document, now: float) -> list[Any]:
    first = since(event.get("firstTimestamp") or event.get("eventTime"), now)
    last = since(event["lastTimestamp"], now) if event.get("lastTimestamp") else first
    count = event.get("count") or 1
    if series := event.get("series"):
        last, count = since(series.get("lastObservedTime"), now), series.get("count")
    involved = event.get("involvedObject") or {}
    target = str(involved.get("kind") or "").lower()
    if involved.get("name"):
        target += f"/{involved['name']}"
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent")
    host = source.get("host") or event.get("reportingInstance")
    return [
        last,
        event.get("type") or "",
        event.get("reason") or "",
        target,
        involved.get("fieldPath") or "",
        ", ".join(part for part in (component, host) if part),
        str(event.get("message") or "").strip(),
        first,
        count,
        _name(event),
    ]
