"""Tokens of ServiceAccounts: signed here, for Pods and `kubectl create token`, and read again.

Source: pkg/serviceaccount (claims.go, jwt.go), pkg/registry/core/serviceaccount/storage/token.go.
"""

from __future__ import annotations

import base64
import hashlib
import json
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.apiserver.auth import User
from testbed.control.apiserver.tls import write_private
from testbed.control.store import Store

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

#: Who issues, and whom tokens are for unless they say otherwise.
ISSUER = "https://kubernetes.default.svc.cluster.local"
#: What kubelet asks for, and how long such a token really holds (s).
POD_SECONDS, EXTENDED_SECONDS = 3607, 365 * 86400
_SHORTEST, _LONGEST = 600, 1 << 32
_KEY_FILE = "sa.key"
_GROUP = "authentication.k8s.io"
#: What a token may be bound to, with the claim that names it.
_BOUND = {"Pod": ("pods", "pod"), "Secret": ("secrets", "secret"), "Node": ("nodes", "node")}


class ServiceAccountTokens:
    """Signs with a key in `directory`, made there on first use; `wall` is the time in seconds."""

    def __init__(self, directory: Path, store: Store, wall: Callable[[], float]) -> None:
        self._key = _key(directory)
        self._store = store
        self._wall = wall
        self._kid = _key_id(self._key)

    def for_pod(self, pod: Document, audience: str, seconds: int) -> str:
        """The token of a Pod's ServiceAccount, which ends with the Pod."""
        name = str(pod["spec"].get("serviceAccountName") or "default")
        account = self._store.get("serviceaccounts", namespace_of(pod), name)
        if seconds == POD_SECONDS and not audience:
            seconds = EXTENDED_SECONDS
        bound: dict[str, Document] = {"pod": pod}
        node = self._store.find("nodes", "", str(pod["spec"].get("nodeName") or ""))
        if node is not None:
            bound["node"] = node
        return self._sign(account, [audience or ISSUER], seconds, bound)

    def request(self, account: Document, document: Document) -> Document:
        """The answer to a TokenRequest; raises StatusError."""
        spec = document.get("spec") or {}
        seconds = spec.get("expirationSeconds")
        seconds = 3600 if seconds is None else seconds
        audiences = list(spec.get("audiences") or [ISSUER])
        if not _SHORTEST <= seconds <= _LONGEST:
            few = "less than 10 minutes" if seconds < _SHORTEST else "larger than 2^32 seconds"
            words = f"may not specify a duration {few}"
            wrong = status.FieldError.invalid("spec.expirationSeconds", seconds, words)
            raise status.invalid("TokenRequest", _GROUP, "", [wrong])
        bound = self._bound(account, spec.get("boundObjectRef"))
        token = self._sign(account, audiences, seconds, bound)
        meta = {"name": name_of(account), "namespace": namespace_of(account)}
        return {
            "kind": "TokenRequest",
            "apiVersion": f"{_GROUP}/v1",
            "metadata": {**meta, "creationTimestamp": _timestamp(self._wall())},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": seconds,
                "boundObjectRef": spec.get("boundObjectRef"),
            },
            "status": {
                "token": token,
                "expirationTimestamp": _timestamp(self._wall() + seconds),
            },
        }

    def user(self, token: str, audience: str = ISSUER) -> User | None:
        """Whose token this is; None for one that isn't ours, or doesn't hold (any more)."""
        claims = self._claims(token)
        if claims is None or not claims["nbf"] <= self._wall() < claims["exp"]:
            return None
        if claims["iss"] != ISSUER or audience not in claims["aud"]:
            return None
        named = claims["kubernetes.io"]
        namespace, account = named["namespace"], named["serviceaccount"]
        if not self._is_there("serviceaccounts", namespace, account):
            return None
        for resource, claim in _BOUND.values():
            where = "" if resource == "nodes" else namespace
            if claim in named and not self._is_there(resource, where, named[claim]):
                return None
        extra = {"authentication.kubernetes.io/credential-id": (f"JTI={claims['jti']}",)}
        for claim in ("node", "pod"):
            for field in ("name", "uid") if claim in named else ():
                key = f"authentication.kubernetes.io/{claim}-{field}"
                extra[key] = (named[claim][field],)
        groups = "system:serviceaccounts", f"system:serviceaccounts:{namespace}"
        everyone = (*groups, "system:authenticated")
        return User(claims["sub"], everyone, account["uid"], extra)

    def _is_there(self, resource: str, namespace: str, named: Document) -> bool:
        found = self._store.find(resource, namespace, named["name"])
        return found is not None and found["metadata"]["uid"] == named["uid"]

    def _bound(self, account: Document, reference: Document | None) -> dict[str, Document]:
        """The object that a request binds its token to, by the claim that names it."""
        if not reference:
            return {}
        kind, name = str(reference.get("kind")), str(reference.get("name"))
        if kind not in _BOUND:
            words = f"cannot bind token for serviceaccount to a {kind}"
            raise status.bad_request(words)
        resource, claim = _BOUND[kind]
        namespace = "" if resource == "nodes" else namespace_of(account)
        found = self._store.find(resource, namespace, name)
        if found is None:
            raise status.not_found(resource, name)
        uid = reference.get("uid")
        if uid and uid != found["metadata"]["uid"]:
            detail = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise status.conflict(resource, name, "", detail)
        return {claim: found}

    # signing

    def _sign(
        self, account: Document, audiences: list[str], seconds: int, bound: dict[str, Document]
    ) -> str:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        now = int(self._wall())
        named: Document = {"namespace": namespace_of(account), "serviceaccount": _named(account)}
        named |= {claim: _named(document) for claim, document in bound.items()}
        claims = {
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "kubernetes.io": named,
            "nbf": now,
            "sub": f"system:serviceaccount:{namespace_of(account)}:{name_of(account)}",
        }
        text = f"{_encoded({'alg': 'ES256', 'kid': self._kid})}.{_encoded(claims)}"
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = utils.decode_dss_signature(signature)
        return f"{text}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that we have signed."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, utils

        text, _, signature = token.rpartition(".")
        try:
            raw = _bytes(signature)
            r, s = (int.from_bytes(part, "big") for part in (raw[:32], raw[32:]))
            header, claims = (json.loads(_bytes(part)) for part in text.split("."))
            if header != {"alg": "ES256", "kid": self._kid}:
                return None
            public, der = self._key.public_key(), utils.encode_dss_signature(r, s)
            public.verify(der, text.encode(), ec.ECDSA(hashes.SHA256()))
        except (ValueError, InvalidSignature):
            return None
        return dict(claims)


def _key(directory: Path) -> EllipticCurvePrivateKey:
    """The key in `directory`; made there the first time."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    file = directory / _KEY_FILE
    if file.exists():
        found = serialization.load_pem_private_key(file.read_bytes(), None)
        assert isinstance(found, ec.EllipticCurvePrivateKey)
        return found
    made = ec.generate_private_key(ec.SECP256R1())
    pem = made.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_private(file, pem.decode())
    return made


def _key_id(key: EllipticCurvePrivateKey) -> str:
    """Source: pkg/serviceaccount/jwt.go keyIDFromPublicKey."""
    from cryptography.hazmat.primitives import serialization

    der = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _base64(hashlib.sha256(der).digest())


def _named(document: Document) -> Document:
    return {"name": name_of(document), "uid": document["metadata"]["uid"]}


def _encoded(value: Any) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
