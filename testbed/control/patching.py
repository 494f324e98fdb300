"""A patch onto an object, and what the API server says where it doesn't fit.

Source: apiserver pkg/endpoints/handlers/patch.go.
"""

from __future__ import annotations

from typing import Any

from testbed.api import status
from testbed.api.bodies import read_json
from testbed.api.decoding import decode, json_type, repeated_fields
from testbed.api.documents import Document
from testbed.api.gojson import marshal
from testbed.api.resources import ResourceType
from testbed.api.schema import kind_struct
from testbed.api.status import FieldError, StatusError
from testbed.api.unstructured import ConvertError, convert
from testbed.control.apiserver.patch.json import (
    OPERATION_LIMIT,
    PatchError,
    check_operations,
    json_patch,
    unknown_fields,
)
from testbed.control.apiserver.patch.merge import merge_patch
from testbed.control.apiserver.patch.shape import shape_of
from testbed.control.apiserver.patch.strategic import UnexpectedPatchError, strategic_merge_patch
from testbed.control.apiserver.patch.typed import plain

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"


def patched(
    target: Document, kind: str, patch: Any, resource: ResourceType, validation: str
) -> tuple[Document, list[str]]:
    """`target`, an object of `resource`, with `patch` applied, and the warnings for its writer.

    `kind` is the patch's content type, `validation` the request's fieldValidation. Raises
    StatusError.
    """
    try:
        if kind == STRATEGIC_PATCH:
            return _strategic(target, patch, resource, validation)
        if kind == JSON_PATCH:
            strict, new = _json(target, patch)
        else:
            strict, new = _merge(target, patch)
    except UnexpectedPatchError as error:
        raise status.plain_failure(str(error)) from None
    except PatchError as error:
        raise _refused(error) from None
    text = marshal(new)
    try:
        document, warnings = read_json(text.encode(), resource, "Warn")
    except StatusError as error:
        words = error.message.partition(f" cannot be handled as a {resource.kind}: ")[2]
        raise _invalid(text, words or error.message) from None
    return document, _settled(text, [*strict, *warnings], validation)


def _json(target: Document, patch: Any) -> tuple[list[str], Any]:
    operations = check_operations(patch)
    if len(operations) > OPERATION_LIMIT:
        raise StatusError(
            413,
            "RequestEntityTooLarge",
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{OPERATION_LIMIT}, got {len(operations)}",
        )
    repeated = [f"json patch {text}" for text in repeated_fields(patch)]
    return [*repeated, *unknown_fields(patch)], json_patch(target, patch)


def _merge(target: Document, patch: Any) -> tuple[list[str], Any]:
    if patch is not None and not isinstance(patch, dict):
        words = f"json: cannot unmarshal {json_type(patch)} into Go value of type "
        raise PatchError(f"error decoding patch: {words}map[string]interface {{}}", malformed=True)
    return repeated_fields(patch), merge_patch(target, patch)


def _strategic(
    target: Document, patch: Any, resource: ResourceType, validation: str
) -> tuple[Document, list[str]]:
    if patch is not None and not isinstance(patch, dict):
        words = f"json: cannot unmarshal {json_type(patch)} into Go value of type "
        raise PatchError(f"{words}map[string]interface {{}}", malformed=True)
    shape = shape_of(resource.api_version, resource.kind)
    new = strategic_merge_patch(target, patch or {}, shape)
    definition = kind_struct(resource.api_version, resource.kind)
    if definition is None:
        raise KeyError(resource.kind)
    text = plain(patch or {})
    try:
        document, unknown = decode(convert(new, definition), definition)
    except (ConvertError, ValueError) as error:
        raise _invalid(text, str(error)) from None
    # What a strategic patch says of kind and version is not looked at.
    document["apiVersion"], document["kind"] = resource.api_version, resource.kind
    document.setdefault("metadata", {})
    return document, _settled(text, [*repeated_fields(patch), *unknown], validation)


def _settled(text: str, strict: list[str], validation: str) -> list[str]:
    """The strict errors as warnings; raises StatusError (422) where they are to be errors."""
    if strict and validation == "Strict":
        raise _invalid(text, f"strict decoding error: {', '.join(strict)}")
    return strict if validation == "Warn" else []


def _invalid(text: str, words: str) -> StatusError:
    return status.invalid("", "", "", [FieldError.invalid("patch", text, words)])


def _refused(error: PatchError) -> StatusError:
    """Source: apiserver patch.go applyJSPatch, interpretStrategicMergePatchError."""
    if error.malformed:
        return status.bad_request(str(error))
    message = "the server rejected our request due to an error in our request"
    # Details, though empty: kubectl prints the message only where there are some.
    return StatusError(422, "Invalid", message, {})
