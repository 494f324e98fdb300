"""Who may call: a client certificate of the lab's authority, or its bearer token.

Whoever has either is the lab's administrator; there is no further authorization.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

#: Paths that anyone may read. Source: rbac bootstrap policy system:public-info-viewer.
PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


@dataclass(frozen=True, slots=True)
class User:
    """A caller as the access reviews name it."""

    name: str
    groups: tuple[str, ...]


ADMINISTRATOR = User("kubernetes-admin", ("system:masters", "system:authenticated"))


def authenticate(certificate: Any, authorization: str, token: str) -> User | None:
    """The user of a (verified) peer certificate or an Authorization header; None for neither."""
    if certificate:
        return _user_of(certificate)
    scheme, _, sent = authorization.partition(" ")
    if scheme.lower() == "bearer" and hmac.compare_digest(sent.strip().encode(), token.encode()):
        return ADMINISTRATOR
    return None


def _user_of(certificate: Any) -> User:
    names = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    common = next((value for key, value in names if key == "commonName"), "")
    groups = tuple(value for key, value in names if key == "organizationName")
    return User(str(common), (*groups, "system:authenticated"))
