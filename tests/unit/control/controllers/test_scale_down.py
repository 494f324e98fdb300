"""The order in which a ReplicaSet gives Pods up, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api.documents import Document
from testbed.control.controllers.scale_down import DELETION_COST, Ranking, deletion_cost

NOW = 1_800_000_000.0
OLD, NEW = "2026-01-01T00:00:00Z", "2027-01-14T00:00:00Z"


def pod(
    name: str, node: str = "w1", made: str = OLD, ready: str | None = OLD, **more: Any
) -> Document:
    conditions = []
    if ready is not None:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": ready}]
    cost = more.get("cost")
    return {
        "metadata": {
            "name": name,
            "uid": more.get("uid", name),
            "creationTimestamp": made,
            "annotations": {} if cost is None else {DELETION_COST: cost},
        },
        "spec": {"nodeName": node} if node else {},
        "status": {
            "phase": more.get("phase", "Running"),
            "conditions": conditions,
            "containerStatuses": [{"name": "c", "restartCount": more.get("restarts", 0)}],
        },
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (pod("first", node=""), pod("second")),
        (pod("first", phase="Pending", ready=None), pod("second", ready=None)),
        (pod("first", ready=None), pod("second", cost="-5")),
        (pod("first", cost="-5"), pod("second")),
        (pod("first", ready=NEW), pod("second")),
        (pod("first", restarts=3), pod("second")),
        (pod("first", made=NEW), pod("second")),
        (pod("first", uid="a"), pod("second", uid="b", made="2026-01-02T00:00:00Z")),
    ],
    ids=["node", "phase", "readiness", "cost", "ready for", "restarts", "age", "uid"],
)
def test_one_goes_before_the_other(first: Document, second: Document) -> None:
    ranking = Ranking([first, second], NOW)
    for both in ([first, second], [second, first]):
        assert ranking.worst(both)[0] is first


def test_the_one_on_the_more_crowded_node_goes_first() -> None:
    crowded, lonely, neighbour = pod("a", "w1"), pod("b", "w2", ready=NEW), pod("c", "w1")
    assert Ranking([crowded, lonely, neighbour], NOW).worst([lonely, crowded])[0] is crowded


def test_a_cost_that_is_no_number_counts_as_none() -> None:
    costs = {"7": 7, "-3": -3, "+7": 0, "08": 0, "x": 0, "": 0, "4294967296": 0}
    assert {text: deletion_cost(pod("a", cost=text)) for text in costs} == costs
