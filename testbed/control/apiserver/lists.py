"""Lists in pieces and of the past: `limit`, `continue`, `resourceVersion`.

A token holds all that is needed to go on: the version of the list and where its next piece begins.
What was then is made from the history. Source: apiserver pkg/storage/{continue,interfaces}.go,
pkg/storage/cacher, pkg/storage/etcd3/errors.go.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.apiserver.requests import number

_TOKEN_VERSION = "meta.k8s.io/v1"
_EXPIRED = "The resourceVersion for the provided list is too old."
_CONTINUE_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start "
    "a new list without the continue parameter, or use the continue token in this response to "
    "retrieve the remainder of the results. Continuing with the provided token results in an "
    "inconsistent list - objects that were created, modified, or deleted between the time the "
    "first chunk was returned and now may show up in the list."
)
#: A token's version that stands for the present one, whatever that is.
_LATEST = -1


@dataclass(frozen=True, slots=True)
class Piece:
    """What part of a list is wanted: its `version` (None: of now), where it begins, how long.

    `limit` 0 is all there is. `counted`: what remains can be said, as no selector was given.
    """

    version: int | None
    start: tuple[str, str] | None
    limit: int
    counted: bool

    def cut(self, found: Sequence[Document], version: int) -> tuple[list[Document], Document]:
        """The piece of `found`, the whole list at `version`, and its metadata."""
        rest = list(found)
        if self.start is not None:
            start = self.start
            rest = [each for each in rest if (namespace_of(each), name_of(each)) >= start]
        meta: Document = {"resourceVersion": str(version)}
        if self.limit and len(rest) > self.limit:
            last = rest[self.limit - 1]
            meta["continue"] = _token(version, (namespace_of(last), f"{name_of(last)}\0"))
            if self.counted:
                meta["remainingItemCount"] = len(rest) - self.limit
            rest = rest[: self.limit]
        return rest, meta

    def expired(self) -> status.StatusError:
        """410: the version is no longer held."""
        if self.start is None:
            return status.gone(_EXPIRED)
        error = status.gone(_CONTINUE_EXPIRED)
        error.metadata = {"continue": _token(_LATEST, self.start)}
        return error


def parse(query: Mapping[str, str], current: int) -> Piece:
    """What a list's query asks for, where `current` is the newest version; raises StatusError."""
    _check(query)
    limit = max(0, number(query, "limit") or 0)
    number(query, "timeoutSeconds")
    counted = not query.get("labelSelector") and not query.get("fieldSelector")
    wanted = resource_version(query)
    if token := query.get("continue", ""):
        version, start = _read(token)
        if wanted:
            raise status.bad_request(
                "specifying resource version is not allowed when using continue"
            )
        return Piece(None if version == _LATEST else version, start, limit, counted)
    if wanted is not None and wanted > current:
        raise too_large_version(wanted, current)
    if query.get("resourceVersion") == "0":
        return Piece(None, None, 0, counted)  # from the cache, which has it all
    match = query.get("resourceVersionMatch", "")
    exact = match == "Exact" or (not match and limit > 0)
    return Piece(wanted if exact else None, None, limit, counted)


def _check(query: Mapping[str, str]) -> None:
    """Source: apimachinery meta/internalversion/validation ValidateListOptions."""
    match, text = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    field, errors = "resourceVersionMatch", []

    def forbidden(words: str, where: str = field) -> None:
        errors.append(status.FieldError.forbidden(where, words))

    if match:
        if not text:
            forbidden(f"{field} is forbidden unless resourceVersion is provided")
        if query.get("continue"):
            forbidden(f"{field} is forbidden when continue is provided")
        if match not in ("NotOlderThan", "Exact"):
            known = ("Exact", "NotOlderThan", "")
            errors.append(status.FieldError.not_supported(field, match, known))
        if match == "Exact" and text == "0":
            forbidden(f'{field} "exact" is forbidden for resourceVersion "0"')
    if "sendInitialEvents" in query:
        forbidden("sendInitialEvents is forbidden for list", "sendInitialEvents")
    if errors:
        raise status.invalid("ListOptions", "meta.k8s.io", "", errors)


def resource_version(query: Mapping[str, str]) -> int | None:
    """The query's resourceVersion, None where it is left out; raises StatusError."""
    try:
        wanted = number(query, "resourceVersion")
    except status.StatusError:
        wanted = -1
    if wanted is not None and wanted < 0:
        error = status.FieldError.invalid(
            "resourceVersion", query["resourceVersion"][:80], "must be a non-negative number"
        )
        raise status.invalid("ListOptions", "meta.k8s.io", "", [error])
    return wanted


def too_large_version(wanted: int, current: int) -> status.StatusError:
    """A version that hasn't come yet: the client is to come again."""
    message = f"Too large resource version: {wanted}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return status.StatusError(
        504, "Timeout", f"Timeout: {message}", {"causes": [cause], "retryAfterSeconds": 1}
    )


def _token(version: int, start: tuple[str, str]) -> str:
    """Where a list goes on, in the form of the API server's own tokens."""
    key = "/".join(part for part in start if part)
    text = json.dumps({"v": _TOKEN_VERSION, "rv": version, "start": key}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read(token: str) -> tuple[int, tuple[str, str]]:
    prefix = "invalid continue token: continue key is not valid"
    try:
        padded = token.encode() + b"=" * (-len(token) % 4)
        state = json.loads(base64.b64decode(padded, b"-_", validate=True))
        version, key = int(state["rv"]), str(state["start"])
        known = state["v"] == _TOKEN_VERSION
    except (ValueError, KeyError, TypeError, binascii.Error):
        raise status.bad_request(prefix) from None
    if not known:
        words = f"server does not recognize this encoded version {state['v']}"
        raise status.bad_request(f"{prefix}: {words}")
    if not version:
        words = f"incorrect encoded start resourceVersion (version {_TOKEN_VERSION})"
        raise status.bad_request(f"{prefix}: {words}")
    if not key:
        words = f"encoded start key empty (version {_TOKEN_VERSION})"
        raise status.bad_request(f"{prefix}: {words}")
    namespace, _, name = key.rpartition("/")
    return version, (namespace, name)
