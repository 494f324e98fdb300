"""Impersonation, and what somebody without powers may do."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import aiohttp

from tests.unit.control.apiserver.live import Document, Live

BOB = {"Impersonate-User": "bob"}
WHOAMI = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def may(live: Live, headers: dict[str, str]) -> bool:
    spec = {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "default"}}
    reply = live.call("POST", REVIEW, {"spec": spec}, headers=headers)
    assert reply.code == 201
    return bool(reply.document["status"]["allowed"])


def test_the_administrator_is_whom_it_wants_to_be(live: Live) -> None:
    headers = {
        **BOB,
        "Impersonate-Group": "dev",
        "Impersonate-Uid": "7",
        "Impersonate-Extra-Some%2fThing": "x",
    }
    info = live.call("POST", WHOAMI, {}, headers=headers).document["status"]["userInfo"]
    assert info == {
        "username": "bob",
        "groups": ["dev", "system:authenticated"],
        "uid": "7",
        "extra": {"some/thing": ["x"]},
    }


def test_who_has_no_powers_is_told_so(live: Live) -> None:
    assert may(live, {})
    assert not may(live, BOB)
    assert may(live, {**BOB, "Impersonate-Group": "system:masters"})
    assert may(live, {"Impersonate-User": "system:serviceaccount:default:default"})
    reply = live.call("GET", "/api/v1/namespaces/default/pods", headers=BOB)
    assert (reply.code, reply.document["reason"]) == (403, "Forbidden")
    assert reply.document["message"] == (
        'pods is forbidden: User "bob" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )
    assert reply.document["details"] == {"kind": "pods"}
    reply = live.call("GET", "/apis/apps/v1/deployments", headers=BOB)
    assert reply.document["message"] == (
        'deployments.apps is forbidden: User "bob" cannot list resource "deployments" '
        'in API group "apps" at the cluster scope'
    )
    assert live.call("GET", "/api/v1", headers=BOB).code == 200
    assert live.call("GET", "/metrics", headers=BOB).document["message"] == (
        'forbidden: User "bob" cannot get path "/metrics"'
    )


def test_a_user_name_is_needed_to_impersonate(live: Live) -> None:
    reply = live.call("GET", "/api/v1/pods", headers={"Impersonate-Group": "dev"})
    assert reply.code == 500


def test_a_review_of_another_is_of_that_one(live: Live) -> None:
    def allowed(**spec: object) -> bool:
        path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
        attributes = {"verb": "get", "resource": "pods"}
        sent = {"spec": {"resourceAttributes": attributes, **spec}}
        document: Document = live.call("POST", path, sent).document
        return bool(document["status"]["allowed"])

    assert not allowed(user="bob")
    assert allowed(user="bob", groups=["system:masters"])


def test_a_certificate_is_named_by_its_hash(live: Live, tmp_path: Path) -> None:
    context = ssl.create_default_context(cadata=live.server.credentials.ca)
    pki = tmp_path / "pki"
    context.load_cert_chain(pki / "client.crt", pki / "client.key")
    der = ssl.PEM_cert_to_DER_cert((pki / "client.crt").read_text())

    async def ask() -> Document:
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.post(live.server.url + WHOAMI, json={}) as response,
        ):
            found: Document = await response.json()
            return found

    extra = live.run(ask())["status"]["userInfo"]["extra"]
    found = f"X509SHA256={hashlib.sha256(der).hexdigest()}"
    assert extra == {"authentication.kubernetes.io/credential-id": [found]}
