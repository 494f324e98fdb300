"""Defaults of Namespace, Secret, IngressClass and Event.

Sources: pkg/apis/core/v1/defaults.go, pkg/apis/networking/v1/defaults.go.
"""

from __future__ import annotations

import base64

from testbed.api.documents import Document

LABEL_NAMESPACE = "kubernetes.io/metadata.name"


def nothing(document: Document) -> None:
    """A kind without defaults."""


def namespace(document: Document) -> None:
    if name := document["metadata"].get("name"):
        document["metadata"].setdefault("labels", {})[LABEL_NAMESPACE] = name
    if not document.setdefault("status", {}).get("phase"):
        document["status"]["phase"] = "Active"


def secret(document: Document) -> None:
    if not document.get("type"):
        document["type"] = "Opaque"
    for key, text in document.pop("stringData", {}).items():
        document.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


def ingress_class(document: Document) -> None:
    parameters = document.get("spec", {}).get("parameters")
    if parameters is not None:
        parameters.setdefault("scope", "Cluster")
