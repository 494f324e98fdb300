"""Topology-aware hints: which zone's clients each endpoint is for (annotation topology-mode: Auto).

Pure. Source: staging/src/k8s.io/endpointslice/topologycache. Every zone gets endpoints in
proportion to its CPUs; where that would load some endpoint more than 20 % above the average,
there are no hints at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from testbed.api.documents import Document
from testbed.api.objects import LABEL_ZONE
from testbed.api.quantity import parse

OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


class NoHintsError(Exception):
    """Hints can't be given; the message is that of the Event."""


def zone_ratios(nodes: Iterable[Document]) -> dict[str, float]:
    """Each zone's share of the CPUs; raises NoHintsError without two zones of known size."""
    by_zone: Counter[str] = Counter()
    for node in nodes:
        labels = node["metadata"].get("labels") or {}
        if any(label in labels for label in _CONTROL_PLANE) or not is_ready(node):
            continue
        cpu = node_cpu(node)
        if not labels.get(LABEL_ZONE) or not cpu:
            by_zone.clear()
            break
        by_zone[labels[LABEL_ZONE]] += cpu
    if len(by_zone) < 2:
        raise NoHintsError(
            "Insufficient Node information: allocatable CPU or zone not specified on one or more "
            "nodes"
        )
    total = by_zone.total()
    return {zone: cpu / total for zone, cpu in sorted(by_zone.items())}


def zones_for(endpoints: Sequence[Document], ratios: Mapping[str, float]) -> list[str]:
    """The zone that each of these (ready) endpoints is for; raises NoHintsError."""
    wanted = _allocations(len(endpoints), ratios)
    zones = [str(endpoint.get("zone") or "") for endpoint in endpoints]
    if not all(zones):
        raise NoHintsError("One or more endpoints do not have a zone specified")
    giving, receiving = _moves(wanted, Counter(zones))
    chosen = []
    for zone in zones:
        target = next((z for z in sorted(receiving) if receiving[z] > 0), None)
        if giving[zone] > 0 and target is not None:
            giving[zone] -= 1
            receiving[target] -= 1
            chosen.append(target)
        else:
            chosen.append(zone)
    return chosen


def _allocations(count: int, ratios: Mapping[str, float]) -> dict[str, float]:
    """How many of `count` endpoints each zone should have."""
    sizes = f"({count} endpoints, {len(ratios)} zones)"
    if len(ratios) > count:
        raise NoHintsError(f"Insufficient number of endpoints {sizes}")
    minima = {zone: math.ceil(ratio * count / (1 + OVERLOAD)) for zone, ratio in ratios.items()}
    if sum(minima.values()) > count:
        raise NoHintsError(f"Minimum allocation exceeds overload threshold {sizes}")
    return {zone: max(ratio * count, minima[zone]) for zone, ratio in ratios.items()}


def _moves(wanted: Mapping[str, float], have: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Endpoints that zones give to, and receive from, other zones.

    A pair of zones moves one while both would move at least half of one, and either a whole one.
    """
    surplus = {zone: have[zone] - target for zone, target in wanted.items() if have[zone] > target}
    lack = {zone: target - have[zone] for zone, target in wanted.items() if have[zone] < target}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while surplus and lack:
        giver, taker = max(surplus, key=surplus.__getitem__), max(lack, key=lack.__getitem__)
        give, take = surplus[giver], lack[taker]
        if (give < 1 and take < 1) or give < 0.5 or take < 0.5:
            break
        giving[giver] += 1
        receiving[taker] += 1
        surplus[giver] -= 1
        lack[taker] -= 1
    return giving, receiving


def is_ready(node: Document) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def node_cpu(node: Document) -> int:
    """Allocatable CPU in thousandths."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return int(parse(str(allocatable.get("cpu") or "0"))[0] * 1000)
