"""The Pod status that kubelet writes. Pure.

Source: pkg/kubelet/kubelet_pods.go (getPhase, convertStatusToAPIStatus), pkg/kubelet/status/
generate.go.
"""

from __future__ import annotations

import copy

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import pods
from testbed.control.kubelet import deadline
from testbed.control.kubelet.state import Container, Role, RunningPod, should_run

#: Fields of a status that others write.
_KEPT = ("qosClass", "nominatedNodeName", "reason", "message")


def pod_status(
    document: Document, pod: RunningPod, host_addresses: tuple[str, ...], now: str
) -> Document:
    """The whole status; conditions keep their transition times, foreign ones are kept as is."""
    old = document.get("status") or {}
    initial = [_container_status(c, document) for c in pod.of(Role.INIT, Role.SIDECAR)]
    status: Document = {
        **{name: old[name] for name in _KEPT if name in old},
        "observedGeneration": document["metadata"].get("generation", 1),
        "phase": phase_of(document, pod),
        "conditions": [],
        "hostIP": host_addresses[0] if host_addresses else "",
        "hostIPs": [{"ip": address} for address in host_addresses],
        **_pod_ips(pod.sandbox.addresses),
        "startTime": pod.started,
        **({"initContainerStatuses": initial} if initial else {}),
        "containerStatuses": [_container_status(c, document) for c in pod.of(Role.MAIN)],
    }
    if pod.expired and status["phase"] == "Failed":
        status |= {"reason": deadline.REASON, "message": deadline.MESSAGE}
    if debugging := pod.of(Role.EPHEMERAL):
        status["ephemeralContainerStatuses"] = [_container_status(c, document) for c in debugging]
    status["conditions"] = _conditions(document, pod, status, now)
    return status


def _pod_ips(addresses: tuple[str, ...]) -> Document:
    if not addresses:
        return {}
    return {"podIP": addresses[0], "podIPs": [{"ip": address} for address in addresses]}


def phase_of(document: Document, pod: RunningPod) -> str:
    """Source: kubelet_pods.go getPhase; past a deadline a Pod fails once nothing runs any more."""
    if pod.expired and not any(c.running for c in pod.containers.values()):
        return "Failed"
    policy = document["spec"].get("restartPolicy", "Always")
    initial = pod.of(Role.INIT)
    if any(c.ended is not None and c.ended.code and policy == "Never" for c in initial):
        return "Failed"
    if not initialized(pod):
        return "Pending"
    main = pod.of(Role.MAIN)
    if any(c.ended is None and (c.starting or not c.running) for c in main):
        return "Pending"
    if any(c.running or should_run(c, policy) for c in main):
        return "Running"
    failed = any(c.ended is not None and c.ended.code for c in main)
    return "Failed" if failed else "Succeeded"


def initialized(pod: RunningPod) -> bool:
    """Whether every init container has succeeded and every sidecar has started."""
    return not _incomplete(pod)


def _incomplete(pod: RunningPod) -> list[str]:
    if any(c.ended is not None or c.running for c in pod.of(Role.MAIN)):
        return []
    return [
        c.name
        for c in pod.of(Role.INIT, Role.SIDECAR)
        if not (c.started if c.role is Role.SIDECAR else c.ended is not None and not c.ended.code)
    ]


def _conditions(document: Document, pod: RunningPod, status: Document, now: str) -> list[Document]:
    incomplete = _incomplete(pod)
    unready = [c.name for c in pod.of(Role.SIDECAR, Role.MAIN) if not c.ready]
    over = status["phase"] in pods.TERMINAL_PHASES
    containers = _because(
        not unready, "ContainersNotReady", "containers with unready status", unready
    )
    if over:
        finished = "PodCompleted" if status["phase"] == "Succeeded" else "PodFailed"
        containers = {"status": "False", "reason": finished}
    ready = containers
    if ready["status"] == "True" and (problem := _gates(document)):
        ready = {"status": "False", "reason": "ReadinessGatesNotReady", "message": problem}
    initial = _because(
        not incomplete, "ContainersNotInitialized", "containers with incomplete status", incomplete
    )
    if status["phase"] == "Succeeded":
        initial = {"status": "True", "reason": "PodCompleted"}
    wanted = {
        "PodReadyToStartContainers": {
            "status": "True" if pod.sandbox.addresses and not pod.over else "False"
        },
        "Initialized": initial,
        "Ready": ready,
        "ContainersReady": containers,
        "PodScheduled": {"status": "True"},
    }
    before = {c["type"]: c for c in (document.get("status") or {}).get("conditions") or ()}
    generation = document["metadata"].get("generation", 1)
    made = [
        {**_condition(kind, state, before.get(kind), now), "observedGeneration": generation}
        for kind, state in wanted.items()
    ]
    return made + [copy.deepcopy(c) for kind, c in before.items() if kind not in wanted]


def _because(good: bool, reason: str, what: str, names: list[str]) -> Document:
    if good:
        return {"status": "True"}
    return {"status": "False", "reason": reason, "message": f"{what}: [{' '.join(names)}]"}


def _condition(kind: str, state: Document, before: Document | None, now: str) -> Document:
    same = before is not None and before["status"] == state["status"]
    moved = (before or {}).get("lastTransitionTime") if same else None
    return {"type": kind, **state, "lastProbeTime": None, "lastTransitionTime": moved or now}


def _gates(document: Document) -> str:
    """What a readiness gate lacks, or "". Source: status/generate.go GeneratePodReadyCondition."""
    problems = []
    for gate in document["spec"].get("readinessGates") or ():
        kind = gate["conditionType"]
        found = pods.condition(document, kind).get("status")
        if found is None:
            problems.append(
                f'corresponding condition of pod readiness gate "{kind}" does not exist.'
            )
        elif found != "True":
            problems.append(f'the status of pod readiness gate "{kind}" is not "True", but {found}')
    return ", ".join(problems)


def _container_status(container: Container, document: Document) -> Document:
    last = {"terminated": container.last.document} if container.last else {}
    state, last = _state(container, document, last)
    succeeded = container.ended is not None and container.ended.code == 0
    return {
        "name": container.name,
        "state": state,
        "lastState": last,
        # An init container is ready once it has done its work.
        "ready": succeeded if container.role is Role.INIT else container.ready,
        "restartCount": container.restarts,
        "image": container.spec.get("image") or "",
        "imageID": "",
        **(
            {"containerID": f"testbed://{document['metadata']['uid']}-{container.name}"}
            if container.started_at
            else {}
        ),
        "started": container.started,
    }


def _state(container: Container, document: Document, last: Document) -> tuple[Document, Document]:
    """(state, lastState): what it does now, and how the run before ended."""
    if container.running and not container.starting:
        return {"running": {"startedAt": container.started_at}}, last
    if container.waiting is not None:
        reason, message = container.waiting
        if container.ended is not None:
            last = {"terminated": container.ended.document}
        return {"waiting": {"reason": reason, **({"message": message} if message else {})}}, last
    if container.ended is not None:
        return {"terminated": container.ended.document}, last
    initial = document["spec"].get("initContainers")
    return {"waiting": {"reason": "PodInitializing" if initial else "ContainerCreating"}}, last


def crash_loop(container: Container, document: Document, wait: float) -> tuple[str, str]:
    """The waiting state of a container that may not be restarted yet."""
    meta = document["metadata"]
    where = f"{name_of(document)}_{namespace_of(document)}({meta['uid']})"
    pause = f"{int(wait // 60)}m{int(wait % 60)}s" if wait >= 60 else f"{int(wait)}s"
    message = f"back-off {pause} restarting failed container={container.name} pod={where}"
    return "CrashLoopBackOff", message
