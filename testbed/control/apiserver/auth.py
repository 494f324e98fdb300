"""Who may call: a client certificate of the lab's authority, its bearer token, or a ServiceAccount.

What they may do is `authorization`'s.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

#: Paths that anyone may read. Source: rbac bootstrap policy system:public-info-viewer.
PUBLIC_PATHS = frozenset({"/healthz", "/livez", "/readyz", "/version", "/version/"})


@dataclass(frozen=True, slots=True)
class User:
    """A caller as the access reviews name it."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def document(self) -> dict[str, Any]:
        """A UserInfo of the authentication API."""
        info: dict[str, Any] = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            info["uid"] = self.uid
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra.items()}
        return info


CREDENTIAL_ID = "authentication.kubernetes.io/credential-id"
ADMINISTRATOR = User("kubernetes-admin", ("system:masters", "system:authenticated"))


#: Whose bearer token this is, if anybody's.
Bearer: TypeAlias = Callable[[str], User | None]


def bearer_of(token: str, accounts: Bearer) -> Bearer:
    """Knows the administrator by `token`, and others as `accounts` does."""

    def user(sent: str) -> User | None:
        if hmac.compare_digest(sent.encode(errors="surrogateescape"), token.encode()):
            return ADMINISTRATOR
        return accounts(sent)

    return user


def authenticate(certificate: Any, authorization: str, bearer: Bearer) -> User | None:
    """The user of a (verified) peer certificate or an Authorization header; None for neither."""
    if certificate:
        return _user_of(certificate)
    scheme, _, sent = authorization.partition(" ")
    return bearer(sent.strip()) if scheme.lower() == "bearer" else None


def with_credential(user: User, certificate: bytes) -> User:
    """`user`, who showed this certificate (DER).

    Source: apiserver pkg/authentication/request/x509.
    """
    found = f"X509SHA256={hashlib.sha256(certificate).hexdigest()}"
    return replace(user, extra={**user.extra, CREDENTIAL_ID: (found,)})


def _user_of(certificate: Any) -> User:
    names = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    common = next((value for key, value in names if key == "commonName"), "")
    groups = tuple(value for key, value in names if key == "organizationName")
    return User(str(common), (*groups, "system:authenticated"))
