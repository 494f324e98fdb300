"""Scheduler: gives each Pod without a node the fitting one that runs the fewest like it.

Source: pkg/scheduler's default filters (node name, selector, affinity, taints, unschedulable, host
ports) and its spreading scores, reduced to what decides in a lab without load.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import Pod
from testbed.control import pods
from testbed.control.controllers.base import (
    Controller,
    Key,
    RetryError,
    matches,
    owner_of,
    set_condition,
)
from testbed.control.store import Event

#: Taints that keep a Pod away from a node when it is scheduled. Source: v1.TaintEffect.
_KEEPS_AWAY = ("NoSchedule", "NoExecute")
#: The taint that a cordoned node is taken to have.
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"


class Scheduler(Controller):
    resources = ("pods", "nodes")

    def keys_for(self, event: Event) -> Iterable[Key]:
        if event.resource == "pods" and event.type.value != "DELETED":
            if not event.object["spec"].get("nodeName"):
                yield from super().keys_for(event)
            return
        # A node that came, or room that was freed, may fit Pods that are waiting.
        for pod in self.store.list("pods"):
            if not pod["spec"].get("nodeName"):
                yield namespace_of(pod), name_of(pod)

    def reconcile_all(self, keys: Sequence[Key]) -> dict[Key, RetryError]:
        placed = [pod for pod in self.store.list("pods") if pod["spec"].get("nodeName")]
        alike: dict[str, Counter[str]] = {}
        everyone: Counter[str] = Counter()
        for pod in placed:
            if pods.is_active(pod):
                everyone[pod["spec"]["nodeName"]] += 1
                alike.setdefault(_group(pod), Counter())[pod["spec"]["nodeName"]] += 1
        for key in keys:
            pod_or_none = self.store.find("pods", *key)
            if pod_or_none is None or not _waits(pod_or_none):
                continue
            like = alike.setdefault(_group(pod_or_none), Counter())
            bound = self._place(pod_or_none, like, everyone, placed)
            if bound is not None:
                placed.append(bound)
        return {}

    def _place(
        self,
        pod: Document,
        alike: Counter[str],
        everyone: Counter[str],
        placed: list[Document],
    ) -> Document | None:
        nodes = self.store.list("nodes")
        reasons: Counter[str] = Counter()
        fitting: list[str] = []
        for node in nodes:
            reason = why_not(pod, node, placed)
            if reason is None:
                fitting.append(name_of(node))
            else:
                reasons[reason] += 1
        if not fitting:
            self._refuse(pod, len(nodes), reasons)
            return None
        node_name = min(fitting, key=lambda name: (alike[name], everyone[name], name))
        alike[node_name] += 1
        everyone[node_name] += 1
        bound = self.api.bind(pod, node_name)
        full = f"{namespace_of(pod)}/{name_of(pod)}"
        self.api.event(pod, "Normal", "Scheduled", f"Successfully assigned {full} to {node_name}")
        return bound

    def _refuse(self, pod: Document, total: int, reasons: Counter[str]) -> None:
        parts = [f"{count} {reason}" for reason, count in sorted(reasons.items())]
        message = (
            f"0/{total} nodes are available: {', '.join(parts)}."
            if parts
            else ("no nodes available to schedule pods")
        )
        if pods.condition(pod, "PodScheduled").get("message") == message:
            return
        changed = copy.deepcopy(pod)
        set_condition(
            changed.setdefault("status", {}),
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": message,
                "lastProbeTime": None,
            },
            self.store.timestamp(),
        )
        self.api.update("pods", changed, status=True)
        self.api.event(pod, "Warning", "FailedScheduling", message)


def why_not(pod: Document, node: Document, placed: Sequence[Document]) -> str | None:
    """Why the Pod can't run on the node, in the scheduler's words; None if it can."""
    spec, node_spec = pod["spec"], node.get("spec") or {}
    labels = node["metadata"].get("labels") or {}
    tolerations = spec.get("tolerations") or ()
    cordoned = {"key": UNSCHEDULABLE, "effect": "NoSchedule"}
    if node_spec.get("unschedulable") and not any(tolerates(t, cordoned) for t in tolerations):
        return "node(s) were unschedulable"
    for taint in node_spec.get("taints") or ():
        if taint["effect"] in _KEEPS_AWAY and not any(tolerates(t, taint) for t in tolerations):
            value = f": {taint['value']}" if taint.get("value") else ": "
            return f"node(s) had untolerated taint {{{taint['key']}{value}}}"
    wanted = (spec.get("nodeSelector") or {}).items()
    if not wanted <= labels.items() or not affine(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    if _host_ports_taken(pod, name_of(node), placed):
        return "node(s) didn't have free ports for the requested pod ports"
    if _repelled(pod, node, placed):
        return "node(s) didn't match pod anti-affinity rules"
    return None


def _waits(pod: Document) -> bool:
    return not pod["spec"].get("nodeName") and pods.is_active(pod)


def _group(pod: Document) -> str:
    """Pods alike: those of one owner, or by themselves."""
    owner = owner_of(pod)
    return str(owner["uid"]) if owner else f"{namespace_of(pod)}/{name_of(pod)}"


def tolerates(toleration: Document, taint: Document) -> bool:
    """Whether a toleration bears a taint. Source: core/v1 Toleration.ToleratesTaint."""
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return bool(
        toleration.get("key") == taint["key"]
        and (toleration.get("value") or "") == (taint.get("value") or "")
    )


def affine(spec: Document, node: Document) -> bool:
    """Required node affinity: any of the terms, each with all of its expressions."""
    node_affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    labels = node["metadata"].get("labels") or {}
    fields = {"metadata.name": name_of(node)}
    return any(
        all(_expression(e, labels) for e in term.get("matchExpressions") or ())
        and all(_expression(e, fields) for e in term.get("matchFields") or ())
        for term in required["nodeSelectorTerms"]
    )


def _expression(expression: Document, labels: dict[str, str]) -> bool:
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


def _host_ports_taken(pod: Document, node: str, placed: Sequence[Document]) -> bool:
    """Whether a Pod on the node has one of the host ports (same protocol, overlapping address)."""
    wanted = [p for p in Pod.from_document(pod).ports if p.host_port]
    if not wanted:
        return False
    taken = [
        p
        for other in placed
        if other["spec"]["nodeName"] == node and pods.is_active(other)
        for p in Pod.from_document(other).ports
        if p.host_port
    ]
    every = ("", "0.0.0.0", "::")
    return any(
        (a.host_port, a.protocol) == (b.host_port, b.protocol)
        and (a.host_ip == b.host_ip or a.host_ip in every or b.host_ip in every)
        for a in wanted
        for b in taken
    )


def _repelled(pod: Document, node: Document, placed: Sequence[Document]) -> bool:
    """Required Pod anti-affinity of the Pod itself, by the topology key of each term."""
    affinity = (pod["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    terms = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
    labels = node["metadata"].get("labels") or {}
    for term in terms:
        domain = labels.get(term["topologyKey"])
        for other in placed:
            same = (
                namespace_of(other) in (term.get("namespaces") or [namespace_of(pod)])
                and pods.is_active(other)
                and matches(term.get("labelSelector"), other["metadata"].get("labels"))
            )
            if same and domain is not None and _domain_of(other, node, term) == domain:
                return True
    return False


def _domain_of(other: Document, node: Document, term: Document) -> str | None:
    """The topology domain of a placed Pod, where it is known from the node at hand."""
    if other["spec"]["nodeName"] != name_of(node):
        return None
    labels = node["metadata"].get("labels") or {}
    value = labels.get(term["topologyKey"])
    return None if value is None else str(value)
