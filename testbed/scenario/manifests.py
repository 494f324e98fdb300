"""Manifests that every scenario needs and none is about: a Pod here, a Pod there."""

from __future__ import annotations

from typing import Any

from testbed.api.documents import Document


def pod(name: str, node: str, *, app: str = "", **spec: Any) -> Document:
    """A Pod on `node` that runs the echo application, with label `app` where it is given.

    `spec` has further fields of the Pod's spec (`hostNetwork=True`). Without ports of its own it
    listens on the target ports of the Services that select it.
    """
    labels = {"app": app} if app else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": node, "containers": [{"name": "app", "image": "echo"}], **spec},
    }
