"""What server-side apply takes out of an object, and what it leaves."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from testbed.control.apiserver.patch.apply import apply
from testbed.control.apiserver.patch.fields import encode, field_set, managed
from testbed.control.apiserver.patch.managers import Manager
from testbed.control.apiserver.patch.shape import shape_of

DEPLOYMENT = shape_of("apps/v1", "Deployment")
SERVICE = shape_of("v1", "Service")
CONFIG_MAP = shape_of("v1", "ConfigMap")
POD = shape_of("v1", "Pod")


def manager(name: str) -> Manager:
    return Manager(name, "Apply", "v1", "", "", frozenset())


def applied(live: Any, configuration: Any, shape: Any, who: str = "me") -> Any:
    document = {**configuration, "metadata": {"name": "a", **configuration.get("metadata", {})}}
    return apply(live, document, manager(who), shape, force=True)


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
    live = applied(live, {"data": {"other": "2"}}, CONFIG_MAP, "other")
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
    assert encode(managed(field_set(configuration, SERVICE))) == {
        "f:metadata": {"f:labels": {"f:x": {}}, "f:annotations": {}},
        "f:spec": {
            "f:ports": {'k:{"port":80,"protocol":"TCP"}': {".": {}, "f:port": {}}},
            "f:selector": {},
        },
    }


def test_defaults_under_a_dropped_struct_go_with_it() -> None:
    strategy = {"type": "RollingUpdate"}
    live = applied(None, {"spec": {"replicas": 1, "strategy": strategy}}, DEPLOYMENT)
    live["spec"]["strategy"] = {**strategy, "rollingUpdate": {"maxSurge": "25%"}}
    after = applied(live, {"spec": {"replicas": 1}}, DEPLOYMENT)
    assert after["spec"].get("strategy") is None


def test_defaults_under_a_dropped_struct_go_one_by_one_where_another_owns_a_part() -> None:
    live = applied(None, {"spec": {"strategy": {"type": "RollingUpdate"}}}, DEPLOYMENT)
    surge = {"strategy": {"rollingUpdate": {"maxSurge": 1}}}
    live = applied(live, {"spec": surge}, DEPLOYMENT, "other")
    live["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] = 0
    after = applied(live, {"spec": {"replicas": 2}}, DEPLOYMENT)
    assert after["spec"]["strategy"] == {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


def test_an_apply_that_changes_nothing_keeps_the_time_of_the_last_one() -> None:
    def at(time: str) -> Manager:
        return Manager("me", "Apply", "v1", "", time, frozenset())

    configuration = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    configuration["data"] = {"x": "1"}
    first = apply(None, configuration, at("2024-01-01T00:00:01Z"), CONFIG_MAP, force=False)
    again = apply(first, configuration, at("2024-01-01T00:00:02Z"), CONFIG_MAP, force=False)
    assert again == first
