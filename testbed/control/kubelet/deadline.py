"""How long a Pod may be active on its node: spec.activeDeadlineSeconds. Pure.

Source: pkg/kubelet/active_deadline.go.
"""

from __future__ import annotations

from datetime import datetime

from testbed.api.documents import Document

REASON = "DeadlineExceeded"
MESSAGE = "Pod was active on the node longer than the specified deadline"


def seconds_left(pod: Document, started: str, wall: float) -> float | None:
    """Seconds until the Pod has to end, 0 or less where it is time; None without a deadline.

    `started` is its status.startTime, "" before it has one; `wall` is the time of day (s).
    """
    allowed = pod["spec"].get("activeDeadlineSeconds")
    if allowed is None or not started:
        return None
    return datetime.fromisoformat(started).timestamp() + float(allowed) - wall
