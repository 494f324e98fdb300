"""Refusals as Kubernetes words them: field errors and the Status object that carries them.

Sources: apimachinery pkg/util/validation/field/errors.go and pkg/api/errors/errors.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from testbed.api.documents import Document
from testbed.api.gojson import marshal, quote
from testbed.errors import UsageError


class ErrorType(Enum):
    """What is wrong with a field: (cause reason, words of the message)."""

    REQUIRED = ("FieldValueRequired", "Required value")
    INVALID = ("FieldValueInvalid", "Invalid value")
    NOT_SUPPORTED = ("FieldValueNotSupported", "Unsupported value")
    DUPLICATE = ("FieldValueDuplicate", "Duplicate value")
    FORBIDDEN = ("FieldValueForbidden", "Forbidden")
    TOO_LONG = ("FieldValueTooLong", "Too long")
    TOO_MANY = ("FieldValueTooMany", "Too many")
    NOT_FOUND = ("FieldValueNotFound", "Not found")
    TYPE_INVALID = ("FieldValueTypeInvalid", "Invalid value")
    INTERNAL = ("InternalError", "Internal error")


#: Types whose message has no value.
_WITHOUT_VALUE = {
    ErrorType.REQUIRED,
    ErrorType.FORBIDDEN,
    ErrorType.TOO_LONG,
    ErrorType.INTERNAL,
}


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with an object: `path` in API field names, the value, and a detail."""

    path: str
    type: ErrorType
    value: Any = None
    detail: str = ""

    @classmethod
    def required(cls, path: str, detail: str = "") -> FieldError:
        return cls(path, ErrorType.REQUIRED, None, detail)

    @classmethod
    def invalid(cls, path: str, value: Any, detail: str) -> FieldError:
        return cls(path, ErrorType.INVALID, value, detail)

    @classmethod
    def not_supported(cls, path: str, value: Any, supported: Iterable[str]) -> FieldError:
        detail = "supported values: " + ", ".join(quote(item) for item in supported)
        return cls(path, ErrorType.NOT_SUPPORTED, value, detail)

    @classmethod
    def duplicate(cls, path: str, value: Any) -> FieldError:
        return cls(path, ErrorType.DUPLICATE, value)

    @classmethod
    def forbidden(cls, path: str, detail: str) -> FieldError:
        return cls(path, ErrorType.FORBIDDEN, None, detail)

    @classmethod
    def too_long(cls, path: str, limit: int) -> FieldError:
        return cls(path, ErrorType.TOO_LONG, None, f"may not be more than {limit} bytes")

    @classmethod
    def too_many(cls, path: str, count: int, limit: int) -> FieldError:
        return cls(path, ErrorType.TOO_MANY, count, f"must have at most {limit} items")

    @classmethod
    def not_found(cls, path: str, value: Any) -> FieldError:
        return cls(path, ErrorType.NOT_FOUND, value)

    @property
    def body(self) -> str:
        """The message without the path."""
        text = self.type.value[1]
        if self.type not in _WITHOUT_VALUE:
            shown = quote(self.value) if isinstance(self.value, str) else marshal(self.value)
            text += f": {shown}"
        return f"{text}: {self.detail}" if self.detail else text

    @property
    def cause(self) -> Document:
        """This error as an entry of `details.causes`; one about the whole object has no field."""
        cause = {"reason": self.type.value[0], "message": self.body}
        return cause | {"field": self.path} if self.path else cause

    def __str__(self) -> str:
        return f"{self.path}: {self.body}"


class StatusError(UsageError):
    """A request refused: a client gets it as a Status object. `str()` is its message, one line."""

    def __init__(
        self, code: int, reason: str, message: str, details: Document | None = None
    ) -> None:
        self.code = code
        self.reason = reason
        self.message = message
        self.details: Document = details or {}
        #: The Status' own metadata: where an expired list can go on.
        self.metadata: Document = {}
        self._detailed = details is not None
        super().__init__(" ".join(message.split("\n")))

    def document(self) -> Document:
        """The Kubernetes Status object (catalogue 2.1)."""
        status: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self._detailed:
            status["details"] = self.details
        status["code"] = self.code
        return status


@dataclass(frozen=True, slots=True)
class _Subject:
    """`details` of an error about one object; empty members are left out."""

    name: str = ""
    group: str = ""
    kind: str = ""
    causes: Sequence[Document] = field(default=())

    def document(self) -> Document:
        members = {
            "name": self.name,
            "group": self.group,
            "kind": self.kind,
            "causes": list(self.causes),
        }
        return {key: value for key, value in members.items() if value}


def qualified(kind: str, group: str) -> str:
    """`kind`, or `kind.group` where there is a group."""
    return f"{kind}.{group}" if group else kind


def invalid(kind: str, group: str, name: str, errors: Sequence[FieldError]) -> StatusError:
    """422: every error of the object; in the message equal ones show once."""
    texts = list(dict.fromkeys(str(error) for error in errors))
    message = f"{qualified(kind, group)} {quote(name)} is invalid"
    if texts:
        message += ": " + (texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    details = _Subject(name, group, kind, [error.cause for error in errors])
    return StatusError(422, "Invalid", message, details.document())


def not_found(resource: str, name: str, group: str = "") -> StatusError:
    """404: no object of that name."""
    message = f"{qualified(resource, group)} {quote(name)} not found"
    return StatusError(404, "NotFound", message, _Subject(name, group, resource).document())


def already_exists(
    resource: str, name: str, group: str = "", *, generated: bool = False, deleting: bool = False
) -> StatusError:
    """409: the name is taken, by an object that may be `deleting`.

    A name that may be `generated` is one that another try could replace.
    """
    message = f"{qualified(resource, group)} {quote(name)} already exists"
    details = _Subject(name, group, resource).document()
    if generated:
        message += ", the server was not able to generate a unique name for the object"
        details["retryAfterSeconds"] = 1
    if deleting:
        message = f"object is being deleted: {message}"
    return StatusError(409, "AlreadyExists", message, details)


def conflict(
    resource: str,
    name: str,
    group: str = "",
    detail: str = (
        "the object has been modified; "
        "please apply your changes to the latest version and try again"
    ),
    causes: Sequence[Document] = (),
) -> StatusError:
    """409: the object changed since it was read (or another field manager owns a field)."""
    message = (
        f"Operation cannot be fulfilled on {qualified(resource, group)} {quote(name)}: {detail}"
    )
    details = _Subject(name, group, resource, causes).document()
    return StatusError(409, "Conflict", message, details)


def bad_request(message: str) -> StatusError:
    """400."""
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    """401: no or wrong credentials."""
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: str, name: str, group: str, detail: str) -> StatusError:
    """403."""
    subject = f"{qualified(resource, group)} {quote(name)}" if name else qualified(resource, group)
    message = f"{subject} is forbidden: {detail}"
    return StatusError(403, "Forbidden", message, _Subject(name, group, resource).document())


def internal(message: str) -> StatusError:
    """500: the server itself could not do it."""
    details = {"causes": [{"message": message}]}
    return StatusError(500, "InternalError", f"Internal error occurred: {message}", details)


def plain_failure(message: str) -> StatusError:
    """500 without a reason: what an error that isn't an API error comes out as."""
    return StatusError(500, "", message)


def gone(message: str = "") -> StatusError:
    """410 Expired: the version asked for is no longer held."""
    default = "The provided continue parameter is too old to display a consistent list result."
    return StatusError(410, "Expired", message or default)


def too_large(limit: int) -> StatusError:
    """413: the body is larger than `limit` bytes."""
    message = f"Request entity too large: limit is {limit}"
    return StatusError(413, "RequestEntityTooLarge", message)


def method_not_allowed(resource: str, verb: str, group: str = "") -> StatusError:
    """405: the resource has no such verb."""
    message = f"{verb} is not supported on resources of kind {quote(qualified(resource, group))}"
    return StatusError(405, "MethodNotAllowed", message, _Subject("", group, resource).document())


def no_such_method() -> StatusError:
    """405: no handler for the method at this path."""
    message = "the server does not allow this method on the requested resource"
    return StatusError(405, "MethodNotAllowed", message, {})


def unsupported_media_type(content_type: str, accepted: Sequence[str] = ()) -> StatusError:
    """415: the body's content type isn't understood."""
    if accepted:
        message = (
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(accepted)
        )
    else:
        message = f"the content type {quote(content_type)} is not supported"
    return StatusError(415, "UnsupportedMediaType", message)


def not_acceptable(accepted: Sequence[str]) -> StatusError:
    """406: none of the media types asked for can be produced."""
    offers = ", ".join(accepted)
    message = f"only the following media types are accepted: {offers}"
    return StatusError(406, "NotAcceptable", message)


def unknown_path() -> StatusError:
    """404 for a path that is no resource."""
    message = "the server could not find the requested resource"
    return StatusError(404, "NotFound", message)


def unavailable(message: str) -> StatusError:
    """503."""
    return StatusError(503, "ServiceUnavailable", message)


def too_many_requests(message: str, retry_after: int = 1) -> StatusError:
    """429: come again in `retry_after` seconds."""
    return StatusError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after})


def timeout(message: str) -> StatusError:
    """504: the server didn't finish in time."""
    return StatusError(504, "Timeout", f"Timeout: {message}")
