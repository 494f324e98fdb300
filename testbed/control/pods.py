"""What controllers ask about Pods and how they make them from a template."""

from __future__ import annotations

import copy
from datetime import datetime
from typing import Any

from testbed.api.documents import Document
from testbed.control.controllers.base import owner_of, owner_reference

TERMINAL_PHASES = ("Succeeded", "Failed")


def from_template(template: Document, owner: Document, *, name: str | None = None) -> Document:
    """A Pod of `template`, controlled by `owner`; with that name, or one generated from it."""
    meta = copy.deepcopy(template.get("metadata") or {})
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": owner["metadata"]["namespace"],
            "labels": meta.get("labels") or {},
            "ownerReferences": [owner_reference(owner)],
        },
        "spec": copy.deepcopy(template["spec"]),
    }
    if meta.get("annotations"):
        pod["metadata"]["annotations"] = meta["annotations"]
    if name is None:
        pod["metadata"]["generateName"] = f"{owner['metadata']['name']}-"
    else:
        pod["metadata"]["name"] = name
    return pod


def key_of(document: Document) -> tuple[str, str]:
    """(namespace, name) of an object."""
    return document["metadata"]["namespace"], document["metadata"]["name"]


def owner_name(pod: Document) -> str:
    """The name of the object that controls the Pod, or ""."""
    return str((owner_of(pod) or {}).get("name") or "")


def condition(pod: Document, kind: str) -> Document:
    """The Pod's condition of that type, or an empty document."""
    for entry in (pod.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return {}


def is_ready(pod: Document) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def is_terminating(pod: Document) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def is_ending(pod: Document) -> bool:
    """Being deleted, while it hasn't ended. Source: controller_utils IsPodTerminating."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in TERMINAL_PHASES and is_terminating(pod)


def is_active(pod: Document) -> bool:
    """Neither ended nor being deleted. Source: controller_utils IsPodActive."""
    phase = (pod.get("status") or {}).get("phase")
    return phase not in TERMINAL_PHASES and not is_terminating(pod)


def is_over(pod: Document) -> bool:
    """It has ended, and nobody has deleted it yet."""
    phase = (pod.get("status") or {}).get("phase")
    return phase in TERMINAL_PHASES and not is_terminating(pod)


def min_ready(owner: Document) -> int:
    """The seconds for which a Pod of `owner` has to be ready until it counts as available."""
    return int(owner["spec"].get("minReadySeconds") or 0)


def seconds_until_available(pod: Document, min_ready: int, now: float) -> float | None:
    """0 if the Pod counts as available, the seconds left if it is ready, None if it isn't ready.

    Source: api/v1/pod IsPodAvailable: ready for at least minReadySeconds.
    """
    ready = condition(pod, "Ready")
    if ready.get("status") != "True":
        return None
    since = ready.get("lastTransitionTime")
    if not min_ready or not since:
        return 0.0
    age = now - datetime.fromisoformat(since.replace("Z", "+00:00")).timestamp()
    return max(0.0, min_ready - age)
