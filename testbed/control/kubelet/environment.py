"""The environment variables of a container: service links, the downward API, maps and secrets.

Pure. Source: pkg/kubelet/kubelet_pods.go (makeEnvironmentVariables), pkg/kubelet/envvars.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api import quantity
from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.expansion import expand
from testbed.api.objects import Service

#: Finds an object by resource, namespace and name.
Finder: TypeAlias = Callable[[str, str, str], Document | None]

#: Services that every Pod hears of, from namespace default. Source: kubelet_pods.go masterServices.
_MASTER = "kubernetes"


class MissingReferenceError(Exception):
    """A ConfigMap, Secret or key that the environment needs isn't there."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """What the downward API tells of a running Pod; `allocatable` is its node's, by resource."""

    document: Document
    addresses: tuple[str, ...]
    host_addresses: tuple[str, ...]
    allocatable: Mapping[str, str] = field(default_factory=dict)


def environment(
    container: Document, facts: PodFacts, services: Iterable[Document], find: Finder
) -> dict[str, str]:
    """All variables of a container; later ones replace earlier ones of that name.

    `services` are those of the Pod's namespace and of default. Raises MissingReferenceError.
    """
    wanted = _linked(facts.document, services)
    variables = {name: value for each in wanted for name, value in service_links(each).items()}
    variables.update(own_environment(container, facts, find, variables))
    return variables


def own_environment(
    container: Document, facts: PodFacts, find: Finder, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The variables of `envFrom` and `env`; `known` may be referred to as $(NAME)."""
    namespace = namespace_of(facts.document)
    variables: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix") or ""
        for kind, reference in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if reference in source:
                data = _data(kind, source[reference], namespace, find)
                variables.update({prefix + name: value for name, value in data.items()})
    for entry in container.get("env") or ():
        if source := entry.get("valueFrom"):
            value = _value_from(source, container, facts, find)
            if value is not None:
                variables[entry["name"]] = value
        else:
            known_now = {**(known or {}), **variables}
            variables[entry["name"]] = expand(entry.get("value") or "", known_now)
    return variables


def variables_from(container: Document) -> Iterator[tuple[str, str]]:
    """(resource, name) of the ConfigMaps and Secrets that a container's variables name."""
    for source in container.get("envFrom") or ():
        for kind, reference in (("configmaps", "configMapRef"), ("secrets", "secretRef")):
            if reference in source:
                yield kind, source[reference].get("name") or ""
    for entry in container.get("env") or ():
        source = entry.get("valueFrom") or {}
        for kind, reference in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
            if reference in source:
                yield kind, source[reference].get("name") or ""


def service_links(document: Document) -> dict[str, str]:
    """`WEB_SERVICE_HOST`, `WEB_PORT_80_TCP_ADDR` … of one Service. Source: envvars.FromServices."""
    service = Service.from_document(document)
    prefix = re.sub(r"[-.]", "_", service.key.name).upper()
    address = service.cluster_ips[0]
    host = f"[{address}]" if ":" in address else address
    first = service.ports[0]
    found = {f"{prefix}_SERVICE_HOST": address, f"{prefix}_SERVICE_PORT": str(first.port)}
    for port in service.ports:
        if port.name:
            name = port.name.replace("-", "_").upper()
            found[f"{prefix}_SERVICE_PORT_{name}"] = str(port.port)
    found[f"{prefix}_PORT"] = f"{first.protocol.lower()}://{host}:{first.port}"
    for port in service.ports:
        each = f"{prefix}_PORT_{port.port}_{port.protocol}"
        found[each] = f"{port.protocol.lower()}://{host}:{port.port}"
        found[f"{each}_PROTO"] = port.protocol.lower()
        found[f"{each}_PORT"] = str(port.port)
        found[f"{each}_ADDR"] = address
    return found


def _linked(pod: Document, services: Iterable[Document]) -> list[Document]:
    """Services with an address: the Pod's namespace's, and `kubernetes` of default."""
    links = pod["spec"].get("enableServiceLinks", True)
    chosen: dict[str, Document] = {}
    for document in services:
        if (document["spec"].get("clusterIP") or "None") == "None" or not document["spec"].get(
            "ports"
        ):
            continue
        name, namespace = name_of(document), namespace_of(document)
        if namespace == namespace_of(pod) and (links or (name, namespace) == (_MASTER, "default")):
            chosen[name] = document
        elif (name, namespace) == (_MASTER, "default"):
            chosen.setdefault(name, document)
    return list(chosen.values())


def _data(kind: str, reference: Document, namespace: str, find: Finder) -> dict[str, str]:
    found = find(kind, namespace, reference.get("name") or "")
    if found is None:
        if reference.get("optional"):
            return {}
        raise MissingReferenceError(f'{kind[:-1]} "{reference.get("name")}" not found')
    if kind == "secrets":
        return {key: value.decode(errors="replace") for key, value in secret_data(found).items()}
    data: dict[str, str] = found.get("data") or {}
    return data


def secret_data(document: Document) -> dict[str, bytes]:
    """What a Secret holds, by its keys."""
    data = document.get("data") or {}
    return {key: base64.b64decode(value or "") for key, value in data.items()}


def _value_from(source: Document, container: Document, facts: PodFacts, find: Finder) -> str | None:
    namespace = namespace_of(facts.document)
    if reference := source.get("fieldRef"):
        return field_value(reference["fieldPath"], facts)
    if reference := source.get("resourceFieldRef"):
        return resource_value(reference, facts, container)
    for kind, reference in (("configmaps", "configMapKeyRef"), ("secrets", "secretKeyRef")):
        if wanted := source.get(reference):
            data = _data(kind, wanted, namespace, find)
            if wanted["key"] in data:
                return data[wanted["key"]]
            if wanted.get("optional"):
                return None
            what = "ConfigMap" if kind == "configmaps" else "Secret"
            raise MissingReferenceError(
                f"couldn't find key {wanted['key']} in {what} {namespace}/{wanted.get('name')}"
            )
    raise MissingReferenceError(f"unsupported source of a value: {', '.join(source)}")


def resource_value(reference: Document, facts: PodFacts, container: Document | None = None) -> str:
    """A request or limit of a container, in units of the divisor, rounded up.

    A limit that isn't there is what the node can give. Source: pkg/api/v1/resource/helpers.go
    (ExtractContainerResourceValue, MergeContainerResourceLimits).
    """
    if name := reference.get("containerName"):
        spec = facts.document["spec"]
        everyone = [*spec["containers"], *(spec.get("initContainers") or ())]
        container = next((each for each in everyone if each["name"] == name), None)
        if container is None:
            raise MissingReferenceError(f"container {name} not found")
    kind, _, resource = str(reference.get("resource")).partition(".")
    resources = (container or {}).get("resources") or {}
    text = str((resources.get(kind) or {}).get(resource) or "0")
    if kind == "limits" and not quantity.parse(text)[0]:
        text = facts.allocatable.get(resource, "0")
    divisor = quantity.parse(str(reference.get("divisor") or "1"))[0] or 1
    return str(math.ceil(quantity.parse(text)[0] / divisor))


def field_value(path: str, facts: PodFacts) -> str:
    """A downward API field; raises MissingReferenceError for one that isn't supported."""
    document, meta = facts.document, facts.document["metadata"]
    if match := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((meta.get(match[1]) or {}).get(match[2]) or "")
    spec = document["spec"]
    values: dict[str, str] = {
        "metadata.name": name_of(document),
        "metadata.namespace": namespace_of(document),
        "metadata.uid": str(meta.get("uid") or ""),
        "spec.nodeName": str(spec.get("nodeName") or ""),
        "spec.serviceAccountName": str(spec.get("serviceAccountName") or "default"),
        "status.podIP": next(iter(facts.addresses), ""),
        "status.podIPs": ",".join(facts.addresses),
        "status.hostIP": next(iter(facts.host_addresses), ""),
        "status.hostIPs": ",".join(facts.host_addresses),
    }
    if path not in values:
        raise MissingReferenceError(f"unsupported fieldPath: {path}")
    return values[path]
