"""Endpoints' subsets as the API server lays them out, in the order of Go's hashes."""

from __future__ import annotations

import copy
import itertools

import pytest

from testbed.api.documents import Document
from testbed.api.subsets import repack

WEB = {"name": "p0", "port": 80, "protocol": "TCP"}
NEXT = {"name": "p1", "port": 81, "protocol": "TCP"}
ODD = {"name": "p0", "port": 81, "protocol": "TCP", "appProtocol": "x"}
POD = {"kind": "Pod", "name": "p", "uid": "u1"}

#: Each in its canonical order; made with k8s.io/utils/dump 0.36 over the API server's types.
LAYOUTS: list[list[Document]] = [
    [
        {"addresses": [{"ip": "10.0.0.1"}]},
        {"addresses": [{"ip": "10.0.0.3", "hostname": "h", "nodeName": "w1"}], "ports": [ODD]},
    ],
    [
        {"addresses": [{"ip": "10.0.0.2"}], "ports": [WEB, NEXT]},
        {"addresses": [{"ip": "10.0.0.4", "nodeName": "w1"}]},
    ],
    [
        {
            "addresses": [{"ip": "10.0.0.2", "targetRef": POD}],
            "ports": [{**ODD, "port": 80}],
        },
        {"notReadyAddresses": [{"ip": "10.0.0.1"}]},
    ],
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_subsets_are_stored_in_one_order_however_they_come(layout: list[Document]) -> None:
    for order in itertools.permutations(copy.deepcopy(layout)):
        assert repack(list(order)) == layout


def test_a_ready_address_is_merged_into_the_subset_of_its_ports() -> None:
    given: list[Document] = [
        {"notReadyAddresses": [{"ip": "10.0.0.1", "targetRef": POD}]},
        {"addresses": [{"ip": "10.0.0.3"}], "ports": [WEB]},
        {"addresses": [{"ip": "10.0.0.3"}]},
    ]
    assert repack(given) == [
        {
            "addresses": [{"ip": "10.0.0.3"}],
            "notReadyAddresses": [{"ip": "10.0.0.1", "targetRef": POD}],
        },
        {"addresses": [{"ip": "10.0.0.3"}], "ports": [WEB]},
    ]


def test_ports_with_an_application_protocol_are_not_merged() -> None:
    given: list[Document] = [
        {"addresses": [{"ip": "10.0.0.1"}], "ports": [ODD]},
        {"addresses": [{"ip": "10.0.0.2"}], "ports": [dict(ODD)]},
    ]
    assert sorted(subset["addresses"][0]["ip"] for subset in repack(given)) == [
        "10.0.0.1",
        "10.0.0.2",
    ]
    given[1]["addresses"] = given[0]["addresses"]
    assert repack(given) == [{"addresses": [{"ip": "10.0.0.1"}], "ports": [ODD, ODD]}]
