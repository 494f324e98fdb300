"""A Pod's row. Source: pkg/printers/internalversion/printers.go printPod."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from testbed.api.documents import Document
from testbed.control.apiserver.tables.text import NONE, parse_time, since, spec, state


@dataclass(slots=True)
class _Tally:
    """What the containers add up to."""

    reason: str
    ready: int = 0
    restarts: int = 0
    last_restart: str = ""

    def restarted(self, container: Document) -> None:
        self.restarts += container.get("restartCount") or 0
        ended = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
        if (parse_time(ended) or 0) > (parse_time(self.last_restart) or 0):
            self.last_restart = ended


def pod_row(pod: Document, now: float) -> list[Any]:
    status = state(pod)
    sidecars = {
        c.get("name")
        for c in spec(pod).get("initContainers") or ()
        if c.get("restartPolicy") == "Always"
    }
    tally = _Tally(_phase(status))
    sidecar_tally = _Tally("")
    initializing = _initialize(pod, sidecars, tally, sidecar_tally)
    conditions = {c.get("type"): c.get("status") for c in status.get("conditions") or ()}
    if not initializing or conditions.get("Initialized") == "True":
        tally.restarts = sidecar_tally.restarts
        tally.last_restart = sidecar_tally.last_restart
        _run(status, tally, conditions.get("Ready") == "True")
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            tally.reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            tally.reason = "Terminating"
    total = len(spec(pod).get("containers") or ()) + len(sidecars)
    restarts = str(tally.restarts)
    if tally.restarts and tally.last_restart:
        restarts += f" ({since(tally.last_restart, now)} ago)"
    return [
        pod["metadata"]["name"],
        f"{tally.ready}/{total}",
        tally.reason,
        restarts,
        since(pod["metadata"].get("creationTimestamp"), now),
        *_wide(pod, conditions),
    ]


def _phase(status: Document) -> str:
    reason = status.get("reason") or status.get("phase") or ""
    for condition in status.get("conditions") or ():
        if (condition.get("type"), condition.get("reason")) == ("PodScheduled", "SchedulingGated"):
            reason = "SchedulingGated"
    return str(reason)


def _initialize(pod: Document, sidecars: set[Any], tally: _Tally, sidecar_tally: _Tally) -> bool:
    """Whether an init container holds the Pod up; its state becomes the reason."""
    count = len(spec(pod).get("initContainers") or ())
    for index, container in enumerate(state(pod).get("initContainerStatuses") or ()):
        sidecar = container.get("name") in sidecars
        tally.restarted(container)
        if sidecar:
            sidecar_tally.restarted(container)
        current = container.get("state") or {}
        ended, waiting = current.get("terminated"), current.get("waiting") or {}
        if ended is not None and not ended.get("exitCode"):
            continue
        if sidecar and container.get("started"):
            tally.ready += bool(container.get("ready"))
            continue
        if ended is not None:
            tally.reason = "Init:" + (ended.get("reason") or _exit(ended))
        elif waiting.get("reason") not in (None, "", "PodInitializing"):
            tally.reason = f"Init:{waiting['reason']}"
        else:
            tally.reason = f"Init:{index}/{count}"
        return True
    return False


def _run(status: Document, tally: _Tally, pod_ready: bool) -> None:
    running = False
    for container in reversed(status.get("containerStatuses") or ()):
        tally.restarted(container)
        current = container.get("state") or {}
        ended, waiting = current.get("terminated"), current.get("waiting") or {}
        if waiting.get("reason"):
            tally.reason = waiting["reason"]
        elif ended is not None:
            tally.reason = ended.get("reason") or _exit(ended)
        elif container.get("ready") and current.get("running") is not None:
            running = True
            tally.ready += 1
    if tally.reason == "Completed" and running:
        tally.reason = "Running" if pod_ready else "NotReady"


def _exit(ended: Document) -> str:
    if ended.get("signal"):
        return f"Signal:{ended['signal']}"
    return f"ExitCode:{ended.get('exitCode') or 0}"


def _wide(pod: Document, conditions: dict[Any, Any]) -> list[Any]:
    status = state(pod)
    addresses = [entry.get("ip") for entry in status.get("podIPs") or ()]
    gates = [gate.get("conditionType") for gate in spec(pod).get("readinessGates") or ()]
    passed = sum(conditions.get(gate) == "True" for gate in gates)
    return [
        (addresses[0] if addresses else status.get("podIP")) or NONE,
        spec(pod).get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        f"{passed}/{len(gates)}" if gates else NONE,
    ]
