"""Objects as bytes, encoded once per version however many lists and watches send them."""

from __future__ import annotations

import json
from typing import Any

from testbed.api.documents import Document


def encode(value: Any) -> bytes:
    """`value` as compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


class Encoder:
    """Remembers the encoded form of the newest version of each stored object, by uid."""

    def __init__(self) -> None:
        self._encoded: dict[str, tuple[str, bytes]] = {}

    def object(self, document: Document) -> bytes:
        """A stored object, as JSON."""
        meta = document["metadata"]
        uid, version = meta.get("uid", ""), meta.get("resourceVersion", "")
        known = self._encoded.get(uid)
        if known is not None and known[0] == version:
            return known[1]
        data = encode(document)
        if uid:
            self._encoded[uid] = version, data
        return data

    def forget(self, document: Document) -> None:
        """Drop what is remembered of an object that is gone."""
        self._encoded.pop(document["metadata"].get("uid", ""), None)

    def list(self, kind: str, api_version: str, meta: Document, items: list[Document]) -> bytes:
        """A `<kind>List` of stored objects."""
        head = encode({"kind": f"{kind}List", "apiVersion": api_version, "metadata": meta})
        body = b",".join([self.object(item) for item in items])
        return head[:-1] + b',"items":[' + body + b"]}\n"
