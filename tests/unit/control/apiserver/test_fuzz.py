"""Generated requests: every answer is HTTP with a Status or an object, and the server stays right.

TESTBED_FUZZ_REQUESTS raises the number of requests.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

from testbed.api.resources import RESOURCES
from tests.unit.control.apiserver.live import Live

REQUESTS = int(os.environ.get("TESTBED_FUZZ_REQUESTS", "1000"))
METHODS = ("GET", "GET", "POST", "POST", "PUT", "PATCH", "PATCH", "DELETE", "HEAD", "OPTIONS")
TYPES = (
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
    "text/plain",
    "",
)
ACCEPTS = (
    "*/*",
    "application/json",
    "application/yaml",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/vnd.kubernetes.protobuf,application/json",
    "image/png",
    ";;,=",
)
WORDS = ("", "a", "web", "default", "-", "A B", "ü", "\ud800", "\0", "10.96.0.1", "x" * 300, "None")
FIELDS = (
    "kind",
    "apiVersion",
    "metadata",
    "name",
    "namespace",
    "labels",
    "annotations",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "resourceVersion",
    "deletionTimestamp",
    "uid",
    "spec",
    "status",
    "ports",
    "port",
    "protocol",
    "selector",
    "clusterIP",
    "clusterIPs",
    "type",
    "template",
    "containers",
    "replicas",
    "data",
    "endpoints",
    "addresses",
    "$patch",
    "$retainKeys",
    "$setElementOrder/ports",
    "op",
    "path",
    "value",
    "from",
    "conditions",
    "loadBalancer",
)
QUERIES = (
    "limit",
    "continue",
    "resourceVersion",
    "resourceVersionMatch",
    "labelSelector",
    "fieldSelector",
    "fieldManager",
    "fieldValidation",
    "dryRun",
    "force",
    "pretty",
    "includeObject",
    "gracePeriodSeconds",
    "propagationPolicy",
    "sendInitialEvents",
    "allowWatchBookmarks",
)
VALUES = ("1", "true", "-1", "All", "a=b", "a in (b", "metadata.name=x", "%00", "NotOlderThan")


class Generator:
    """Requests that are almost right."""

    def __init__(self, source: random.Random) -> None:
        self._random = source

    def path(self) -> str:
        choose = self._random.choice
        resource = choose(RESOURCES)
        base = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
        scope = choose(("/namespaces/default", "/namespaces/default", "", "/namespaces/nowhere"))
        path = base + scope + "/" + resource.resource
        if self._random.random() < 0.6:
            path += "/" + choose(("web", "app", "default", "%00", "a%2Fb", "..", "x" * 300))
            if self._random.random() < 0.3:
                path += "/" + choose((*resource.subresources, "nothing"))
        if self._random.random() < 0.05:
            path = "/" + "/".join(choose(("api", "v1", "apis", "", "%ff", "..")) for _ in range(4))
        names = self._random.sample(QUERIES, self._random.randrange(3))
        values = (
            "1",
            "true",
            "-1",
            "All",
            "a=b",
            "a in (b",
            "metadata.name=x",
            "%00",
            "NotOlderThan",
        )
        query = "&".join(f"{name}={choose(values)}" for name in names)
        return f"{path}?{query}" if query else path

    def value(self, depth: int = 0) -> Any:
        roll = self._random.random()
        if depth > 4 or roll < 0.35:
            scalars = (None, True, 0, -1, 80, 2**63, 1e400, 0.5, *WORDS)
            return self._random.choice(scalars)
        if roll < 0.85:
            names = self._random.sample(FIELDS, self._random.randrange(6))
            return {name: self.value(depth + 1) for name in names}
        return [self.value(depth + 1) for _ in range(self._random.randrange(4))]

    def document(self) -> Any:
        """A good Service or Deployment with a few parts exchanged."""
        good = self._random.choice(
            (
                {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {}}},
                {
                    "metadata": {"name": "app"},
                    "spec": {
                        "selector": {"matchLabels": {"a": "b"}},
                        "template": {
                            "metadata": {"labels": {"a": "b"}},
                            "spec": {"containers": [{"name": "c", "image": "i"}]},
                        },
                    },
                },
            )
        )
        document: dict[str, Any] = json.loads(json.dumps(good))
        for _ in range(self._random.randrange(3)):
            part: Any = document
            while isinstance(part, dict) and part and self._random.random() < 0.7:
                key = self._random.choice(list(part))
                if not isinstance(part[key], dict):
                    break
                part = part[key]
            part[self._random.choice((*part, *FIELDS))] = self.value(2)
        return document

    def body(self) -> bytes:
        roll = self._random.random()
        if roll < 0.1:
            return self._random.randbytes(self._random.randrange(200))
        if roll < 0.15:
            return b"k8s\x00" + self._random.randbytes(self._random.randrange(60))
        document = self.value() if roll < 0.4 else self.document()
        text = json.dumps(document).encode()
        return text[: self._random.randrange(len(text) + 1)] if roll > 0.95 else text


def test_generated_requests_leave_the_server_alive_and_correct(live: Live) -> None:
    generator, source = Generator(random.Random(4)), random.Random(5)
    services = "/api/v1/namespaces/default/services"
    kept = {"metadata": {"name": "kept"}, "spec": {"ports": [{"port": 80}]}}
    assert live.call("POST", services, kept).code == 201
    codes: set[int] = set()
    for number in range(REQUESTS):
        method, path, body = source.choice(METHODS), generator.path(), generator.body()
        reply = live.call(
            method,
            path,
            None if method in ("GET", "HEAD") else body,
            content_type=source.choice(TYPES),
            headers={"Accept": source.choice(ACCEPTS)},
        )
        codes.add(reply.code)
        evidence = (
            f"request {number}: {method} {path} {body!r} -> {reply.code} {reply.body[:500]!r}"
        )
        assert reply.code != 500 or b"see its log" not in reply.body, evidence
        assert b"Traceback" not in reply.body, evidence
        if reply.code >= 400 and method != "HEAD":
            status = reply.document
            assert (status["kind"], status["code"]) == ("Status", reply.code), evidence
    assert {200, 201, 400, 404, 405, 415, 422} <= codes
    assert live.call("POST", services, {**kept, "metadata": {"name": "after"}}).code == 201
    for resource in RESOURCES:
        if "list" in resource.verbs:
            base = f"/apis/{resource.group}/v1" if resource.group else "/api/v1"
            for accept in ACCEPTS[1:6]:
                listed = live.call("GET", f"{base}/{resource.resource}", headers={"Accept": accept})
                assert listed.code == 200, listed.body[:500]
