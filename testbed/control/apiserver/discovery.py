"""What the server serves: /api, /apis and the lists below them, plain and aggregated.

Source: apiserver pkg/endpoints/discovery, k8s.io/api/apidiscovery/v2.
"""

from __future__ import annotations

from functools import cache

from testbed.api.documents import Document
from testbed.api.resources import SERVED, ResourceType

GIT_VERSION = "v1.36.2"
#: Verbs of the subresources that we serve, and the kind they carry where it isn't the object's.
SUBRESOURCES: dict[str, tuple[tuple[str, ...], tuple[str, str, str] | None]] = {
    "status": (("get", "patch", "update"), None),
    "scale": (("get", "patch", "update"), ("autoscaling", "v1", "Scale")),
    "log": (("get",), None),
    "ephemeralcontainers": (("get", "patch", "update"), None),
    "exec": (("create", "get"), ("", "v1", "PodExecOptions")),
    "attach": (("create", "get"), ("", "v1", "PodAttachOptions")),
    "portforward": (("create", "get"), ("", "v1", "PodPortForwardOptions")),
    "binding": (("create",), ("", "v1", "Binding")),
    "eviction": (("create",), ("policy", "v1", "Eviction")),
    "finalize": (("update",), None),
    "token": (("create",), ("authentication.k8s.io", "v1", "TokenRequest")),
    "proxy": (("create", "delete", "get", "patch", "update"), None),
}


def version() -> Document:
    """The answer of /version."""
    return {
        "major": "1",
        "minor": "36",
        "gitVersion": GIT_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


@cache
def groups() -> tuple[str, ...]:
    """The API groups with a name, in order."""
    return tuple(sorted({resource.group for resource in SERVED} - {""}))


def api_versions(address: str) -> Document:
    """The answer of /api."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group_list() -> Document:
    """The answer of /apis."""
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [_group(name) for name in groups()],
    }


def group(name: str) -> Document | None:
    """The answer of /apis/{name}."""
    if name not in groups():
        return None
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name)}


def _group(name: str) -> Document:
    served = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [served], "preferredVersion": served}


def resource_list(name: str) -> Document | None:
    """The answer of /api/v1 (group "") or /apis/{name}/v1."""
    found = [resource for resource in SERVED if resource.group == name]
    if not found:
        return None
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": found[0].api_version,
        "resources": [entry for resource in found for entry in _entries(resource)],
    }


def _entries(resource: ResourceType) -> list[Document]:
    entry: Document = {
        "name": resource.resource,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    entries = [entry]
    for name in resource.subresources:
        if name not in SUBRESOURCES:
            continue
        verbs, kind = SUBRESOURCES[name]
        sub: Document = {
            "name": f"{resource.resource}/{name}",
            "singularName": "",
            "namespaced": resource.namespaced,
            "kind": kind[2] if kind else resource.kind,
            "verbs": list(verbs),
        }
        if kind:
            sub["group"], sub["version"] = kind[:2]
        entries.append(sub)
    return entries


def aggregated(core: bool, version_name: str = "v2") -> Document:
    """Everything of /api (`core`) or /apis in one APIGroupDiscoveryList."""
    names: tuple[str, ...] = ("",) if core else groups()
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version_name}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": name} if name else {},
                "versions": [
                    {
                        "version": "v1",
                        "resources": [_discovered(r) for r in SERVED if r.group == name],
                        "freshness": "Current",
                    }
                ],
            }
            for name in names
        ],
    }


def _discovered(resource: ResourceType) -> Document:
    entry: Document = {
        "resource": resource.resource,
        "responseKind": _kind(resource.group, resource.version, resource.kind),
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subresources = []
    for name in resource.subresources:
        if name in SUBRESOURCES:
            verbs, kind = SUBRESOURCES[name]
            own = (resource.group, resource.version, resource.kind)
            subresources.append(
                {
                    "subresource": name,
                    "responseKind": _kind(*(kind or own)),
                    "verbs": list(verbs),
                }
            )
    if subresources:
        entry["subresources"] = subresources
    return entry


def _kind(group_name: str, version_name: str, kind: str) -> Document:
    return {"group": group_name, "version": version_name, "kind": kind}
