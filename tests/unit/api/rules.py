"""What the tables of V-rules share: short ways to write objects and to ask for an answer."""

from __future__ import annotations

import copy
import random
from typing import Any

from testbed.api.admission import Admission
from testbed.api.documents import Document
from testbed.api.resources import RESOURCES
from testbed.api.status import StatusError

RESOURCE_OF = {entry.kind: entry.resource for entry in RESOURCES if entry.group != "events.k8s.io"}
VERSION_OF = {
    entry.kind: entry.api_version for entry in RESOURCES if entry.group != "events.k8s.io"
}
NAMESPACED = {entry.kind: entry.namespaced for entry in RESOURCES}

#: The abbreviations of catalogue 2.1 and 2.2.
TEXTS = {
    "<L>": (
        "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
        "and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', "
        "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
    ),
    "<SD>": (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or "
        "'.', and must start and end with an alphanumeric character (e.g. 'example.com', regex "
        r"used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
    ),
    "<Q>": (
        "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and "
        "end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex "
        "used for validation is '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
    ),
    "<IP>": "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
    "<CIDR>": "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
    "<P>": "must be between 1 and 65535, inclusive",
}

KUBERNETES: Document = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "kubernetes", "namespace": "default"},
    "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"]},
}
#: A Service of someone else that has port 30081.
TAKEN: Document = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "taken", "namespace": "default"},
    "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30081}]},
}


def admission() -> Admission:
    made = Admission(rng=random.Random(7))
    made.restore([KUBERNETES, TAKEN])
    return made


def obj(kind: str, name: str, spec: Any = None, **members: Any) -> Document:
    """An object of `kind`; `meta` joins its metadata."""
    meta = {"name": name, **members.pop("meta", {})}
    out = {"apiVersion": VERSION_OF[kind], "kind": kind, "metadata": meta, **members}
    if spec is not None:
        out["spec"] = spec
    return out


def svc(name: str = "s", *, meta: Document | None = None, **spec: Any) -> Document:
    """A Service with one port, unless `ports` says otherwise."""
    return obj("Service", name, {"ports": [{"port": 80}], **spec}, meta=meta or {})


def create(document: Document, **options: Any) -> tuple[Document, tuple[str, ...]]:
    """The admitted object and its warnings; raises StatusError."""
    made = options.pop("admission", None) or admission()
    namespace = "default" if NAMESPACED[document["kind"]] else ""
    admitted = made.create(
        RESOURCE_OF[document["kind"]], copy.deepcopy(document), namespace=namespace, **options
    )
    return admitted.document, admitted.warnings


def answer(document: Document, **options: Any) -> str:
    """What is wrong with a new object, without the envelope; "" where it is accepted."""
    try:
        create(document, **options)
    except StatusError as error:
        return trimmed(error)
    return ""


def trimmed(error: StatusError) -> str:
    """The message after `… is invalid: `; the whole message of another error."""
    head, found, rest = error.message.partition(" is invalid: ")
    return rest if found else head


def full(text: str) -> str:
    """`text` with its abbreviations written out."""
    for short, long in TEXTS.items():
        text = text.replace(short, long)
    return text
