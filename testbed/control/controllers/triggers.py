"""When the change happened that made endpoints change: annotation last-change-trigger-time.

Source: staging/src/k8s.io/endpointslice/util/trigger_time_tracker.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import pods
from testbed.control.controllers.base import Key

TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(slots=True)
class _Seen:
    service: str = ""
    pods: dict[str, str] = field(default_factory=dict)


class TriggerTimes:
    """Remembers, by Service, the times that were seen last."""

    def __init__(self) -> None:
        self._seen: dict[Key, _Seen] = {}

    def forget(self, key: Key) -> None:
        self._seen.pop(key, None)

    def take(self, service: Document, selected: Iterable[Document]) -> str:
        """The earliest time that is new since the last call; "" if nothing is.

        A Pod's time is its last change of readiness, a Service's is its creation, which is also the
        answer for a Service that is seen first.
        """
        key = namespace_of(service), name_of(service)
        known = self._seen.get(key)
        before = known or _Seen()
        created = str(service["metadata"].get("creationTimestamp") or "")
        now = _Seen(created)
        changed = [created] if created > before.service else []
        for pod in selected:
            since = pods.condition(pod, "Ready").get("lastTransitionTime")
            if since:
                now.pods[name_of(pod)] = since
                if since > before.pods.get(name_of(pod), ""):
                    changed.append(since)
        self._seen[key] = now
        return min(changed, default="") if known else created
