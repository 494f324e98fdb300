"""The resources that the control plane serves: names, kinds, scopes, verbs."""

from __future__ import annotations

from dataclasses import dataclass

_NO_COLLECTION = ("create", "delete", "get", "list", "patch", "update", "watch")
WRITE = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
CREATE_ONLY = ("create",)


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource of one API group version; `subresources` without the resource's name."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    singular: str = ""
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = WRITE

    @property
    def api_version(self) -> str:
        """`v1`, `apps/v1` …"""
        return f"{self.group}/{self.version}" if self.group else self.version


def _kind(
    group: str,
    resource: str,
    kind: str,
    *,
    namespaced: bool = True,
    short: str = "",
    categories: tuple[str, ...] = (),
    sub: str = "",
    verbs: tuple[str, ...] = WRITE,
) -> ResourceType:
    return ResourceType(
        group=group,
        version="v1",
        resource=resource,
        kind=kind,
        namespaced=namespaced,
        short_names=tuple(short.split()),
        categories=categories,
        singular=kind.lower(),
        subresources=tuple(sub.split()),
        verbs=verbs,
    )


_ALL = ("all",)
_POD_SUB = "attach binding ephemeralcontainers eviction exec log portforward proxy resize status"
_AUTHN, _AUTHZ = "authentication.k8s.io", "authorization.k8s.io"
_NET = "networking.k8s.io"

#: In order of discovery: the core group first, groups by name.
RESOURCES: tuple[ResourceType, ...] = (
    _kind("", "configmaps", "ConfigMap", short="cm"),
    _kind("", "endpoints", "Endpoints", short="ep"),
    _kind("", "events", "Event", short="ev"),
    _kind(
        "",
        "namespaces",
        "Namespace",
        namespaced=False,
        short="ns",
        sub="finalize status",
        verbs=_NO_COLLECTION,
    ),
    _kind("", "nodes", "Node", namespaced=False, short="no", sub="proxy status"),
    _kind("", "pods", "Pod", short="po", categories=_ALL, sub=_POD_SUB),
    _kind("", "podtemplates", "PodTemplate"),
    _kind("", "secrets", "Secret"),
    _kind("", "serviceaccounts", "ServiceAccount", short="sa", sub="token"),
    _kind("", "services", "Service", short="svc", categories=_ALL, sub="proxy status"),
    _kind("apps", "controllerrevisions", "ControllerRevision"),
    _kind("apps", "daemonsets", "DaemonSet", short="ds", categories=_ALL, sub="status"),
    _kind("apps", "deployments", "Deployment", short="deploy", categories=_ALL, sub="scale status"),
    _kind("apps", "replicasets", "ReplicaSet", short="rs", categories=_ALL, sub="scale status"),
    _kind("apps", "statefulsets", "StatefulSet", short="sts", categories=_ALL, sub="scale status"),
    _kind(_AUTHN, "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=CREATE_ONLY),
    _kind(_AUTHN, "tokenreviews", "TokenReview", namespaced=False, verbs=CREATE_ONLY),
    _kind(_AUTHZ, "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=CREATE_ONLY),
    _kind(
        _AUTHZ,
        "selfsubjectaccessreviews",
        "SelfSubjectAccessReview",
        namespaced=False,
        verbs=CREATE_ONLY,
    ),
    _kind(
        _AUTHZ,
        "selfsubjectrulesreviews",
        "SelfSubjectRulesReview",
        namespaced=False,
        verbs=CREATE_ONLY,
    ),
    _kind(
        _AUTHZ, "subjectaccessreviews", "SubjectAccessReview", namespaced=False, verbs=CREATE_ONLY
    ),
    _kind("coordination.k8s.io", "leases", "Lease"),
    _kind("discovery.k8s.io", "endpointslices", "EndpointSlice"),
    _kind("events.k8s.io", "events", "Event", short="ev"),
    _kind(_NET, "ingressclasses", "IngressClass", namespaced=False),
    _kind(_NET, "ingresses", "Ingress", short="ing", sub="status"),
    _kind(_NET, "ipaddresses", "IPAddress", namespaced=False, short="ip"),
    _kind(_NET, "servicecidrs", "ServiceCIDR", namespaced=False, sub="status"),
)

_READ = ("get", "list", "watch")
#: Kinds that kubectl looks for and that the control plane doesn't run: their lists are empty.
NOT_RUN: tuple[ResourceType, ...] = (
    _kind("", "persistentvolumeclaims", "PersistentVolumeClaim", short="pvc", verbs=_READ),
    _kind("", "persistentvolumes", "PersistentVolume", namespaced=False, short="pv", verbs=_READ),
    _kind(
        "",
        "replicationcontrollers",
        "ReplicationController",
        short="rc",
        categories=_ALL,
        verbs=_READ,
    ),
    _kind("batch", "cronjobs", "CronJob", short="cj", categories=_ALL, verbs=_READ),
    _kind("batch", "jobs", "Job", categories=_ALL, verbs=_READ),
)
#: All that discovery shows, in its order.
SERVED = tuple(sorted((*RESOURCES, *NOT_RUN), key=lambda each: (each.group, each.resource)))

#: Resources whose objects count their generations. Source: PrepareForCreate of the strategies.
COUNTED = frozenset(
    {
        "daemonsets",
        "deployments",
        "endpointslices",
        "ingressclasses",
        "ingresses",
        "pods",
        "replicasets",
        "statefulsets",
    }
)

_BY_KIND = {(entry.api_version, entry.kind): entry for entry in RESOURCES}
_BY_RESOURCE = {(entry.group, entry.resource): entry for entry in SERVED}
_BY_NAME = {entry.resource: entry for entry in reversed(RESOURCES)}


def by_kind(api_version: str, kind: str) -> ResourceType | None:
    """The resource whose objects carry this apiVersion and kind, or None."""
    return _BY_KIND.get((api_version, kind))


def by_resource(group: str, resource: str) -> ResourceType | None:
    """The resource of that plural name in that group, or None."""
    return _BY_RESOURCE.get((group, resource))


def by_name(resource: str) -> ResourceType | None:
    """The resource of that plural name in any group; the core group comes first."""
    return _BY_NAME.get(resource)
