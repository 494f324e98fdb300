"""Metadata of a write: what the server sets, keeps and makes of it before its rules are checked.

Sources: apiserver pkg/registry/rest/{meta,create,update}.go, pkg/endpoints/handlers/rest.go,
pkg/storage/names.
"""

from __future__ import annotations

import random
from typing import Any

from testbed.api import status
from testbed.api.documents import Document
from testbed.api.gojson import quote
from testbed.api.resources import COUNTED, ResourceType

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SUFFIX_LENGTH = 5
_NAME_LIMIT = 63

#: Set by the server, whatever a new object says.
_WIPED = (
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "selfLink",
)
#: Kinds whose names say what they are, and so aren't made up.
NAMED_BY_CLIENTS = frozenset({"ipaddresses"})
_DUPLICATE_OWNERS = (
    ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in "
    "1.20+, and may reject such requests as early as 1.24; please fix your requests; "
    "duplicate UID(s) observed: {}"
)


def fill(document: Document, kind: ResourceType, rng: random.Random) -> list[str]:
    """Make the metadata a new object's; returns warnings."""
    meta = document["metadata"]
    for name in _WIPED:
        meta.pop(name, None)
    if kind.resource in COUNTED:
        meta.pop("generation", None)
    if meta.get("generateName") and not meta.get("name"):
        base = str(meta["generateName"])
        named = kind.resource in NAMED_BY_CLIENTS
        meta["name"] = base if named else generated_name(base, rng)
    return single_owners(meta)


def generated_name(base: str, rng: random.Random) -> str:
    """`base` and five random letters, at most 63 characters."""
    start = base.encode()[: _NAME_LIMIT - _SUFFIX_LENGTH].decode(errors="ignore")
    return start + "".join(rng.choices(_SUFFIX_LETTERS, k=_SUFFIX_LENGTH))


def keep(document: Document, old: Document) -> list[str]:
    """Make the metadata a changed object's: what isn't sent is the stored one's; returns warnings.

    What may not change and is sent otherwise stays, for the rules to refuse.
    """
    meta, stored = document["metadata"], old["metadata"]
    if not meta.get("uid"):
        _take(meta, stored, "uid")
    for name in ("creationTimestamp", "deletionTimestamp"):
        if stored.get(name):
            meta[name] = stored[name]
    if meta.get("deletionGracePeriodSeconds") is None:
        _take(meta, stored, "deletionGracePeriodSeconds")
    _take(meta, stored, "generation")
    meta.pop("selfLink", None)
    return single_owners(meta)


def _take(meta: Document, stored: Document, name: str) -> None:
    if name in stored:
        meta[name] = stored[name]
    else:
        meta.pop(name, None)


#: Metadata that a write of a status keeps, where the kind asks for that.
_RESET = (
    "deletionTimestamp",
    "generation",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
)


def reset_for_status(document: Document, old: Document) -> None:
    """Let a write of status change nothing of the metadata. Source: ResetObjectMetaForStatus."""
    for name in _RESET:
        _take(document["metadata"], old["metadata"], name)


def single_owners(meta: Document) -> list[str]:
    """Drop owner references that say the same again, with a warning."""
    kept: list[Any] = []
    dropped: list[str] = []
    for reference in meta.get("ownerReferences", ()):
        if reference in kept:
            dropped.append(reference.get("uid", ""))
        else:
            kept.append(reference)
    if not dropped:
        return []
    meta["ownerReferences"] = kept
    return [_DUPLICATE_OWNERS.format(", ".join(dropped))]


def check_version(sent: str) -> int:
    """A resourceVersion as a number, 0 for none; raises StatusError (500)."""
    if not sent:
        return 0
    if not sent.isascii() or not sent.isdigit():
        raise status.plain_failure(f"strconv.ParseUint: parsing {quote(sent)}: invalid syntax")
    number = int(sent)
    if number >= 2**64:
        words = f"strconv.ParseUint: parsing {quote(sent)}: value out of range"
        raise status.plain_failure(words)
    return number


def refuse_version(document: Document) -> None:
    """A new object has no version of its own; one that can't be read goes unseen."""
    sent = str(document["metadata"].pop("resourceVersion", ""))
    if sent.isascii() and sent.isdigit() and 0 < int(sent) < 2**64:
        raise status.plain_failure("resourceVersion should not be set on objects to be created")
