"""Access reviews: who is asking, and may they."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.control.apiserver.auth import Bearer, User
from testbed.control.apiserver.authorization import Attributes, is_allowed, rules

GROUPS = ("authentication.k8s.io", "authorization.k8s.io")


def review(resource: ResourceType, document: Document, user: User, bearer: Bearer) -> Document:
    """The answer to a review: the document with its status; `bearer` knows tokens."""
    found = document.get("spec")
    spec: Document = found if isinstance(found, dict) else {}
    if resource.kind == "SelfSubjectReview":
        state: Document = {"userInfo": user.document}
    elif resource.kind == "TokenReview":
        known = bearer(str(spec.get("token") or ""))
        state = {"authenticated": True, "user": known.document} if known else {"user": {}}
    elif resource.kind == "SelfSubjectRulesReview":
        state = rules(user)
    else:
        if resource.kind != "SelfSubjectAccessReview":
            user = User(str(spec.get("user") or ""), tuple(spec.get("groups") or ()))
        state = {"allowed": is_allowed(user, _attributes(spec))}
    return {
        **document,
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": document.get("metadata") or {},
        "status": state,
    }


def _attributes(spec: Document) -> Attributes:
    sent: dict[str, Any] = spec.get("resourceAttributes") or {}
    if not sent:
        wanted = spec.get("nonResourceAttributes") or {}
        return Attributes(str(wanted.get("verb") or ""), path=str(wanted.get("path") or ""))
    fields = ("verb", "group", "resource", "subresource", "namespace", "name")
    return Attributes(*(str(sent.get(field) or "") for field in fields))
