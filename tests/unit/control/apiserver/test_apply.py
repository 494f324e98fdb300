"""What server-side apply takes out of an object, and what it leaves."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from testbed.control.apiserver.patch.apply import Manager, apply
from testbed.control.apiserver.patch.fields import encode, field_set
from testbed.control.apiserver.patch.shape import shape_of

DEPLOYMENT = shape_of("apps/v1", "Deployment")
SERVICE = shape_of("v1", "Service")
CONFIG_MAP = shape_of("v1", "ConfigMap")
POD = shape_of("v1", "Pod")


def manager(name: str) -> Manager:
    return Manager(name, "Apply", "v1", "", "", frozenset())


def applied(live: Any, configuration: Any, shape: Any, who: str = "me") -> Any:
    return apply(
        live, {"metadata": {"name": "a"}, **configuration}, manager(who), shape, force=True
    )


@pytest.mark.parametrize("map_name", ["annotations", "labels"])
def test_keys_that_nobody_owns_stay_when_a_manager_drops_its_own(map_name: str) -> None:
    live = applied(None, {"metadata": {"name": "a", map_name: {"mine": "1"}}}, DEPLOYMENT)
    live["metadata"][map_name]["deployment.kubernetes.io/revision"] = "1"
    before = deepcopy(live)
    after = applied(live, {}, DEPLOYMENT)
    assert after["metadata"][map_name] == {"deployment.kubernetes.io/revision": "1"}
    assert live == before


def test_data_of_others_stays_even_where_the_map_is_recorded_as_owned() -> None:
    live = applied(None, {"data": {"mine": "1"}}, CONFIG_MAP)
    live["metadata"]["managedFields"][0]["fieldsV1"]["f:data"] = {".": {}, "f:mine": {}}
    live["data"]["other"] = "2"
    assert applied(live, {}, CONFIG_MAP)["data"] == {"other": "2"}


def test_a_map_whose_last_key_goes_goes_too() -> None:
    live = applied(None, {"data": {"mine": "1"}}, CONFIG_MAP)
    assert "data" not in applied(live, {}, CONFIG_MAP)


def test_a_port_that_is_dropped_goes_with_its_defaults() -> None:
    live = applied(None, {"spec": {"ports": [{"port": 80}, {"port": 81}]}}, SERVICE)
    for port in live["spec"]["ports"]:
        port.update(protocol="TCP", targetPort=port["port"])
    after = applied(live, {"spec": {"ports": [{"port": 80}]}}, SERVICE)
    assert after["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]


def test_a_container_that_another_manager_fills_keeps_its_name() -> None:
    both = [{"name": "c", "image": "i", "tty": True}]
    live = applied(None, {"spec": {"containers": both}}, POD)
    live = applied(live, {"spec": {"containers": [{"name": "c", "image": "i"}]}}, POD, "other")
    assert applied(live, {}, POD)["spec"]["containers"] == [{"name": "c", "image": "i"}]


def test_items_are_recorded_as_owned_and_the_maps_and_lists_around_them_are_not() -> None:
    configuration = {
        "metadata": {"name": "a", "labels": {"x": "1"}, "annotations": {}},
        "spec": {"ports": [{"port": 80}], "selector": {"app": "a"}},
    }
    assert encode(field_set(configuration, SERVICE)) == {
        "f:metadata": {"f:labels": {"f:x": {}}, "f:annotations": {}},
        "f:spec": {
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
            "f:selector": {},
        },
    }
