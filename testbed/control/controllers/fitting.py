"""What one node alone says about a Pod: taints, labels, resources. Pure.

Source: pkg/scheduler/framework/plugins (tainttoleration, nodeaffinity, nodeports, noderesources),
core/v1 Toleration.ToleratesTaint, component-helpers resource.PodRequests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import TypeAlias

from testbed.api.documents import Document, name_of
from testbed.api.objects import Pod
from testbed.api.quantity import parse

#: Amounts by resource: `cpu` in cores, `memory` in bytes, `pods` …
Amounts: TypeAlias = dict[str, Decimal]

#: Taints that keep a Pod away from a node when it is scheduled.
KEEPS_AWAY = ("NoSchedule", "NoExecute")
#: The taint that a cordoned node is taken to have.
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
#: Every address of a node.
_ANY = ("", "0.0.0.0", "::")


def labels_of(document: Document) -> Mapping[str, str]:
    return document["metadata"].get("labels") or {}


def tolerates(toleration: Document, taint: Document) -> bool:
    """Whether a toleration bears a taint."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(
        toleration.get("key") == taint["key"]
        and (toleration.get("value") or "") == (taint.get("value") or "")
    )


def untolerated(spec: Document, node: Document, effects: Sequence[str]) -> list[Document]:
    """The node's taints of some effects that a Pod of that spec doesn't bear."""
    tolerations = spec.get("tolerations") or ()
    return [
        taint
        for taint in (node.get("spec") or {}).get("taints") or ()
        if taint["effect"] in effects and not any(tolerates(t, taint) for t in tolerations)
    ]


def is_cordoned(spec: Document, node: Document) -> bool:
    """Whether the node takes no new Pods, this one among them."""
    cordon = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    tolerations = spec.get("tolerations") or ()
    cordoned = bool((node.get("spec") or {}).get("unschedulable"))
    return cordoned and not any(tolerates(t, cordon) for t in tolerations)


def selects(spec: Document, node: Document) -> bool:
    """Whether nodeSelector and required node affinity allow the node."""
    wanted = (spec.get("nodeSelector") or {}).items()
    return wanted <= labels_of(node).items() and affine(spec, node)


def affine(spec: Document, node: Document) -> bool:
    """Required node affinity: any of the terms."""
    required = node_affinity(spec).get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any(term_fits(t, node) for t in required["nodeSelectorTerms"])


def node_affinity(spec: Document) -> Document:
    return (spec.get("affinity") or {}).get("nodeAffinity") or {}


def term_fits(term: Document, node: Document) -> bool:
    """A node selector term: all of its expressions; one without any fits no node."""
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    named = {"metadata.name": name_of(node)}
    return (
        bool(expressions or fields)
        and all(_holds(e, labels_of(node)) for e in expressions)
        and all(_holds(e, named) for e in fields)
    )


def named_nodes(spec: Document) -> set[str] | None:
    """The nodes that required affinity names by their names; None where it doesn't.

    An empty set is affinity that contradicts itself. Source: NodeAffinity PreFilter.
    """
    required = node_affinity(spec).get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    found: set[str] | None = None
    for term in required.get("nodeSelectorTerms") or ():
        listed = [
            set(field.get("values") or ())
            for field in term.get("matchFields") or ()
            if (field["key"], field["operator"]) == ("metadata.name", "In")
        ]
        if not listed:
            return None
        found = (found or set()) | set.intersection(*listed)
    return found


def _holds(expression: Document, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    operator = expression["operator"]
    values: Sequence[str] = expression.get("values") or ()
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if operator in ("Gt", "Lt"):
        if value is None or not value.lstrip("-").isdigit():
            return False
        return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return (value is not None) is (operator == "Exists")


def ports_clash(pod: Document, others: Iterable[Document]) -> bool:
    """Whether one of the others has a host port of the Pod's: same protocol, same address."""
    wanted = [p for p in Pod.from_document(pod).ports if p.host_port]
    if not wanted:
        return False
    taken = [p for other in others for p in Pod.from_document(other).ports if p.host_port]
    return any(
        (a.host_port, a.protocol) == (b.host_port, b.protocol)
        and (a.host_ip == b.host_ip or a.host_ip in _ANY or b.host_ip in _ANY)
        for a in wanted
        for b in taken
    )


def requests(pod: Document) -> Amounts:
    """What a Pod asks for: its containers and sidecars together, or what an init container needs.

    The Pod's own requests and its overhead count too. `pods` is not among them.
    """
    spec = pod["spec"]
    running = _sum(_requested(c) for c in spec.get("containers") or ())
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.get("initContainers") or ():
        needed = _sum([_requested(container), sidecars])
        if container.get("restartPolicy") == "Always":
            sidecars = needed
        peak = _most(peak, needed)
    total = _most(_sum([running, sidecars]), peak)
    total |= _requested(spec)
    return _sum([total, _amounts(spec.get("overhead"))])


def allocatable(node: Document) -> Amounts:
    """What a node has to give; nothing is said by one whose kubelet hasn't."""
    return _amounts((node.get("status") or {}).get("allocatable"))


def _requested(holder: Document) -> Amounts:
    return _amounts((holder.get("resources") or {}).get("requests"))


def _amounts(listed: Mapping[str, str] | None) -> Amounts:
    return {name: parse(str(amount))[0] for name, amount in (listed or {}).items()}


def _sum(amounts: Iterable[Amounts]) -> Amounts:
    total: Amounts = {}
    for each in amounts:
        for name, amount in each.items():
            total[name] = total.get(name, Decimal()) + amount
    return total


def _most(one: Amounts, other: Amounts) -> Amounts:
    names = one.keys() | other.keys()
    zero = Decimal()
    return {name: max(one.get(name, zero), other.get(name, zero)) for name in names}
