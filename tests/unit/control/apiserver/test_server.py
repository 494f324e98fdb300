"""The API server over HTTP: access, forms of answers, lists, watches, refusals."""

from __future__ import annotations

import asyncio
import json
import ssl
import stat
from typing import Any

import aiohttp
import pytest

from tests.unit.control.apiserver.live import Document, Live

SERVICES = "/api/v1/namespaces/default/services"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def service(name: str = "web", **labels: str) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"ports": [{"port": 80}]},
    }


def fill(live: Live, count: int) -> None:
    for index in range(count):
        assert live.call("POST", SERVICES, service(f"s{index}")).code == 201


# access


def test_nobody_gets_in_without_credentials(live: Live) -> None:
    reply = live.call("GET", SERVICES, token="wrong")
    assert reply.code == 401
    assert reply.document["reason"] == "Unauthorized"
    assert live.call("GET", "/apis", token="wrong").code == 401


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz", "/version"])
def test_health_and_version_are_open_to_all(live: Live, path: str) -> None:
    assert live.call("GET", path, token="wrong").code == 200


def test_a_client_certificate_of_the_lab_opens_the_server(live: Live, tmp_path: Any) -> None:
    context = ssl.create_default_context(cadata=live.server.credentials.ca)
    pki = tmp_path / "pki"
    context.load_cert_chain(pki / "client.crt", pki / "client.key")

    async def ask() -> Any:
        connector = aiohttp.TCPConnector(ssl=context)
        review = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(live.server.url + review, json={}) as response,
        ):
            return await response.json()

    assert live.run(ask())["status"]["userInfo"]["username"] == "kubernetes-admin"


def test_the_kubeconfig_is_its_owners_alone(live: Live) -> None:
    assert stat.S_IMODE(live.server.kubeconfig.stat().st_mode) == 0o600


# lists


def test_a_list_comes_in_pieces_of_one_state(live: Live) -> None:
    fill(live, 5)
    first = live.call("GET", f"{SERVICES}?limit=2").document
    assert first["metadata"]["remainingItemCount"] == 3
    live.call("DELETE", f"{SERVICES}/s3")
    names = [item["metadata"]["name"] for item in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        piece = live.call("GET", f"{SERVICES}?limit=2&continue={token}").document
        assert piece["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        names += [item["metadata"]["name"] for item in piece["items"]]
        token = piece["metadata"].get("continue")
    assert names == ["s0", "s1", "s2", "s3", "s4"]


def test_a_version_yet_to_come_is_a_timeout_with_a_cause(live: Live) -> None:
    reply = live.call("GET", f"{SERVICES}?resourceVersion=99999")
    assert reply.code == 504
    assert reply.document["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert live.call("GET", f"{SERVICES}?resourceVersion=abc").code == 422


def test_kubectl_gets_a_table_with_the_objects_metadata(live: Live) -> None:
    fill(live, 1)
    table = live.call("GET", SERVICES, headers={"Accept": TABLE}).document
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns == [
        "Name",
        "Type",
        "Cluster-IP",
        "External-IP",
        "Port(s)",
        "Age",
        "Selector",
    ]
    (row,) = table["rows"]
    assert row["cells"][:2] == ["s0", "ClusterIP"]
    assert row["object"]["kind"] == "PartialObjectMetadata"


def test_a_protobuf_accept_is_answered_with_json(live: Live) -> None:
    accept = {"Accept": "application/vnd.kubernetes.protobuf, */*"}
    reply = live.call("GET", SERVICES, headers=accept)
    assert reply.headers["Content-Type"].startswith("application/json")
    assert reply.document["kind"] == "ServiceList"


# watches


def watch(live: Live, query: str, act: Any = None, count: int = 100) -> list[Document]:
    """The first `count` lines of a watch that ends by itself; `act` runs once it has begun."""
    url = f"{live.server.url}{SERVICES}?watch=true&{query}"
    headers = {"Authorization": f"Bearer {live.server.credentials.token}"}

    async def follow() -> list[Document]:
        lines: list[Document] = []
        async with live.session.get(url, headers=headers) as response:
            assert response.status == 200
            if act:
                act()
            async for line in response.content:
                lines.append(json.loads(line))
                if len(lines) == count:
                    break
        return lines

    found: list[Document] = live.run(follow())
    return found


def told(lines: list[Document]) -> list[tuple[str, str]]:
    return [(line["type"], line["object"]["metadata"].get("name", "")) for line in lines]


def test_a_watch_from_a_version_tells_what_came_after(live: Live) -> None:
    fill(live, 1)
    version = live.call("GET", SERVICES).document["metadata"]["resourceVersion"]
    fill_more = live.call("POST", SERVICES, service("later"))
    assert fill_more.code == 201
    live.call("DELETE", f"{SERVICES}/s0")
    lines = watch(live, f"resourceVersion={version}", count=2)
    assert told(lines) == [("ADDED", "later"), ("DELETED", "s0")]


def test_a_watch_hears_of_changes_as_they_come(live: Live) -> None:
    fill(live, 1)
    services = live.registry
    from testbed.api.resources import by_name

    found = by_name("services")
    assert found is not None

    def act() -> None:
        for index in range(3):
            patch = {"metadata": {"annotations": {"n": str(index)}}}
            services.patch(found, "default", "s0", "application/merge-patch+json", patch)

    lines = watch(live, "resourceVersion=0", act, count=4)
    assert told(lines) == [("ADDED", "s0"), *[("MODIFIED", "s0")] * 3]


def test_the_server_knows_who_has_been_told_everything(live: Live) -> None:
    fill(live, 1)
    seen = []

    def act() -> None:
        live.loop.call_soon(lambda: seen.append(live.server.watchers.told({"127.0.0.1"})))

    watch(live, "resourceVersion=0", act, count=1)
    assert seen == [{"services"}]
    assert live.server.watchers.told({"192.0.2.1"}) == set()


def test_a_watch_list_ends_its_first_part_with_a_bookmark(live: Live) -> None:
    fill(live, 2)
    query = (
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        "&timeoutSeconds=1"
    )
    lines = watch(live, query)
    assert told(lines) == [("ADDED", "s0"), ("ADDED", "s1"), ("BOOKMARK", "")]
    meta = lines[-1]["object"]["metadata"]
    assert meta["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert meta["resourceVersion"] == str(live.registry.store.version)


def test_a_watch_with_a_selector_tells_of_objects_entering_and_leaving(live: Live) -> None:
    live.call("POST", SERVICES, service("web", tier="front"))
    version = live.registry.store.version
    for tier in ("back", "front"):
        patch = {"metadata": {"labels": {"tier": tier}}}
        kind = "application/merge-patch+json"
        assert live.call("PATCH", f"{SERVICES}/web", patch, content_type=kind).code == 200
    query = f"labelSelector=tier%3Dfront&resourceVersion={version}"
    lines = watch(live, query, count=2)
    assert told(lines) == [("DELETED", "web"), ("ADDED", "web")]
    left = lines[0]["object"]["metadata"]  # as it was when it was selected, at the event's version
    assert left["labels"] == {"tier": "front"}
    assert left["resourceVersion"] == str(version + 1)


def test_a_watch_from_before_the_history_is_told_that_it_is_gone(tmp_path: Any) -> None:
    from tests.unit.control.apiserver.live import live_server

    with live_server(tmp_path) as live:
        fill(live, 1)
        lines = watch(live, "resourceVersion=1")
        assert lines[0]["type"] == "ERROR"
        assert (lines[0]["object"]["code"], lines[0]["object"]["reason"]) == (410, "Expired")


def test_a_watch_can_be_a_stream_of_tables(live: Live) -> None:
    fill(live, 1)

    async def follow() -> list[Document]:
        url = f"{live.server.url}{SERVICES}?watch=true&timeoutSeconds=1"
        headers = {"Authorization": f"Bearer {live.server.credentials.token}", "Accept": TABLE}
        async with live.session.get(url, headers=headers) as response:
            return [json.loads(line) async for line in response.content]

    (line,) = live.run(follow())
    assert line["object"]["kind"] == "Table"
    assert line["object"]["rows"][0]["cells"][0] == "s0"


def test_watches_leave_nothing_behind_when_their_clients_go(live: Live) -> None:
    fill(live, 1)
    watch(live, "resourceVersion=0", count=1)
    live.run(asyncio.sleep(0.2))
    tasks = [task for task in asyncio.all_tasks(live.loop) if "Watch" in repr(task.get_coro())]
    assert tasks == []


# refusals


@pytest.mark.parametrize(
    ("method", "path", "body", "content_type", "code"),
    [
        ("GET", "/api/v1/nothing", None, "", 404),
        ("GET", "/apis/none.example.com/v1", None, "", 404),
        ("GET", "/api/v1/services/web", None, "", 404),
        ("GET", f"{SERVICES}/web", None, "", 404),
        ("POST", f"{SERVICES}/web", {}, "application/json", 405),
        ("PUT", SERVICES, {}, "application/json", 405),
        ("BREW", SERVICES, None, "", 400),
        ("OPTIONS", SERVICES, None, "", 405),
        ("POST", SERVICES, b"{", "application/json", 400),
        ("POST", SERVICES, b"[" * 100_000, "application/json", 400),
        ("POST", SERVICES, b"[" * 100_000, "application/yaml", 400),
        ("POST", SERVICES, b"[]", "application/json", 400),
        ("POST", SERVICES, b'{"metadata": []}', "application/json", 400),
        ("POST", SERVICES, b"k8s\x00\xff", "application/vnd.kubernetes.protobuf", 400),
        ("POST", SERVICES, b"x", "text/plain", 415),
        ("PATCH", f"{SERVICES}/web", b"{}", "application/json", 415),
        ("POST", SERVICES, b" " * (3 * 1024 * 1024 + 1), "application/json", 413),
        ("POST", f"{SERVICES}?dryRun=Some", {}, "application/json", 422),
        ("POST", f"{SERVICES}?fieldValidation=No", {}, "application/json", 422),
        ("PATCH", f"{SERVICES}/web", {}, "application/apply-patch+yaml", 422),
        ("GET", f"{SERVICES}?limit=many", None, "", 400),
        ("GET", f"{SERVICES}?watch=1&sendInitialEvents=true", None, "", 422),
    ],
)
def test_odd_requests_get_a_status(
    live: Live, method: str, path: str, body: Any, content_type: str, code: int
) -> None:
    reply = live.call(method, path, body, content_type=content_type)
    assert reply.code == code, reply.body[:300]
    status = reply.document
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code)


def test_an_alias_bomb_is_refused(live: Live) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    reply = live.call("POST", SERVICES, bomb.encode(), content_type="application/yaml")
    assert reply.code == 400


def test_an_answer_type_that_we_do_not_have_is_refused(live: Live) -> None:
    assert live.call("GET", SERVICES, headers={"Accept": "text/html"}).code == 406


def test_warnings_come_as_headers(live: Live) -> None:
    reply = live.call("GET", "/api/v1/namespaces/default/endpoints")
    assert reply.headers["Warning"].startswith('299 - "v1 Endpoints is deprecated')


def test_unknown_fields_warn_or_are_refused_as_the_client_wants(live: Live) -> None:
    document = service()
    document["spec"]["colour"] = "red"
    assert 'unknown field "spec.colour"' in live.call(
        "POST", f"{SERVICES}?fieldValidation=Warn&dryRun=All", document
    ).headers.get("Warning", "").replace("\\", "")
    assert live.call("POST", f"{SERVICES}?fieldValidation=Strict", document).code == 400


def test_a_field_that_stands_twice_is_named_with_its_path(live: Live) -> None:
    body = b"""{"metadata": {"name": "web"},
        "spec": {"type": "ClusterIP", "type": "ClusterIP", "ports": [{"port": 1, "port": 80}]}}"""
    reply = live.call("POST", f"{SERVICES}?fieldValidation=Strict", body)
    assert reply.code == 400
    assert reply.document["message"].endswith(
        'strict decoding error: duplicate field "spec.type", duplicate field "spec.ports[0].port"'
    )
    assert live.call("POST", f"{SERVICES}?fieldValidation=Ignore", body).code == 201


# what kubectl asks first


def test_discovery_tells_the_same_in_both_forms(live: Live) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    reply = live.call("GET", "/apis", headers={"Accept": accept})
    assert reply.headers["Content-Type"] == accept
    for group in reply.document["items"]:
        name = group["metadata"]["name"]
        plain = live.call("GET", f"/apis/{name}/v1").document["resources"]
        (version,) = group["versions"]
        assert [r["resource"] for r in version["resources"]] == [
            r["name"] for r in plain if "/" not in r["name"]
        ]


def test_every_group_has_its_openapi_document_whose_references_resolve(live: Live) -> None:
    index = live.call("GET", "/openapi/v3").document["paths"]
    assert {"api/v1", "apis/apps/v1", "apis/discovery.k8s.io/v1"} <= index.keys()
    for entry in index.values():
        reply = live.call("GET", entry["serverRelativeURL"])
        schemas = reply.document["components"]["schemas"]
        text = reply.body.decode()
        named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert named <= schemas.keys()
        again = {"If-None-Match": reply.headers["ETag"]}
        assert live.call("GET", entry["serverRelativeURL"], headers=again).code == 304


def test_an_event_of_the_newer_group_is_the_same_event_in_the_core_group(live: Live) -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "e1", "namespace": "default"},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "kube-proxy",
        "reportingInstance": "kube-proxy-w1",
        "action": "StartKubeProxy",
        "reason": "Starting",
        "regarding": {"kind": "Node", "name": "w1", "uid": "w1"},
        "note": "hello",
        "type": "Normal",
    }
    path = "/apis/events.k8s.io/v1/namespaces/default/events"
    assert live.call("POST", path, event).code == 201
    core = live.call("GET", "/api/v1/namespaces/default/events/e1").document
    assert (core["apiVersion"], core["message"]) == ("v1", "hello")
    assert core["involvedObject"]["name"] == "w1"
    assert live.call("GET", f"{path}/e1").document["note"] == "hello"
