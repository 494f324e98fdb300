"""Ingresses become one configuration: who gets a path, which endpoints, which certificate."""

from __future__ import annotations

import base64
from typing import Any

from testbed.api.documents import Document
from testbed.api.objects import EndpointSlice, NamespacedName, Service
from testbed.ingress.build import World, build
from testbed.ingress.certificate import self_signed
from testbed.ingress.model import Configuration, Host, Location, render
from testbed.ingress.server import complaint

PEM_KEY = "-----BEGIN PRIVATE"
Told = list[tuple[str, str, str]]


def ingress(name: str, spec: Document, *, at: str = "1", **annotations: str) -> Document:
    meta = {"name": name, "namespace": "default", "uid": name, "creationTimestamp": at}
    notes = {
        f"nginx.ingress.kubernetes.io/{k.replace('_', '-')}": v for k, v in annotations.items()
    }
    return {"metadata": {**meta, "annotations": notes}, "spec": spec}


def rule(host: str, path: str, service: str = "web", kind: str = "Prefix", **port: Any) -> Document:
    backend = {"service": {"name": service, "port": port or {"number": 80}}}
    paths = [{"path": path, "pathType": kind, "backend": backend}]
    return ({"host": host} if host else {}) | {"http": {"paths": paths}}


def world(**secrets: Document) -> World:
    key = NamespacedName("default", "web")
    service = Service.from_document(
        {
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {
                "clusterIP": "10.96.0.5",
                "ports": [
                    {"name": "http", "port": 80, "targetPort": 8080},
                    {"name": "admin", "port": 81, "targetPort": 9090},
                ],
            },
        }
    )
    part = EndpointSlice.from_document(
        {
            "metadata": {
                "name": "web-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": "web"},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": ["10.0.0.2"], "conditions": {"ready": True}},
                {"addresses": ["10.0.0.3"], "conditions": {"ready": False}},
            ],
            "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9090}],
        }
    )
    named = {NamespacedName("default", name): document for name, document in secrets.items()}
    return World({key: service}, {key: (part,)}, named)


def secret_data(pem: str, key: str = "") -> Document:
    chain, own = pem[: pem.index(PEM_KEY)], pem[pem.index(PEM_KEY) :]
    parts = {"tls.crt": chain, "tls.key": key or own}
    return {name: base64.b64encode(text.encode()).decode() for name, text in parts.items()}


def built(*documents: Document, **secrets: Document) -> tuple[Configuration, Told]:
    told: Told = []

    def tell(document: Document, reason: str, message: str) -> None:
        told.append((document["metadata"]["name"], reason, message))

    return build(documents, world(**secrets), tell), told


def host_of(configuration: Configuration, name: str) -> Host:
    return next(host for host in configuration.hosts if host.name == name)


def test_only_ready_endpoints_of_the_named_port_are_backends() -> None:
    made, told = built(ingress("a", {"rules": [rule("x.org", "/", name="admin")]}))
    assert [(b.name, b.endpoints) for b in made.backends] == [
        ("default_web_admin", ("10.0.0.2:9090",))
    ]
    assert told == []


def test_the_oldest_ingress_keeps_a_path_that_two_claim() -> None:
    young = ingress("young", {"rules": [rule("x.org", "/a", number=81)]}, at="2")
    old = ingress("old", {"rules": [rule("x.org", "/a")]}, at="1")
    made, told = built(young, old)
    assert host_of(made, "x.org").locations == (Location("/a", "prefix", "default_web_http"),)
    assert told == [
        (
            "young",
            "Conflict",
            'host "x.org" and path "/a" is already defined in ingress default/old',
        )
    ]


def test_several_ingresses_share_a_host() -> None:
    first = ingress("first", {"rules": [rule("x.org", "/a")]})
    second = ingress("second", {"rules": [rule("x.org", "/b", number=81)]})
    made, _ = built(first, second)
    assert [each.path for each in host_of(made, "x.org").locations] == ["/a", "/b"]


def test_what_is_not_there_is_told_and_answers_503() -> None:
    made, told = built(
        ingress("a", {"rules": [rule("x.org", "/", "nobody"), rule("y.org", "/", number=99)]})
    )
    assert [host.locations[0].backend for host in made.hosts] == ["", ""]
    assert [(reason, message) for _, reason, message in told] == [
        ("ServiceNotFound", "service default/nobody does not exist"),
        ("PortNotFound", "service default/web has no port 99"),
    ]
    assert "return 503;" in render(made, "/d")


def test_a_default_backend_takes_what_rules_leave() -> None:
    default = {"service": {"name": "web", "port": {"number": 81}}}
    alone, _ = built(ingress("a", {"defaultBackend": default}))
    assert host_of(alone, "").locations == (Location("/", "prefix", "default_web_admin"),)
    beside, _ = built(ingress("a", {"defaultBackend": default, "rules": [rule("x.org", "/a")]}))
    assert [each.path for each in host_of(beside, "x.org").locations] == ["/a", "/"]


def test_a_certificate_comes_from_its_secret_and_redirects() -> None:
    spec = {"rules": [rule("x.org", "/")], "tls": [{"hosts": ["x.org"], "secretName": "cert"}]}
    data = secret_data(self_signed("x"))
    made, told = built(ingress("a", spec), cert={"data": data})
    host = host_of(made, "x.org")
    assert (host.certificate, host.redirect) == ("default_cert", True)
    assert made.certificates == {"default_cert": self_signed("x")}
    assert told == []
    without, told = built(ingress("a", spec, ssl_redirect="false"))
    assert host_of(without, "x.org").certificate == "default"
    assert not host_of(without, "x.org").redirect
    assert told == [("a", "SecretNotFound", "secret default/cert does not exist")]


def test_words_of_a_user_cannot_leave_their_quotes() -> None:
    made, _ = built(ingress("a", {"rules": [rule("x.org", '/a"; evil {', kind="Exact")]}))
    assert r'location = "/a\"; evil {" {' in render(made, "/d")


def test_an_exact_path_takes_the_place_of_its_prefix_on_the_same_host() -> None:
    both = [rule("x.org", "/a", kind="Exact"), rule("x.org", "/a", number=81)]
    made, told = built(ingress("a", {"rules": both[:1]}), ingress("b", {"rules": both[1:]}))
    text = render(made, "/d")
    assert text.count('location = "/a" {') == 1
    assert text.count('location "/a/" {') == 1
    assert told == []


def test_a_secret_whose_key_is_another_certificates_gives_way_to_the_default() -> None:
    spec = {"rules": [rule("x.org", "/")], "tls": [{"hosts": ["x.org"], "secretName": "cert"}]}
    other = self_signed("y")
    for data in (
        secret_data(self_signed("x"), other[other.index(PEM_KEY) :]),
        secret_data(self_signed("x"), "no key"),
        {},
    ):
        made, told = built(ingress("a", spec), cert={"data": data})
        assert host_of(made, "x.org").certificate == "default"
        assert made.certificates == {}
        assert told == [
            ("a", "BadSecret", "secret default/cert has no tls.crt and its tls.key in PEM")
        ]


def test_backends_of_different_namespaces_never_share_a_name() -> None:
    names = set()
    for namespace, name in (("a-b", "c"), ("a", "b-c")):
        key = NamespacedName(namespace, name)
        service = Service.from_document(
            {"metadata": {"name": name, "namespace": namespace}, "spec": {"ports": [{"port": 80}]}}
        )
        document = ingress("i", {"rules": [rule("x.org", "/", name, number=80)]})
        document["metadata"]["namespace"] = namespace
        made = build([document], World({key: service}, {}, {}), lambda *_: None)
        names |= {backend.name for backend in made.backends}
    assert len(names) == 2


def test_a_complaint_of_nginx_is_the_same_each_time() -> None:
    said = 'nginx: [emerg] {0}#{0}: duplicate location "/a" in /run/x/{0}/check.conf:5{0}\n'
    assert complaint(said.format(12)) == complaint(said.format(3)) == 'duplicate location "/a"'


def test_a_wildcard_certificate_is_shown_for_the_hosts_that_it_covers() -> None:
    hosts = ("a.x.org", "own.x.org", "b.a.x.org", "x.org")
    spec = {
        "rules": [rule(host, "/") for host in hosts],
        "tls": [
            {"hosts": ["own.x.org"], "secretName": "own"},
            {"hosts": ["*.x.org"], "secretName": "cert"},
        ],
    }
    data = {"data": secret_data(self_signed("x"))}
    made, told = built(ingress("a", spec), cert=data, own=data)
    shown = {name: host_of(made, name) for name in hosts}
    assert [shown[name].certificate for name in hosts] == [
        "default_cert",
        "default_own",
        "default",
        "default",
    ]
    assert [shown[name].redirect for name in hosts] == [True, True, False, False]
    assert told == []
