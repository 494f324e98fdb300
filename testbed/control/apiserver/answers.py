"""Answers: a document, its warnings and its form, as an HTTP response."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import yaml
from aiohttp import web

from testbed.api.documents import Document
from testbed.api.status import StatusError
from testbed.control.apiserver.encoding import encode
from testbed.control.apiserver.requests import YAML_TYPE, Form


def answer(
    value: Any,
    form: Form,
    *,
    code: int = 200,
    warnings: Sequence[str] = (),
    pretty: bool = False,
) -> web.Response:
    """`value` (a document, or bytes of one as JSON) in the form that was asked for."""
    if form.media == YAML_TYPE:
        document = json.loads(value) if isinstance(value, bytes) else value
        body = yaml.safe_dump(document, sort_keys=False).encode()
    elif isinstance(value, bytes) and not pretty:
        body = value
    elif pretty:
        document = json.loads(value) if isinstance(value, bytes) else value
        body = json.dumps(document, indent=2).encode() + b"\n"
    else:
        body = encode(value) + b"\n"
    response = web.Response(body=body, status=code, content_type=form.media)
    for text in warnings:
        response.headers.add("Warning", warning(text))
    return response


def refusal(error: StatusError, form: Form | None = None) -> web.Response:
    """A Status as a response."""
    response = answer(error.document(), form or Form(), code=error.code)
    if error.code in (429, 504):
        response.headers["Retry-After"] = str(error.details.get("retryAfterSeconds", 1))
    return response


def warning(text: str) -> str:
    """A Warning header's value. Source: apimachinery util/net NewWarningHeader."""
    shown = text.replace("\\", "\\\\").replace('"', '\\"')
    clean = "".join(char if char.isprintable() else " " for char in shown)
    return f'299 - "{clean}"'


def success(document: Document, group: str, resource: str) -> Document:
    """The Status that a delete answers with where it doesn't return the object."""
    meta = document["metadata"]
    details = {"name": meta.get("name", ""), "group": group, "kind": resource}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            **{key: value for key, value in details.items() if value},
            "uid": meta.get("uid", ""),
        },
    }
