"""Which zone's or node's clients each endpoint is for: the hints of one family's slices.

Pure. Sources: staging/src/k8s.io/endpointslice/trafficdist and topologycache. With annotation
topology-mode: Auto every zone gets endpoints in proportion to its CPUs; where that would load some
endpoint more than 20 % above the average, there are no hints at all.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.api.documents import Document
from testbed.api.objects import LABEL_ZONE
from testbed.api.quantity import parse
from testbed.control.controllers.packing import Draft, Packing

OVERLOAD = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


class NoHintsError(Exception):
    """Hints can't be given; the message is that of the Event."""


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the endpoints a zone should have, and may have at most."""

    desired: float
    maximum: int


def remove(plan: Packing) -> None:
    """Take all hints away."""
    plan.touch([d for d in plan.unchanged if any(e.get("hints") for e in d.endpoints)])
    for draft in plan.changing:
        draft.endpoints = [without(endpoint) for endpoint in draft.endpoints]


def without(endpoint: Document) -> Document:
    return {name: value for name, value in endpoint.items() if name != "hints"}


def add_close(plan: Packing, *, nodes: bool) -> None:
    """Each ready endpoint is for its own zone and, with `nodes`, its own node."""

    def hinted(endpoint: Document) -> Document:
        if not ready(endpoint):
            return endpoint
        hints: Document = {}
        if endpoint.get("zone"):
            hints["forZones"] = [{"name": endpoint["zone"]}]
        if nodes and endpoint.get("nodeName"):
            hints["forNodes"] = [{"name": endpoint["nodeName"]}]
        return {**without(endpoint), **({"hints": hints} if hints else {})}

    plan.touch([d for d in plan.unchanged if any(hinted(e) != e for e in d.endpoints)])
    for draft in plan.changing:
        draft.endpoints = [hinted(endpoint) for endpoint in draft.endpoints]


def add_auto(plan: Packing, ratios: Mapping[str, float]) -> None:
    """Each ready endpoint is for a zone, so that no zone is overloaded; raises NoHintsError.

    Slices that are not written anyway keep their hints as long as they fit.
    """
    total = sum(ready(e) for d in [*plan.changing, *plan.unchanged] for e in d.endpoints)
    shares = allocations(total, ratios)
    have: Counter[str] = Counter()
    wrong = []
    for draft in plan.unchanged:
        found = _hinted_zones(draft, have, shares)
        if found is None:
            wrong.append(draft)
        else:
            have += found
    plan.touch(wrong)
    placed = [(d, i) for d in plan.changing for i, e in enumerate(d.endpoints) if ready(e)]
    zones = [str(draft.endpoints[index].get("zone") or "") for draft, index in placed]
    if not all(zones):
        raise NoHintsError("One or more endpoints do not have a zone specified")
    for (draft, index), zone in zip(placed, zones_for(zones, shares, have), strict=True):
        hints = {"forZones": [{"name": zone}]}
        draft.endpoints[index] = {**draft.endpoints[index], "hints": hints}


def _hinted_zones(
    draft: Draft, have: Mapping[str, int], shares: Mapping[str, Share]
) -> Counter[str] | None:
    """Endpoints by the zone they are for; None if the slice's hints can't stay."""
    found: Counter[str] = Counter()
    for endpoint in filter(ready, draft.endpoints):
        zones = [z["name"] for z in (endpoint.get("hints") or {}).get("forZones") or ()]
        if not zones or any(zone not in shares for zone in zones):
            return None
        found.update(zones)
    if any(count + have.get(zone, 0) > shares[zone].maximum for zone, count in found.items()):
        return None
    return found


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


def allocations(count: int, ratios: Mapping[str, float]) -> dict[str, Share]:
    """Each zone's part of `count` endpoints; raises NoHintsError."""
    sizes = f"({count} endpoints, {len(ratios)} zones)"
    if len(ratios) > count:
        raise NoHintsError(f"Insufficient number of endpoints {sizes}")
    minima = {zone: math.ceil(r * count * (1 / (1 + OVERLOAD))) for zone, r in ratios.items()}
    spare = count - sum(minima.values())
    if spare < 0:
        raise NoHintsError(
            "Unable to allocate minimum required endpoints to each zone without exceeding overload "
            f"threshold {sizes}"
        )
    return {
        zone: Share(max(ratio * count, minima[zone]), minima[zone] + spare)
        for zone, ratio in ratios.items()
    }


def zones_for(
    zones: Sequence[str], shares: Mapping[str, Share], have: Mapping[str, int]
) -> list[str]:
    """The zone that each endpoint is for, given the zones they are in and what zones `have`."""
    giving, receiving = _moves(shares, Counter(have) + Counter(zones))
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


def _moves(shares: Mapping[str, Share], have: Counter[str]) -> tuple[Counter[str], Counter[str]]:
    """Endpoints that zones give to, and receive from, other zones.

    A pair of zones moves one while both would move at least half of one, and either a whole one.
    """
    wanted = {zone: share.desired for zone, share in shares.items()}
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


def ready(endpoint: Document) -> bool:
    return bool((endpoint.get("conditions") or {}).get("ready"))


def is_ready(node: Document) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def node_cpu(node: Document) -> int:
    """Allocatable CPU in thousandths."""
    allocatable = (node.get("status") or {}).get("allocatable") or {}
    return int(parse(str(allocatable.get("cpu") or "0"))[0] * 1000)
