"""Where the echo application of a Pod listens: nobody has to say it twice."""

from __future__ import annotations

from collections.abc import Iterable

from testbed.api.documents import Document
from testbed.api.objects import Labels, Pod, Service
from testbed.control.controllers.endpointslice import target_port


def echo_ports(document: Document, services: Iterable[Document]) -> set[tuple[str, int]]:
    """Every containerPort, and every target port of the Services that select the Pod."""
    pod = Pod.from_document(document)
    found = {(port.protocol, port.port) for port in pod.ports}
    for entry in services:
        if selects(entry, pod.labels):
            for port in Service.from_document(entry).ports:
                number = target_port(port, pod)
                if number is not None:
                    found.add((port.protocol, number))
    return found


def selects(service: Document, labels: Labels) -> bool:
    """Whether the Service's selector matches; an empty one matches nothing."""
    selector: Labels = service["spec"].get("selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def differ(one: Document, other: Document) -> bool:
    """Whether two states of a Service choose other Pods or ports."""
    return any(one["spec"].get(name) != other["spec"].get(name) for name in ("selector", "ports"))
