"""What the admission plugins and the strategy put into a Pod.

Sources: plugin/pkg/admission/{defaulttolerationseconds,priority,runtimeclass},
pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from decimal import Decimal

from testbed.api import quantity, status
from testbed.api.defaults.pod import containers
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.validation.profiles import APP_ARMOR, app_armor

TOLERATION_SECONDS = 300

_SYSTEM_PRIORITIES = {
    "system-cluster-critical": 2_000_000_000,
    "system-node-critical": 2_000_001_000,
}
_PREEMPTION = "PreemptLowerPriority"
_NODE_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def admit_pod(document: Document) -> None:
    """What the admission plugins put into a new Pod; raises StatusError (403)."""
    _priority(document, document["spec"])
    _tolerate_node_taints(document["spec"])
    _runtime_class(document, document["spec"])


def admit_changed_pod(document: Document, old: Document) -> None:
    """What the admission plugins put back into a Pod that is written as it was first given."""
    spec, stored = document["spec"], old.get("spec", {})
    for name in ("priority", "preemptionPolicy"):
        if name in stored:
            spec.setdefault(name, stored[name])
    _tolerate_node_taints(spec)


def _tolerate_node_taints(spec: Document) -> None:
    tolerations: list[Document] = spec.setdefault("tolerations", [])
    for taint in _NODE_TAINTS:
        if not any(_tolerates(toleration, taint) for toleration in tolerations):
            tolerations.append(
                {
                    "key": taint,
                    "operator": "Exists",
                    "effect": "NoExecute",
                    "tolerationSeconds": TOLERATION_SECONDS,
                }
            )


def _tolerates(toleration: Document, taint: str) -> bool:
    return toleration.get("key", "") in ("", taint) and toleration.get("effect", "") in (
        "",
        "NoExecute",
    )


def _priority(document: Document, spec: Document) -> None:
    name, asked = spec.get("priorityClassName", ""), spec.get("priority")
    pod_name = document["metadata"].get("name", "")
    if name and name not in _SYSTEM_PRIORITIES:
        words = f"no PriorityClass with name {name} was found"
        raise status.forbidden("pods", pod_name, "", words)
    priority = _SYSTEM_PRIORITIES.get(name, 0)
    if asked is not None and asked != priority:
        words = (
            f"the integer value of priority ({asked}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
        raise status.forbidden("pods", pod_name, "", words)
    spec["priority"] = priority
    preemption = spec.setdefault("preemptionPolicy", _PREEMPTION)
    if preemption != _PREEMPTION:
        words = (
            f"the string value of PreemptionPolicy ({preemption}) must not be provided in pod "
            f"spec; priority admission controller computed {_PREEMPTION} from the given "
            "PriorityClass name"
        )
        raise status.forbidden("pods", pod_name, "", words)


def _runtime_class(document: Document, spec: Document) -> None:
    """There are no RuntimeClasses: a Pod can't have one."""
    name = spec.get("runtimeClassName")
    if name is not None:
        words = f"pod rejected: RuntimeClass {quote(name)} not found"
        raise status.forbidden("pods", document["metadata"].get("name", ""), "", words)


def check_overhead(document: Document) -> None:
    """Only a RuntimeClass gives a Pod an overhead; raises StatusError (403)."""
    if "overhead" in document["spec"]:
        words = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
        raise status.forbidden("pods", document["metadata"].get("name", ""), "", words)


def merge_label_keys(document: Document) -> None:
    """The values of a new Pod's own labels join the selectors that name those labels."""
    spec, labels = document["spec"], document["metadata"].get("labels", {})
    for term in (*_pod_terms(spec), *spec.get("topologySpreadConstraints", ())):
        selector = term.get("labelSelector")
        if selector is None:
            continue
        for name, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")):
            for key in term.get(name, ()):
                if key in labels:
                    own = {"key": key, "operator": operator, "values": [labels[key]]}
                    selector.setdefault("matchExpressions", []).append(own)


def _pod_terms(spec: Document) -> Iterator[Document]:
    for name in ("podAffinity", "podAntiAffinity"):
        affinity = spec.get("affinity", {}).get(name, {})
        for weighted in affinity.get(_PREFERRED, ()):
            if "podAffinityTerm" in weighted:
                yield weighted["podAffinityTerm"]
        yield from affinity.get(_REQUIRED, ())


def take_app_armor_annotations(document: Document) -> None:
    """A container without a profile of its own gets the one that an old annotation names."""
    spec = document["spec"]
    if spec.get("os", {}).get("name") == "windows":
        return
    pods = spec.get("securityContext", {}).get("appArmorProfile")
    for container in containers(spec):
        text = (
            document["metadata"].get("annotations", {}).get(APP_ARMOR + container.get("name", ""))
        )
        if text is None or "appArmorProfile" in container.get("securityContext", {}):
            continue
        profile = _app_armor_profile(text)
        if profile is not None and profile != pods and not app_armor(profile, ""):
            container.setdefault("securityContext", {})["appArmorProfile"] = profile


def _app_armor_profile(text: str) -> Document | None:
    if text == "unconfined":
        return {"type": "Unconfined"}
    if text == "runtime/default":
        return {"type": "RuntimeDefault"}
    if text.startswith("localhost/") and text != "localhost/":
        return {"type": "Localhost", "localhostProfile": text.removeprefix("localhost/")}
    return None


def drop_gated_fields(spec: Document, stored: Document | None = None) -> None:
    """Fields of a Pod or a template whose feature gates are off are left out, unless in use.

    Source: pkg/api/pod/util.go (dropDisabledFields).
    """
    before = stored or {}
    if "schedulingGroup" not in before:
        spec.pop("schedulingGroup", None)
    if not any("stopSignal" in entry.get("lifecycle", {}) for entry in containers(before)):
        for container in containers(spec):
            lifecycle = container.get("lifecycle", {})
            if lifecycle.pop("stopSignal", None) is not None and not lifecycle:
                del container["lifecycle"]
    for name in ("clusterTrustBundle", "podCertificate"):
        if any(name in source for source in _projections(before)):
            continue
        for source in _projections(spec):
            source.pop(name, None)


def _projections(spec: Document) -> Iterator[Document]:
    for volume in spec.get("volumes", ()):
        yield from volume.get("projected", {}).get("sources", ())


def keep_known_status(document: Document, old: Document | None) -> None:
    """What a write of a Pod's status leaves out and can't take away.

    Source: pkg/registry/core/pod/strategy.go (podStatusStrategy.PrepareForUpdate).
    """
    if old is None:
        return
    given, known = document.setdefault("status", {}), old.get("status", {})
    for name in ("qosClass", "observedGeneration"):
        if known.get(name) and not given.get(name):
            given[name] = known[name]
    if "ownerReferences" in old["metadata"]:
        owners = copy.deepcopy(old["metadata"]["ownerReferences"])
        document["metadata"]["ownerReferences"] = owners
    else:
        document["metadata"].pop("ownerReferences", None)
    seen: dict[str, list[int]] = {}
    for condition in known.get("conditions", ()):
        generation = condition.get("observedGeneration", 0)
        seen.setdefault(condition.get("type", ""), []).append(generation)
    for condition in given.get("conditions", ()):
        generations = seen.get(condition.get("type", ""))
        generation = generations.pop(0) if generations else 0
        if generation and not condition.get("observedGeneration"):
            condition["observedGeneration"] = generation


def gated_condition() -> Document:
    """The condition of a Pod that isn't to be scheduled yet."""
    return {
        "type": "PodScheduled",
        "status": "False",
        "reason": "SchedulingGated",
        "message": "Scheduling is blocked due to non-empty scheduling gates",
    }


def quality_of_service(spec: Document) -> str:
    """BestEffort, Burstable or Guaranteed, from the containers' requests and limits.

    What the Pod as a whole asks for goes before its containers' requests and limits. Source:
    pkg/apis/core/helper/qos/qos.go.
    """
    own: Document = spec.get("resources", {})
    if own.get("requests") or own.get("limits"):
        owners = [own]
    else:
        entries = (*spec.get("containers", ()), *spec.get("initContainers", ()))
        owners = [container.get("resources", {}) for container in entries]
    counted = [(_counted(owner, "requests"), _counted(owner, "limits")) for owner in owners]
    if not any(requests or limits for requests, limits in counted):
        return "BestEffort"
    both = {"cpu", "memory"}
    same = all(requests == limits and set(limits) == both for requests, limits in counted)
    return "Guaranteed" if same else "Burstable"


def _counted(owner: Document, kind: str) -> dict[str, Decimal]:
    amounts = {
        name: quantity.parse(amount)[0]
        for name, amount in owner.get(kind, {}).items()
        if name in ("cpu", "memory")
    }
    return {name: amount for name, amount in amounts.items() if amount > 0}
