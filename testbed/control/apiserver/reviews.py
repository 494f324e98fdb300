"""Access reviews: who is asking, and may they (always yes: there is one administrator)."""

from __future__ import annotations

from testbed.api.documents import Document
from testbed.api.resources import ResourceType
from testbed.control.apiserver.auth import Bearer, User

GROUPS = ("authentication.k8s.io", "authorization.k8s.io")


def review(resource: ResourceType, document: Document, user: User, bearer: Bearer) -> Document:
    """The answer to a review: the document with its status; `bearer` knows tokens."""
    sent = document.get("spec") if isinstance(document.get("spec"), dict) else {}
    if resource.kind == "SelfSubjectReview":
        state: Document = {"userInfo": user.document}
    elif resource.kind == "TokenReview":
        known = bearer(str((sent or {}).get("token") or ""))
        state = {"authenticated": True, "user": known.document} if known else {"user": {}}
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
