"""Whether a Pod can go to a node, given everyone who is placed: the scheduler's filters. Pure.

Source: pkg/scheduler/framework/plugins, in the order of the default profile: the first filter that
refuses a node has the word. Spreading counts as in podtopologyspread, affinity between Pods as in
interpodaffinity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.control import pods
from testbed.control.controllers import fitting
from testbed.control.controllers.base import matches
from testbed.control.controllers.fitting import Amounts, labels_of

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
SPREAD = "node(s) didn't match pod topology spread constraints"
#: (topology key, value): where Pods are together or apart.
Domain: TypeAlias = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node is none for a Pod; `resolvable` if other Pods' going could change that."""

    reasons: tuple[str, ...]
    resolvable: bool = False


class Snapshot:
    """Nodes and the Pods on them; `add` places another one. Namespaces are for their labels."""

    def __init__(
        self,
        nodes: Iterable[Document],
        placed: Iterable[Document],
        namespaces: Mapping[str, Mapping[str, str]],
    ) -> None:
        self.nodes = {name_of(node): node for node in nodes}
        self.on: dict[str, list[Document]] = {name: [] for name in self.nodes}
        self.used: dict[str, Amounts] = {name: {} for name in self.nodes}
        #: Pods that keep others away: those with required anti-affinity.
        self.repelling: list[Document] = []
        self._namespaces = namespaces
        for pod in placed:
            self.add(pod)

    def add(self, pod: Document) -> None:
        """Count a Pod that has a node; one that ended doesn't count."""
        node = pod["spec"]["nodeName"]
        if node not in self.on or (pod.get("status") or {}).get("phase") in pods.TERMINAL_PHASES:
            return
        self.on[node].append(pod)
        used = self.used[node]
        for name, amount in fitting.requests(pod).items():
            used[name] = used.get(name, Decimal()) + amount
        if terms(pod, "podAntiAffinity"):
            self.repelling.append(pod)

    def everyone(self) -> Iterable[tuple[Document, Document]]:
        """(Pod, its node) of all."""
        return ((pod, self.nodes[name]) for name, members in self.on.items() for pod in members)

    def term_matches(self, term: Document, owner: Document, pod: Document) -> bool:
        """Whether an affinity term of `owner` is about `pod`."""
        listed = term.get("namespaces") or ()
        chosen = term.get("namespaceSelector")
        namespace = namespace_of(pod)
        if listed or chosen is not None:
            here = namespace in listed or matches(
                chosen, dict(self._namespaces.get(namespace) or {})
            )
        else:
            here = namespace == namespace_of(owner)
        return here and matches(term.get("labelSelector"), dict(labels_of(pod)))


def terms(pod: Document, kind: str) -> list[Document]:
    """Required terms of podAffinity or podAntiAffinity."""
    return list(((pod["spec"].get("affinity") or {}).get(kind) or {}).get(REQUIRED) or ())


class Placement:
    """One Pod and the cluster it is to go into."""

    def __init__(self, pod: Document, snapshot: Snapshot) -> None:
        self.pod = pod
        self.spec = pod["spec"]
        self.snapshot = snapshot

    def refusal(self, node: Document) -> Refusal | None:
        """Why the node is none for the Pod; None if it is one."""
        checks: tuple[Callable[[Document], Refusal | None], ...] = (
            self._on_the_node,
            self._resources,
            self._spread,
            self._neighbours,
        )
        return next((no for check in checks if (no := check(node)) is not None), None)

    def _on_the_node(self, node: Document) -> Refusal | None:
        if fitting.is_cordoned(self.spec, node):
            return Refusal(("node(s) were unschedulable",))
        if fitting.untolerated(self.spec, node, fitting.KEEPS_AWAY):
            return Refusal(("node(s) had untolerated taint(s)",))
        if not fitting.selects(self.spec, node):
            return Refusal(("node(s) didn't match Pod's node affinity/selector",))
        if fitting.ports_clash(self.pod, self.snapshot.on[name_of(node)]):
            reason = "node(s) didn't have free ports for the requested pod ports"
            return Refusal((reason,), resolvable=True)
        return None

    def _resources(self, node: Document) -> Refusal | None:
        """Source: noderesources fitsRequest. A node that hasn't said what it has takes all."""
        room = fitting.allocatable(node)
        if not room:
            return None
        reasons, resolvable = [], True
        if "pods" in room and len(self.snapshot.on[name_of(node)]) + 1 > room["pods"]:
            reasons.append("Too many pods")
        used = self.snapshot.used[name_of(node)]
        for name, amount in self._requests.items():
            there = room.get(name, Decimal())
            if amount and amount + used.get(name, Decimal()) > there:
                reasons.append(f"Insufficient {name}")
                resolvable = resolvable and amount <= there
        return Refusal(tuple(reasons), resolvable) if reasons else None

    @cached_property
    def _requests(self) -> Amounts:
        return fitting.requests(self.pod)

    # spreading

    def _spread(self, node: Document) -> Refusal | None:
        for constraint, counts in self._constraints:
            value = labels_of(node).get(constraint["topologyKey"])
            if value is None:
                return Refusal((f"{SPREAD} (missing required label)",))
            least = min(counts.values(), default=2**31 - 1)
            if len(counts) < constraint.get("minDomains", 1):
                least = 0
            itself = self._is_counted(constraint, self.pod)
            if counts[value] + itself - least > constraint["maxSkew"]:
                return Refusal((SPREAD,), resolvable=True)
        return None

    @cached_property
    def _constraints(self) -> list[tuple[Document, Counter[str]]]:
        """Every required constraint, with the Pods that it counts in each domain."""
        required = [
            constraint
            for constraint in self.spec.get("topologySpreadConstraints") or ()
            if constraint.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule"
        ]
        keys = {constraint["topologyKey"] for constraint in required}
        eligible = [n for n in self.snapshot.nodes.values() if keys <= labels_of(n).keys()]
        return [
            (
                constraint,
                self._counts(constraint, [n for n in eligible if self._has(constraint, n)]),
            )
            for constraint in required
        ]

    def _has(self, constraint: Document, node: Document) -> bool:
        """Whether a node is a domain's at all. Source: matchNodeInclusionPolicies."""
        by_affinity = constraint.get("nodeAffinityPolicy", "Honor") == "Honor"
        by_taints = constraint.get("nodeTaintsPolicy", "Ignore") == "Honor"
        if by_affinity and not fitting.selects(self.spec, node):
            return False
        return not (by_taints and fitting.untolerated(self.spec, node, fitting.KEEPS_AWAY))

    def _counts(self, constraint: Document, nodes: Sequence[Document]) -> Counter[str]:
        counts: Counter[str] = Counter()
        for node in nodes:
            counts[labels_of(node)[constraint["topologyKey"]]] += sum(
                self._is_counted(constraint, pod)
                for pod in self.snapshot.on[name_of(node)]
                if namespace_of(pod) == namespace_of(self.pod) and not pods.is_terminating(pod)
            )
        return counts

    def _is_counted(self, constraint: Document, pod: Document) -> bool:
        labels = dict(labels_of(pod))
        alike = constraint.get("matchLabelKeys") or ()
        own = labels_of(self.pod)
        return matches(constraint.get("labelSelector"), labels) and all(
            labels.get(key) == own[key] for key in alike if key in own
        )

    # other Pods

    def _neighbours(self, node: Document) -> Refusal | None:
        labels = labels_of(node)
        if not self._is_with_its_own(labels):
            return Refusal(("node(s) didn't match pod affinity rules",))
        if any((key, labels.get(key)) in self._avoided for key, _ in self._avoided):
            return Refusal(("node(s) didn't match pod anti-affinity rules",), resolvable=True)
        if any((key, labels.get(key)) in self._barred for key, _ in self._barred):
            reason = "node(s) didn't satisfy existing pods anti-affinity rules"
            return Refusal((reason,), resolvable=True)
        return None

    def _is_with_its_own(self, labels: Mapping[str, str]) -> bool:
        """Required affinity; the first of Pods that want one another may go anywhere."""
        wanted = terms(self.pod, "podAffinity")
        keys = [term["topologyKey"] for term in wanted]
        if any(key not in labels for key in keys):
            return False
        if all((key, labels[key]) in self._attracting for key in keys):
            return True
        return not self._attracting and self._all_match(wanted, self.pod)

    def _all_match(self, wanted: Sequence[Document], pod: Document) -> bool:
        return all(self.snapshot.term_matches(term, self.pod, pod) for term in wanted)

    @cached_property
    def _attracting(self) -> set[Domain]:
        """Domains with a Pod that all terms of the Pod's affinity are about."""
        wanted = terms(self.pod, "podAffinity")
        return {
            (term["topologyKey"], labels_of(node)[term["topologyKey"]])
            for pod, node in (self.snapshot.everyone() if wanted else ())
            if self._all_match(wanted, pod)
            for term in wanted
            if term["topologyKey"] in labels_of(node)
        }

    @cached_property
    def _avoided(self) -> set[Domain]:
        """Domains that the Pod's own anti-affinity rules out."""
        wanted = terms(self.pod, "podAntiAffinity")
        return {
            (term["topologyKey"], labels_of(node)[term["topologyKey"]])
            for pod, node in (self.snapshot.everyone() if wanted else ())
            for term in wanted
            if term["topologyKey"] in labels_of(node)
            and self.snapshot.term_matches(term, self.pod, pod)
        }

    @cached_property
    def _barred(self) -> set[Domain]:
        """Domains that other Pods' anti-affinity keeps the Pod out of."""
        found: set[Domain] = set()
        for other in self.snapshot.repelling:
            labels = labels_of(self.snapshot.nodes[other["spec"]["nodeName"]])
            for term in terms(other, "podAntiAffinity"):
                key = term["topologyKey"]
                if key in labels and self.snapshot.term_matches(term, other, self.pod):
                    found.add((key, labels[key]))
        return found

    # taste

    def cost(self, node: Document) -> int:
        """How little the Pod likes a node that it can go to: PreferNoSchedule, preferred affinity.

        Reduced to what differs in a lab: the plugins' weights, without normalisation.
        """
        shunned = len(fitting.untolerated(self.spec, node, ("PreferNoSchedule",)))
        liked: int = sum(
            term["weight"]
            for term in fitting.node_affinity(self.spec).get(PREFERRED) or ()
            if fitting.term_fits(term["preference"], node)
        )
        affinity = self.spec.get("affinity") or {}
        for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
            for weighted in (affinity.get(kind) or {}).get(PREFERRED) or ():
                term = weighted["podAffinityTerm"]
                liked += sign * weighted["weight"] * self._near(term, node)
        return 300 * shunned - liked

    def _near(self, term: Document, node: Document) -> int:
        """Pods that the term is about, in the node's domain."""
        value = labels_of(node).get(term["topologyKey"])
        if value is None:
            return 0
        return sum(
            labels_of(other).get(term["topologyKey"]) == value
            and self.snapshot.term_matches(term, self.pod, pod)
            for pod, other in self.snapshot.everyone()
        )
