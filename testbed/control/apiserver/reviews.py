"""Access reviews: who is asking, and may they (always yes: there is one administrator)."""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.control.apiserver.auth import ADMINISTRATOR, User

GROUPS = ("authentication.k8s.io", "authorization.k8s.io")


def review(resource: ResourceType, document: Document, user: User, token: str) -> Document:
    """The answer to a review: the document with its status."""
    info = {"username": user.name, "groups": list(user.groups)}
    sent = document.get("spec") if isinstance(document.get("spec"), dict) else {}
    if resource.kind == "SelfSubjectReview":
        state: Document = {"userInfo": info}
    elif resource.kind == "TokenReview":
        known = (sent or {}).get("token") == token
        admin = {"username": ADMINISTRATOR.name, "groups": list(ADMINISTRATOR.groups)}
        state = {"authenticated": True, "user": admin} if known else {"user": {}}
    elif resource.kind == "SelfSubjectRulesReview":
        state = {
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": False,
        }
    else:
        state = {"allowed": True}
    return {
        **document,
        "kind": resource.kind,
        "apiVersion": resource.api_version,
        "metadata": document.get("metadata") or {},
        "status": state,
    }
