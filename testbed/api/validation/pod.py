"""Validation of Pods: new ones, changed ones and their status.

Source: pkg/apis/core/validation/validation.go (ValidatePodCreate, ValidatePodUpdate,
ValidatePodStatusUpdate).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from testbed.api.documents import Document
from testbed.api.gojson import GoStruct
from testbed.api.status import ErrorType, FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import is_ipv6, legacy_ip
from testbed.api.validation.containers import image_blanks
from testbed.api.validation.names import dns_subdomain, each, in_range, label_key
from testbed.api.validation.pod_annotations import changed_pod_annotations, pod_annotations
from testbed.api.validation.pod_spec import pod_spec
from testbed.api.validation.profiles import app_armor_agrees, seccomp_agrees
from testbed.api.validation.scheduling import changed_node_affinity, tolerations
from testbed.api.validation.volumes import Owner

_CONTAINER_LISTS = ("containers", "initContainers")
#: Where a status tells of the containers of the spec.
_STATUS_LISTS = {
    "containerStatuses": "containers",
    "initContainerStatuses": "initContainers",
    "ephemeralContainerStatuses": "ephemeralContainers",
}
_ANNOTATIONS = "metadata.annotations"
#: Fields of a Pod's spec that an update may change, each by a rule of its own.
_MUTABLE = ("activeDeadlineSeconds", "tolerations", "schedulingGates")
_FROZEN = (
    "pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` "
    "(only additions to existing tolerations),`spec.terminationGracePeriodSeconds` "
    "(allow it to be set to 1 if it was previously negative)"
)
#: Conditions that aren't a user's.
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")


def create(pod: Document) -> list[FieldError]:
    """Everything wrong with a new Pod."""
    errors = _pod(pod)
    spec, annotations = pod.get("spec", {}), pod["metadata"].get("annotations", {})
    if spec.get("ephemeralContainers"):
        errors.append(FieldError.forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        words = "cannot be set until all schedulingGates have been cleared"
        errors.append(FieldError.forbidden("spec.nodeName", words))
    errors += seccomp_agrees(annotations, spec, "spec")
    return errors + app_armor_agrees(annotations, spec, "spec")


def _pod(pod: Document) -> list[FieldError]:
    errors = meta.object_meta(pod["metadata"], namespaced=True, name=dns_subdomain)
    spec = pod.get("spec", {})
    errors += pod_annotations(pod["metadata"].get("annotations", {}), spec, _ANNOTATIONS)
    errors += pod_spec(spec, "spec", Owner(pod["metadata"].get("name", ""), is_pod=True))
    if not spec.get("serviceAccountName"):
        errors += _tokens_of_nobody(spec.get("volumes", ()))
    for name in _CONTAINER_LISTS:
        for i, container in enumerate(spec.get(name, ())):
            errors += image_blanks(container, f"spec.{name}[{i}]")
    return errors


def _tokens_of_nobody(volumes: Sequence[Document]) -> list[FieldError]:
    """A ServiceAccount's token is only for a Pod that has one."""
    words = "must not be specified when serviceAccountName is not set"
    return [
        FieldError.forbidden(f"spec.volumes[{i}].projected.sources[{j}].serviceAccountToken", words)
        for i, volume in enumerate(volumes)
        for j, source in enumerate(volume.get("projected", {}).get("sources", ()))
        if "serviceAccountToken" in source
    ]


def update(pod: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed Pod: few fields may change."""
    errors = meta.object_meta_update(pod["metadata"], old["metadata"])
    errors += _pod(pod)
    errors += _changed_annotations(pod, old)
    spec, stored = pod.get("spec", {}), old.get("spec", {})
    for name in _CONTAINER_LISTS:
        if len(spec.get(name, ())) != len(stored.get(name, ())):
            words = "pod updates may not add or remove containers"
            return [*errors, FieldError.forbidden(f"spec.{name}", words)]
        errors += _images(spec.get(name, ()), f"spec.{name}")
    deadline, final = _deadline(spec, stored)
    errors += deadline
    if final:
        return errors
    errors += _added_tolerations(spec, stored)
    errors += _fewer_gates(spec, stored)
    if stored.get("schedulingGates"):
        errors += _more_selective(spec, stored)
    if _without_mutable(spec, stored) != _without_mutable(stored, stored):
        errors.append(FieldError.forbidden("spec", _FROZEN + _difference(spec, stored)))
    return errors


def update_ephemeral_containers(pod: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a Pod that is given ephemeral containers: none may change or go.

    Source: ValidatePodEphemeralContainersUpdate.
    """
    errors = meta.object_meta_update(pod["metadata"], old["metadata"])
    errors += _pod(pod)
    path = "spec.ephemeralContainers"
    now = {entry["name"]: entry for entry in pod["spec"].get("ephemeralContainers", ())}
    for entry in old["spec"].get("ephemeralContainers", ()):
        name = entry["name"]
        if name not in now:
            words = f'existing ephemeral containers "{name}" may not be removed\n'
            errors.append(FieldError.forbidden(path, words))
        elif now[name] != entry:
            words = f'existing ephemeral containers "{name}" may not be changed\n'
            errors.append(FieldError.forbidden(path, words + _difference(now[name], entry)))
    return errors


def _changed_annotations(pod: Document, old: Document) -> list[FieldError]:
    annotations = pod["metadata"].get("annotations", {})
    known = old["metadata"].get("annotations", {})
    return changed_pod_annotations(annotations, known, pod.get("spec", {}), _ANNOTATIONS)


def _images(entries: Sequence[Document], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, entry in enumerate(entries):
        if not entry.get("image"):
            errors.append(FieldError.required(f"{path}[{i}].image"))
        errors += image_blanks(entry, f"{path}[{i}]")
    return errors


def _without_mutable(spec: Document, stored: Document) -> Document:
    """What must be the same before and after an update; a gated Pod's node choice may narrow."""
    kept = copy.deepcopy({k: v for k, v in spec.items() if k not in _MUTABLE and v not in ([], {})})
    if stored.get("schedulingGates"):
        kept.pop("nodeSelector", None)
        kept.get("affinity", {}).pop("nodeAffinity", None)
        if not kept.get("affinity"):
            kept.pop("affinity", None)
    grace = stored.get("terminationGracePeriodSeconds", 0)
    if grace < 0 and kept.get("terminationGracePeriodSeconds") == 1:
        kept["terminationGracePeriodSeconds"] = grace
    for name in _CONTAINER_LISTS:
        for container in kept.get(name, ()):
            container.pop("image", None)
    return kept


def _difference(spec: Document, stored: Document) -> str:
    """The fields that differ, one a line, as the API server appends a diff of its own form."""
    before, after = _without_mutable(stored, stored), _without_mutable(spec, stored)
    lines = [f"\n- {name}: {before[name]!r}" for name in before if before[name] != after.get(name)]
    lines += [f"\n+ {name}: {after[name]!r}" for name in after if after[name] != before.get(name)]
    return "".join(lines)


def _deadline(spec: Document, stored: Document) -> tuple[list[FieldError], bool]:
    """A deadline may be set or come closer; True where an error ends the check of an update."""
    value, old = spec.get("activeDeadlineSeconds"), stored.get("activeDeadlineSeconds")
    path = "spec.activeDeadlineSeconds"
    if value is None:
        if old is None:
            return [], False
        words = "must not update from a positive integer to nil value"
        return [FieldError.invalid(path, None, words)], False
    if messages := in_range(value, 0, 2**31 - 1):
        return [FieldError.invalid(path, value, messages[0])], True
    if old is not None and value > old:
        words = "must be less than or equal to previous value"
        return [FieldError.invalid(path, value, words)], True
    return [], False


def _added_tolerations(spec: Document, stored: Document) -> list[FieldError]:
    def shape(toleration: Document) -> Document:
        return {k: v for k, v in toleration.items() if k != "tolerationSeconds" and v}

    entries = spec.get("tolerations", ())
    present = [shape(toleration) for toleration in entries]
    if all(shape(toleration) in present for toleration in stored.get("tolerations", ())):
        return tolerations(entries, "spec.tolerations")
    words = "existing toleration can not be modified except its tolerationSeconds"
    return [FieldError.forbidden("spec.tolerations", words)]


def _fewer_gates(spec: Document, stored: Document) -> list[FieldError]:
    known = {gate.get("name", "") for gate in stored.get("schedulingGates", ())}
    errors = []
    for i, gate in enumerate(spec.get("schedulingGates", ())):
        if gate.get("name", "") not in known:
            words = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(FieldError.forbidden(f"spec.schedulingGates[{i}].name", words))
    return errors


def _more_selective(spec: Document, stored: Document) -> list[FieldError]:
    """A Pod that isn't to be scheduled yet may still be told to go to fewer nodes."""
    errors = []
    selector: Document | None = spec.get("nodeSelector")
    if not stored.get("nodeSelector", {}).items() <= (selector or {}).items():
        words = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errors.append(FieldError.invalid("spec.nodeSelector", selector, words))
    nodes = spec.get("affinity", {}).get("nodeAffinity", {})
    known = stored.get("affinity", {}).get("nodeAffinity", {})
    return errors + changed_node_affinity(nodes, known, "spec.affinity.nodeAffinity")


def update_status(pod: Document, old: Document) -> list[FieldError]:
    """Everything wrong with a changed status."""
    errors = meta.object_meta_update(pod["metadata"], old["metadata"])
    errors += _changed_annotations(pod, old)
    status, stored = pod.get("status", {}), old.get("status", {})
    for i, condition in enumerate(status.get("conditions", ())):
        kind, path = condition.get("type", ""), f"status.conditions[{i}]"
        errors += _generation(condition, path)
        if kind not in _SYSTEM_CONDITIONS:
            errors += each(f"{path}.Type", kind, label_key)
    errors += _nominated(pod, stored)
    errors += _generation(status, "status")
    quality, known = status.get("qosClass", ""), stored.get("qosClass", "")
    errors += meta.immutable(quality, known, "status.qosClass")
    errors += _ended_containers(pod, old)
    errors += _addresses(status, stored, "podIPs")
    first = [entry.get("ip", "") for entry in status.get("hostIPs", ())][:1]
    if first and first != [status.get("hostIP", "")]:
        words = "must be equal to `hostIP`"
        errors.append(FieldError.invalid("status.hostIPs[0].ip", first[0], words))
    return errors + _addresses(status, stored, "hostIPs")


def _generation(entry: Document, path: str) -> list[FieldError]:
    seen = entry.get("observedGeneration", 0)
    if seen >= 0:
        return []
    words = "must be a non-negative integer"
    return [FieldError.invalid(f"{path}.observedGeneration", seen, words)]


def _nominated(pod: Document, stored: Document) -> list[FieldError]:
    """A node that is being cleared for the Pod, as long as it has none."""
    path, node = "status.nominatedNodeName", pod.get("status", {}).get("nominatedNodeName", "")
    if not node or node == stored.get("nominatedNodeName", ""):
        return []
    errors = each(path, node, dns_subdomain)
    if pod.get("spec", {}).get("nodeName"):
        words = "may not be set on pods that are already bound to a node"
        errors.append(FieldError.forbidden(path, words))
    return errors


def _ended_containers(pod: Document, old: Document) -> list[FieldError]:
    """A container that has ended for good doesn't run again."""
    spec, words = old.get("spec", {}), "may not be transitioned to non-terminated state"
    errors = []
    for group, kind in _STATUS_LISTS.items():
        known = {entry.get("name", ""): entry for entry in spec.get(kind, ())}
        running = {
            entry.get("name", "")
            for entry in pod.get("status", {}).get(group, ())
            if "terminated" not in entry.get("state", {})
        }
        for i, entry in enumerate(old.get("status", {}).get(group, ())):
            ended, name = entry.get("state", {}).get("terminated"), entry.get("name", "")
            if ended is None or name not in running:
                continue
            lasting = kind != "ephemeralContainers" and name in known
            policy = spec.get("restartPolicy", "")
            if not lasting or not _restarts(known[name], policy, ended.get("exitCode", 0)):
                errors.append(FieldError.forbidden(f"status.{group}[{i}].state", words))
    return errors


def _restarts(container: Document, policy: str, code: int) -> bool:
    """Whether a container that ended with `code` is started again; its own rules go first."""
    if "restartPolicy" in container:
        policy = container["restartPolicy"]
        for rule in container.get("restartPolicyRules", ()):
            codes = rule.get("exitCodes", {})
            if (code in codes.get("values", ())) == (codes.get("operator") == "In"):
                return True
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def _addresses(status: Document, stored: Document, name: str) -> list[FieldError]:
    """At most one address of each family, none of them twice."""
    addresses = [entry.get("ip", "") for entry in status.get(name, ())]
    known = [entry.get("ip", "") for entry in stored.get(name, ())]
    path = f"status.{name}"
    errors: list[FieldError] = []
    for i, address in enumerate(addresses):
        errors += legacy_ip(f"{path}[{i}]", address, known)
    if len(addresses) < 2:
        return errors
    repeated = [
        FieldError(f"{path}[{i}]", ErrorType.DUPLICATE, GoStruct(IP=address))
        for i, address in enumerate(addresses)
        if address in addresses[:i]
    ]
    families = []
    if len(addresses) > 2 or is_ipv6(addresses[0]) == is_ipv6(addresses[1]):
        words = "may specify no more than one IP for each IP family"
        shown = [GoStruct(IP=address) for address in addresses]
        families.append(FieldError.invalid(path, shown, words))
    return errors + (families + repeated if name == "podIPs" else repeated + families)
