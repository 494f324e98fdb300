"""A Path survives JSON, and its schema is documented."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path as FilePath

import pytest

from testbed.flow import (
    DELIVERED,
    ConntrackEntry,
    Flow,
    Hop,
    Nat,
    Path,
    Route,
    RuleHit,
    Verdict,
    path_from_json,
    path_to_json,
)

SENT = Flow("tcp", "203.0.113.10", 40000, "10.96.10.1", 80)
ARRIVED = Flow("tcp", "10.244.1.1", 5000, "10.244.1.5", 8080)


def full_path() -> Path:
    rule = RuleHit("ip", "nat", "KUBE-SEP", 7, "-j DNAT", "accept", tried=("-j X",))
    entry = ConntrackEntry(SENT, ARRIVED.reversed(), ("DST_NAT",), "SYN_SENT")
    hop = Hop(
        "w1",
        "eth0",
        "veth0",
        SENT,
        ARRIVED,
        10,
        20,
        ("eth0", "veth0"),
        (Nat("DNAT", "10.96.10.1:80", "10.244.1.5:8080"),),
        (rule,),
        Route("unicast", "veth0"),
        entry,
    )
    return Path("client", SENT, 1, "TCP SYN", Verdict(DELIVERED, "web-0", rule=rule), (hop,))


def test_a_path_comes_back_from_json_as_it_was() -> None:
    assert path_from_json(path_to_json(full_path())) == full_path()


def test_another_schema_version_is_refused() -> None:
    document = json.loads(path_to_json(full_path())) | {"schema": 99}
    with pytest.raises(ValueError, match="99"):
        path_from_json(json.dumps(document))


def test_an_unknown_field_is_refused() -> None:
    document = json.loads(path_to_json(full_path())) | {"extra": 1}
    with pytest.raises(TypeError, match="extra"):
        path_from_json(json.dumps(document))


def test_every_field_is_documented() -> None:
    schema = (FilePath(__file__).parents[3] / "docs" / "path-schema.md").read_text()
    for kind in (Path, Hop, RuleHit, Nat, Route, ConntrackEntry, Verdict, Flow):
        for field in dataclasses.fields(kind):
            assert f"`{field.name}`" in schema, f"{kind.__name__}.{field.name}"
