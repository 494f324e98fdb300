"""A kubelet that starts anew takes over what its predecessor left running. Pure.

It knows of a container what the Pod's status says and the runtime confirms. Source: kubelet asks
the runtime for its Pods when it starts; restart counts come from there, as here from the status.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from testbed.api.documents import Document
from testbed.control.kubelet.state import Container, Ended


def recall(
    document: Document,
    containers: dict[str, Container],
    running: Collection[str],
    clock: tuple[float, float],
    timestamp: str,
) -> list[Container]:
    """Bring fresh `containers` to where the Pod's status has them; those that run.

    `running` are those that really run: one that the status knows as running and that is not has
    been lost. `clock` is (lab time, wall time), `timestamp` the same as the API prints it.
    """
    now, wall = clock
    status = document.get("status") or {}
    entries = [
        *(status.get("initContainerStatuses") or ()),
        *(status.get("containerStatuses") or ()),
        *(status.get("ephemeralContainerStatuses") or ()),
    ]
    for entry in entries:
        container = containers.get(entry["name"])
        if container is not None:
            _recall_one(container, entry, now, wall)
    for name, container in containers.items():
        if name in running and not container.running:
            container.begin(now, timestamp)
        elif container.running and name not in running:
            container.end(137, now, timestamp)
    return [container for container in containers.values() if container.running]


def _recall_one(container: Container, entry: Document, now: float, wall: float) -> None:
    state = entry.get("state") or {}
    last = (entry.get("lastState") or {}).get("terminated")
    container.restarts = int(entry.get("restartCount") or 0)
    container.last = _ended(last, now, wall) if last else None
    if "running" in state:
        container.running = True
        if image := entry.get("image"):
            # What runs is the image of that time: the Pod's may have changed since.
            container.spec = {**container.spec, "image": image}
        container.started_at = state["running"]["startedAt"]
        container.begun = _lab_time(container.started_at, now, wall)
        container.started = bool(entry.get("started"))
        container.ready = bool(entry.get("ready"))
    elif "terminated" in state:
        container.ended = _ended(state["terminated"], now, wall)
        container.started_at = container.ended.started
    elif "waiting" in state and container.last is not None:
        # It waits for its next run; how long is told by the backoff, which begins again.
        container.ended, container.last = container.last, None
        container.started_at = container.ended.started


def _ended(terminated: Document, now: float, wall: float) -> Ended:
    finished = terminated["finishedAt"]
    return Ended(
        int(terminated["exitCode"]),
        terminated["startedAt"],
        finished,
        _lab_time(finished, now, wall),
        str(terminated.get("reason") or ""),
        str(terminated.get("message") or ""),
    )


def _lab_time(timestamp: str, now: float, wall: float) -> float:
    """A moment of the API's on the lab's clock."""
    moment = datetime.strptime(timestamp, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return now - (wall - moment.timestamp())
