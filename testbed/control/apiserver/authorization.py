"""Who may do what: system:masters and ServiceAccounts everything, others what anyone known may.

Sources: apiserver pkg/endpoints/filters/impersonation.go, pkg/endpoints/handlers/responsewriters
/errors.go, plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from multidict import MultiMapping

from testbed.api import status
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.control.apiserver.auth import PUBLIC_PATHS, User
from testbed.control.apiserver.requests import Target, flag

_MASTERS, _KNOWN, _UNKNOWN = "system:masters", "system:authenticated", "system:unauthenticated"
_ANONYMOUS = "system:anonymous"
_ACCOUNT = "system:serviceaccount:"
_ACCOUNTS = "system:serviceaccounts"
#: What anyone known may create. Source: system:basic-user.
_BASIC = {
    "authentication.k8s.io": ("selfsubjectreviews",),
    "authorization.k8s.io": ("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
}
#: What anyone known may read. Source: system:discovery.
_DISCOVERY = (
    "/api",
    "/api/*",
    "/apis",
    "/apis/*",
    "/healthz",
    "/livez",
    "/openapi",
    "/openapi/*",
    "/readyz",
    "/version",
    "/version/",
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "HEAD": "get", "GET": "get"}
_USER_HEADER = "Impersonate-User"
_EXTRA_PREFIX = "impersonate-extra-"


@dataclass(frozen=True, slots=True)
class Attributes:
    """What somebody wants to do: to a resource, or (without one) to a `path`."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def is_allowed(user: User, wanted: Attributes) -> bool:
    """Whether `user` may do it."""
    if _MASTERS in user.groups or user.name.startswith(_ACCOUNT):
        return True
    if wanted.resource:
        basic = wanted.full_resource in _BASIC.get(wanted.group, ())
        return _KNOWN in user.groups and wanted.verb == "create" and basic
    if wanted.verb not in ("get", "head"):
        return False
    return wanted.path in PUBLIC_PATHS or (
        _KNOWN in user.groups and any(_covers(pattern, wanted.path) for pattern in _DISCOVERY)
    )


def _covers(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def rules(user: User) -> Document:
    """The status of a SelfSubjectRulesReview."""
    if is_allowed(user, Attributes("*", "*", "*")):
        resources = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
        paths = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
    else:
        resources = [
            {"verbs": ["create"], "apiGroups": [group], "resources": list(names)}
            for group, names in _BASIC.items()
        ]
        paths = [{"verbs": ["get"], "nonResourceURLs": list(_DISCOVERY)}]
    return {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}


def attributes_of(
    method: str, path: str, target: Target | None, query: Mapping[str, str]
) -> Attributes:
    """What a request wants to do."""
    if target is None:
        return Attributes(method.lower(), path=path)
    verb = _VERBS.get(method, method.lower())
    if method == "DELETE" and not target.name:
        verb = "deletecollection"
    elif verb == "get" and not target.name:
        verb = "watch" if flag(query, "watch") else "list"
    if target.watch:
        verb = "watch"
    resource = target.resource
    namespace = target.namespace or ""
    if resource.resource == "namespaces":
        namespace = target.name
    return Attributes(
        verb, resource.group, resource.resource, target.subresource, namespace, target.name, path
    )


def check(user: User, wanted: Attributes) -> None:
    """Raises StatusError (403) where `user` may not do it."""
    if not is_allowed(user, wanted):
        raise _refused(user, wanted)


def _refused(user: User, wanted: Attributes) -> status.StatusError:
    who = f"User {quote(user.name)} cannot {wanted.verb}"
    if not wanted.resource:
        message = f"forbidden: {who} path {quote(wanted.path)}"
        return status.StatusError(403, "Forbidden", message, {})
    where = f"in the namespace {quote(wanted.namespace)}" if wanted.namespace else ""
    detail = (
        f"{who} resource {quote(wanted.full_resource)} in API group {quote(wanted.group)} "
        f"{where or 'at the cluster scope'}"
    )
    return status.forbidden(wanted.resource, wanted.name, wanted.group, detail)


def impersonated(user: User, headers: MultiMapping[str]) -> User:
    """Whom `user` wants to be taken for; raises StatusError where it may not."""
    name = headers.get(_USER_HEADER, "")
    groups = headers.getall("Impersonate-Group", [])
    uid = headers.get("Impersonate-Uid", "")
    extra: dict[str, tuple[str, ...]] = {}
    for header, value in headers.items():
        if header.lower().startswith(_EXTRA_PREFIX):
            key = unquote(header[len(_EXTRA_PREFIX) :]).lower()
            extra[key] = (*extra.get(key, ()), value)
    if not name:
        if groups or uid or extra:
            raise status.internal("requested impersonation without impersonating a user name")
        return user
    account = name.split(":") if name.startswith(_ACCOUNT) else []
    if len(account) == 4:
        check(
            user,
            Attributes("impersonate", "", "serviceaccounts", "", account[2], account[3]),
        )
        groups = groups or [_ACCOUNTS, f"{_ACCOUNTS}:{account[2]}"]
    else:
        check(user, Attributes("impersonate", "", "users", name=name))
    for group in headers.getall("Impersonate-Group", []):
        check(user, Attributes("impersonate", "", "groups", name=group))
    everyone = _UNKNOWN if name == _ANONYMOUS else _KNOWN
    if everyone not in groups and _UNKNOWN not in groups:
        groups = [*groups, everyone]
    return User(name, tuple(groups), uid, extra)
