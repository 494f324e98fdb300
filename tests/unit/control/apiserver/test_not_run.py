"""Kinds that clients look for and that the testbed doesn't run: empty lists, clear refusals."""

from __future__ import annotations

import pytest

from testbed.api.resources import NOT_RUN, RESOURCES, SERVED, ResourceType
from tests.unit.control.apiserver.live import Live

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def path(resource: ResourceType) -> str:
    head = f"/apis/{resource.api_version}" if resource.group else "/api/v1"
    return f"{head}{'/namespaces/default' * resource.namespaced}/{resource.resource}"


@pytest.mark.parametrize("resource", NOT_RUN, ids=lambda each: str(each.resource))
def test_there_are_none_and_none_can_be_made(live: Live, resource: ResourceType) -> None:
    found = live.call("GET", path(resource)).document
    assert (found["kind"], found["items"]) == (f"{resource.kind}List", [])
    assert live.call("GET", path(resource), headers={"Accept": TABLE}).document["rows"] == []
    assert live.call("GET", f"{path(resource)}/x").code == 404
    document = {"apiVersion": resource.api_version, "kind": resource.kind}
    reply = live.call("POST", path(resource), {**document, "metadata": {"name": "x"}})
    assert reply.code == 405
    assert reply.document["message"].startswith(f"the testbed does not run {resource.resource}")


def test_discovery_shows_them_in_their_places(live: Live) -> None:
    names = [r["name"] for r in live.call("GET", "/apis/batch/v1").document["resources"]]
    assert names == ["cronjobs", "jobs"]
    assert [each for each in SERVED if each in RESOURCES] == list(RESOURCES)
