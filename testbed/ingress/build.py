"""Ingresses and what they name, put together into one configuration. Pure.

Source: networking.k8s.io/v1 (path types, wildcards, default backends); ingress-nginx decides where
the API leaves a choice: the oldest Ingress keeps a path that two claim, a host's unclaimed paths go
to its Ingress's default backend, HTTP is redirected where there is a certificate.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.objects import (
    EndpointSlice,
    NamespacedName,
    Service,
    ServicePort,
    family_of,
)
from testbed.ingress.certificate import is_pair
from testbed.ingress.model import DEFAULT_CERTIFICATE, Backend, Configuration, Host, Location, Match

_ANNOTATIONS = "nginx.ingress.kubernetes.io/"
REWRITE, REGEX, REDIRECT = (
    f"{_ANNOTATIONS}{name}" for name in ("rewrite-target", "use-regex", "ssl-redirect")
)

#: Told about an Ingress: (its document, reason, message).
Tell: TypeAlias = Callable[[Document, str, str], None]


@dataclass(frozen=True, slots=True)
class World:
    """What Ingresses may name, by key; slices by their Service."""

    services: Mapping[NamespacedName, Service]
    slices: Mapping[NamespacedName, tuple[EndpointSlice, ...]]
    secrets: Mapping[NamespacedName, Document]


@dataclass(slots=True)
class _Draft:
    """A host while it is put together: its locations by (path, match)."""

    locations: dict[tuple[str, Match], Location] = field(default_factory=dict)
    owners: dict[tuple[str, Match], NamespacedName] = field(default_factory=dict)
    certificate: str = DEFAULT_CERTIFICATE
    redirect: bool = False


def age(document: Document) -> tuple[str, str, str]:
    """Ingresses in the order in which they may claim paths."""
    stamp = document["metadata"].get("creationTimestamp") or ""
    return stamp, namespace_of(document), name_of(document)


def build(
    ingresses: Iterable[Document], world: World, tell: Tell, *, proxy_protocol: bool = False
) -> Configuration:
    """The configuration of these Ingresses; `tell` hears what can't be done as written."""
    builder = _Builder(world, tell)
    for document in sorted(ingresses, key=age):
        builder.add(document)
    hosts = tuple(
        Host(name, tuple(draft.locations.values()), draft.certificate, draft.redirect)
        for name, draft in sorted(builder.drafts.items())
    )
    backends = tuple(builder.backends[name] for name in sorted(builder.backends))
    return Configuration(hosts, backends, builder.certificates, proxy_protocol)


class _Builder:
    def __init__(self, world: World, tell: Tell) -> None:
        self._world = world
        self._tell = tell
        self.drafts: dict[str, _Draft] = {}
        self.backends: dict[str, Backend] = {}
        self.certificates: dict[str, str] = {}

    def add(self, document: Document) -> None:
        """Take an Ingress in."""
        spec = document["spec"]
        rules = spec.get("rules") or ()
        for rule in rules:
            host = rule.get("host") or ""
            for path in (rule.get("http") or {}).get("paths") or ():
                self._claim(document, host, self._location(document, path))
        default = spec.get("defaultBackend")
        if default:
            backend = self._backend(document, default)
            # With rules it is for their hosts' other paths, without for all other hosts.
            for host in {rule.get("host") or "" for rule in rules} or {""}:
                self._claim(document, host, Location("/", "prefix", backend), default=True)
        for entry in spec.get("tls") or ():
            self._secure(document, entry)

    def _claim(
        self, document: Document, host: str, location: Location, *, default: bool = False
    ) -> None:
        draft = self.drafts.setdefault(host, _Draft())
        key = location.path, location.match
        owner = draft.owners.get(key)
        if owner is None:
            draft.locations[key] = location
            draft.owners[key] = NamespacedName(namespace_of(document), name_of(document))
        elif not default:
            self._tell(
                document,
                "Conflict",
                f'host "{host or "*"}" and path "{location.path}" is already defined in ingress '
                f"{owner}",
            )

    def _location(self, document: Document, path: Document) -> Location:
        annotations = document["metadata"].get("annotations") or {}
        backend = self._backend(document, path["backend"])
        text, kind = path.get("path") or "/", path.get("pathType")
        rewrite = annotations.get(REWRITE, "")
        if annotations.get(REGEX) == "true" and kind != "Exact":
            return Location(text, "regex", backend, rewrite)
        if kind == "Exact":
            return Location(text, "exact", backend, rewrite)
        return Location(text.rstrip("/") or "/", "prefix", backend, rewrite)

    # backends

    def _backend(self, document: Document, backend: Document) -> str:
        """The name of a backend that was made; "" where it can't be."""
        named = backend.get("service")
        if not named:
            self._tell(document, "UnsupportedBackend", "only Services can be backends here")
            return ""
        key = NamespacedName(namespace_of(document), named["name"])
        service = self._world.services.get(key)
        if service is None:
            self._tell(document, "ServiceNotFound", f"service {key} does not exist")
            return ""
        port = _port_of(service, named.get("port") or {})
        if port is None:
            wanted = (named.get("port") or {}).get("name") or (named.get("port") or {}).get(
                "number"
            )
            self._tell(document, "PortNotFound", f"service {key} has no port {wanted}")
            return ""
        name = f"{key.namespace}_{key.name}_{port.name or port.port}"
        self.backends[name] = Backend(name, self._endpoints(key, port))
        return name

    def _endpoints(self, key: NamespacedName, port: ServicePort) -> tuple[str, ...]:
        """Ready endpoints as address:port."""
        found: dict[str, None] = {}
        for part in self._world.slices.get(key, ()):
            numbers = [p.port for p in part.ports if (p.name or "") == port.name and p.port]
            for endpoint in part.endpoints:
                if endpoint.ready is False:
                    continue
                for address in endpoint.addresses:
                    host = f"[{address}]" if family_of(address) == "IPv6" else address
                    found |= {f"{host}:{number}": None for number in numbers}
        return tuple(sorted(found))

    # certificates

    def _secure(self, document: Document, entry: Document) -> None:
        rules = document["spec"].get("rules") or ()
        hosts = entry.get("hosts") or [rule.get("host") or "" for rule in rules]
        annotations = document["metadata"].get("annotations") or {}
        certificate = self._certificate(document, entry.get("secretName") or "")
        for host in hosts:
            drafts = [self.drafts.setdefault(host, _Draft())]
            # A wildcard is also for the hosts of its Ingress that have no certificate of their own.
            covered = [
                self.drafts[name] for name in _covered(document, host) if name in self.drafts
            ]
            drafts += [each for each in covered if each.certificate == DEFAULT_CERTIFICATE]
            for draft in drafts:
                draft.certificate = certificate
                draft.redirect = annotations.get(REDIRECT) != "false"

    def _certificate(self, document: Document, secret: str) -> str:
        key = NamespacedName(namespace_of(document), secret)
        found = self._world.secrets.get(key)
        if found is None:
            if secret:
                self._tell(document, "SecretNotFound", f"secret {key} does not exist")
            return DEFAULT_CERTIFICATE
        data = found.get("data") or {}
        try:
            parts = [base64.b64decode(data[name]).decode() for name in ("tls.crt", "tls.key")]
        except (KeyError, TypeError, ValueError):
            parts = []
        pem = "\n".join(part.strip() for part in parts) + "\n"
        if not is_pair(pem):
            self._tell(document, "BadSecret", f"secret {key} has no tls.crt and its tls.key in PEM")
            return DEFAULT_CERTIFICATE
        name = f"{key.namespace}_{key.name}"
        self.certificates[name] = pem
        return name


def _covered(document: Document, wildcard: str) -> list[str]:
    """The hosts of an Ingress' rules that a wildcard of its TLS hosts is for: one label more."""
    if not wildcard.startswith("*."):
        return []
    spec = document["spec"]
    named = {host for entry in spec["tls"] for host in entry.get("hosts") or ()}
    hosts = {rule.get("host") or "" for rule in spec.get("rules") or ()} - named
    return sorted(host for host in hosts if "." in host and host.partition(".")[2] == wildcard[2:])


def _port_of(service: Service, wanted: Document) -> ServicePort | None:
    for port in service.ports:
        if (
            wanted.get("name") == port.name
            if wanted.get("name")
            else wanted.get("number") == port.port
        ):
            return port
    return None
