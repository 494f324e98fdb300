"""Lists in pieces: `limit` and `continue` over one unchanging state.

Source: apiserver pkg/storage/continue.go; catalogue of status codes: 410 once the state is gone.
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections import OrderedDict
from collections.abc import Callable, Mapping

from testbed.api import status
from testbed.api.documents import Document, name_of, namespace_of
from testbed.control.apiserver.requests import number

#: Unfinished lists that are remembered; the oldest goes first.
REMEMBERED = 64
#: The version in a token that goes on with whatever there is now.
INCONSISTENT = -1


class Pages:
    """Keeps the rest of a list for the request that continues it. Stored objects never change."""

    def __init__(self) -> None:
        self._lists: OrderedDict[int, tuple[str, list[Document]]] = OrderedDict()
        self._number = 0
        #: Tells this start's tokens from those of a server before it, whose lists are gone.
        self._start = secrets.token_hex(8)

    def first(
        self, found: list[Document], limit: int, version: int, key: str
    ) -> tuple[list[Document], Document]:
        """The first `limit` (0: all) of `found`, and the list's metadata."""
        if not limit or len(found) <= limit:
            return found, {"resourceVersion": str(version)}
        self._number += 1
        self._lists[self._number] = key, found
        while len(self._lists) > REMEMBERED:
            self._lists.popitem(last=False)
        return self._page(self._number, 0, limit, version)

    def next(
        self, token: str, limit: int, key: str, now: Callable[[], tuple[list[Document], int]]
    ) -> tuple[list[Document], Document]:
        """The piece that `token` continues with; raises StatusError (400, 410).

        `now` gives the objects and the version that there are now: a client whose list is gone is
        offered to go on with them.
        """
        try:
            state = json.loads(base64.urlsafe_b64decode(token.encode() + b"=="))
            listed, start, version = (int(state[field]) for field in ("list", "start", "rv"))
            after = [str(part) for part in state["after"]]
            ours = state["server"] == self._start
        except (ValueError, KeyError, TypeError, binascii.Error):
            raise status.bad_request("continue key is not valid") from None
        if version == INCONSISTENT:
            found, current = now()
            rest = [d for d in found if [namespace_of(d), name_of(d)] > after]
            return self.first(rest, limit, current, key)
        if not ours or self._lists.get(listed, ("", []))[0] != key or start < 0:
            raise _expired(_token({**state, "rv": INCONSISTENT}))
        return self._page(listed, start, limit, version)

    def _page(
        self, listed: int, start: int, limit: int, version: int
    ) -> tuple[list[Document], Document]:
        found = self._lists[listed][1]
        end = start + limit if limit else len(found)
        meta: Document = {"resourceVersion": str(version)}
        if end < len(found):
            last = found[end - 1]
            state = {"server": self._start, "list": listed, "start": end, "rv": version}
            meta["continue"] = _token({**state, "after": [namespace_of(last), name_of(last)]})
            meta["remainingItemCount"] = len(found) - end
        return found[start:end], meta


def _token(state: Document) -> str:
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode().rstrip("=")


def _expired(token: str) -> status.StatusError:
    """410 with the token by which the list goes on from where it was, in what there is now.

    Source: apiserver pkg/storage/etcd3/errors.go handleCompactedErrorForPaging.
    """
    error = status.gone(
        "The provided continue parameter is too old to display a consistent list result. You can "
        "start a new list without the continue parameter, or use the continue token in this "
        "response to retrieve the remainder of the results. Continuing with the provided token "
        "results in an inconsistent list - objects that were created, modified, or deleted between "
        "the time the first chunk was returned and now may show up in the list."
    )
    error.metadata["continue"] = token
    return error


def check_version(query: Mapping[str, str], current: int) -> None:
    """Whether a list can be answered from the `current` state; raises StatusError.

    Source: apimachinery meta/internalversion/validation, storage.NewTooLargeResourceVersionError.
    """
    match = query.get("resourceVersionMatch", "")
    text = query.get("resourceVersion", "")
    if "sendInitialEvents" in query:
        _forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list")
    if match and not text:
        _forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        )
    if match not in ("", "NotOlderThan", "Exact"):
        error = status.FieldError.not_supported(
            "resourceVersionMatch", match, ("Exact", "NotOlderThan", "")
        )
        raise status.invalid("ListOptions", "meta.k8s.io", "", [error])
    wanted = resource_version(query)
    if wanted is None:
        return
    if match == "Exact" and wanted < current:
        raise status.gone("The resourceVersion for the provided list is too old.")
    if wanted > current:
        raise too_large_version(wanted, current)


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


def _forbidden(field: str, detail: str) -> None:
    error = status.FieldError.forbidden(field, detail)
    raise status.invalid("ListOptions", "meta.k8s.io", "", [error])
