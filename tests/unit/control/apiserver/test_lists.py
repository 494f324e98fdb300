"""Lists in pieces and of the past, and watches from odd places."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from testbed.control.apiserver import history
from tests.unit.control.apiserver.live import Document, Live

SERVICES = "/api/v1/namespaces/default/services"


def fill(live: Live, *names: str) -> None:
    for name in names:
        document = {"metadata": {"name": name, "labels": {"a": name}}}
        document["spec"] = {"ports": [{"port": 80}]}  # type: ignore[assignment]
        assert live.call("POST", SERVICES, document).code == 201


def names(document: Document) -> list[str]:
    return [item["metadata"]["name"] for item in document["items"]]


def test_a_version_of_the_past_is_listed_exactly(live: Live) -> None:
    fill(live, "a", "b")
    then = live.call("GET", SERVICES).document["metadata"]["resourceVersion"]
    live.call("DELETE", f"{SERVICES}/a")
    fill(live, "c")
    for query in (f"resourceVersionMatch=Exact&resourceVersion={then}",):
        found = live.call("GET", f"{SERVICES}?{query}").document
        assert (names(found), found["metadata"]["resourceVersion"]) == (["a", "b"], then)
    pieces = live.call("GET", f"{SERVICES}?limit=1&resourceVersion={then}").document
    assert names(pieces) == ["a"]
    newer = live.call("GET", f"{SERVICES}?resourceVersion={then}").document
    assert names(newer) == ["b", "c"]
    everything = live.call("GET", f"{SERVICES}?limit=1&resourceVersion=0").document
    assert names(everything) == ["b", "c"]
    chosen = f"labelSelector=a%3Db&resourceVersionMatch=Exact&resourceVersion={then}"
    assert names(live.call("GET", f"{SERVICES}?{chosen}").document) == ["b"]


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("resourceVersionMatch=Exact&resourceVersion=1", 410, "The resourceVersion for the prov"),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            'ListOptions.meta.k8s.io "" is invalid: resourceVersionMatch: Forbidden: '
            'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        ("timeoutSeconds=x", 400, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ("continue=%21", 400, "invalid continue token: continue key is not valid"),
    ],
)
def test_what_cannot_be_listed_is_refused(live: Live, query: str, code: int, words: str) -> None:
    reply = live.call("GET", f"{SERVICES}?{query}")
    assert (reply.code, reply.document["message"][: len(words)]) == (code, words)


def test_a_token_goes_on_where_its_list_stopped(live: Live) -> None:
    fill(live, "a", "b", "c")
    meta = live.call("GET", f"{SERVICES}?limit=1").document["metadata"]
    assert meta["remainingItemCount"] == 2
    live.call("DELETE", f"{SERVICES}/b")
    rest = live.call("GET", f"{SERVICES}?continue={meta['continue']}").document
    assert names(rest) == ["b", "c"]
    assert rest["metadata"]["resourceVersion"] == meta["resourceVersion"]
    both = f"continue={meta['continue']}&resourceVersion={meta['resourceVersion']}"
    reply = live.call("GET", f"{SERVICES}?{both}")
    assert reply.document["message"] == (
        "specifying resource version is not allowed when using continue"
    )
    chosen = live.call("GET", f"{SERVICES}?limit=1&labelSelector=a").document["metadata"]
    assert "continue" in chosen
    assert "remainingItemCount" not in chosen


def test_a_token_that_is_too_old_comes_with_one_that_goes_on_anyway(
    live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "KEPT", 1)
    fill(live, "a", "b")
    token = live.call("GET", f"{SERVICES}?limit=1").document["metadata"]["continue"]
    fill(live, "c", "d", "e")
    gone = live.call("GET", f"{SERVICES}?limit=1&continue={token}")
    assert (gone.code, gone.document["reason"]) == (410, "Expired")
    assert "or use the continue token in this response" in gone.document["message"]
    again = gone.document["metadata"]["continue"]
    rest = live.call("GET", f"{SERVICES}?continue={again}").document
    assert names(rest) == ["b", "c", "d", "e"]


def lines(live: Live, path: str, act: Any, count: int) -> list[Document]:
    headers = {"Authorization": f"Bearer {live.server.credentials.token}"}

    async def follow() -> list[Document]:
        found: list[Document] = []
        async with live.session.get(live.server.url + path, headers=headers) as response:
            assert response.status == 200
            act()
            async for line in response.content:
                found.append(json.loads(line))
                if len(found) == count:
                    break
        return found

    result: list[Document] = live.run(asyncio.wait_for(follow(), 10))
    return result


def test_a_watch_from_the_future_waits_for_it(live: Live) -> None:
    ahead = live.registry.store.version + 1

    def act() -> None:
        store = live.registry.store
        for name in ("early", "later"):
            store.create("services", {"metadata": {"namespace": "default", "name": name}})

    (line,) = lines(live, f"{SERVICES}?watch=true&resourceVersion={ahead}", act, 1)
    assert (line["type"], line["object"]["metadata"]["name"]) == ("ADDED", "later")


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/watch/services",
        "/api/v1/watch/namespaces/default/services",
        "/api/v1/watch/namespaces/default/services/web",
    ],
)
def test_the_deprecated_watch_paths_are_served(live: Live, path: str) -> None:
    fill(live, "web")
    (line,) = lines(live, path, lambda: None, 1)
    assert (line["type"], line["object"]["metadata"]["name"]) == ("ADDED", "web")
    assert live.call("DELETE", path).code == 405


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/api/v1/namespaces"),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"),
        ("DELETE", "/apis/authentication.k8s.io/v1/tokenreviews"),
    ],
)
def test_a_verb_that_a_resource_does_not_have_is_not_allowed(
    live: Live, method: str, path: str
) -> None:
    reply = live.call(method, path)
    assert (reply.code, reply.document["reason"]) == (405, "MethodNotAllowed")
    (found,) = [
        r for r in live.call("GET", "/api/v1").document["resources"] if r["name"] == "namespaces"
    ]
    assert "deletecollection" not in found["verbs"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json;as=Foo;v=v1;g=meta.k8s.io", None),
        ("application/json;as=Table;v=v2;g=meta.k8s.io", None),
        ("application/json;as=Foo;v=v1;g=meta.k8s.io,application/json", "ServiceList"),
        ("application/json;q=0.5,application/json;as=Table;v=v1;g=meta.k8s.io", "Table"),
    ],
)
def test_the_form_that_is_preferred_and_known_is_sent(
    live: Live, accept: str, kind: str | None
) -> None:
    reply = live.call("GET", SERVICES, headers={"Accept": accept})
    assert reply.code == (200 if kind else 406)
    assert kind in (None, reply.document["kind"])


def test_health_says_what_it_looked_at(live: Live) -> None:
    text = live.call("GET", "/readyz?verbose&exclude=etcd&exclude=foo").body.decode()
    assert text.splitlines() == [
        "[+]ping ok",
        "[+]log ok",
        "[+]etcd excluded: ok",
        "[+]informer-sync ok",
        "[+]shutdown ok",
        'warn: some health checks cannot be excluded: no matches for "foo"',
        "readyz check passed",
    ]
    assert live.call("GET", "/livez/ping").body == b"ok"
    assert live.call("GET", "/livez/none").code == 404
