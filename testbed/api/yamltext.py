"""YAML as sigs.k8s.io/yaml turns it into JSON.

Sources: sigs.k8s.io/yaml yaml.go (convertToJSONableObject), go.yaml.in/yaml/v2 decode.go.
"""

from __future__ import annotations

import json
import math
from typing import Any

import yaml

from testbed.api import documents


class YamlError(ValueError):
    """Text that isn't YAML; the message is Go's."""


def parse(data: bytes) -> tuple[Any, list[str]]:
    """The first document in `data` as JSON values, and Go's words about keys that stand twice.

    Raises YamlError.
    """
    repeated: list[str] = []
    try:
        value = documents.load_value(data.decode(), repeated)
        return _jsonable(value), repeated
    except yaml.MarkedYAMLError as error:
        raise YamlError(_words(error)) from None
    except yaml.reader.ReaderError:
        raise YamlError("yaml: control characters are not allowed") from None
    except UnicodeDecodeError:
        raise YamlError("yaml: invalid leading UTF-8 octet") from None
    except RecursionError:
        raise YamlError("yaml: exceeded max depth of 10000") from None
    except (yaml.YAMLError, ValueError, TypeError) as error:
        detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise YamlError(f"yaml: {detail}") from None


def _words(error: yaml.MarkedYAMLError) -> str:
    mark = next((m for m in (error.problem_mark, error.context_mark) if m and m.line), None)
    where = ""
    if mark is not None:
        line = mark.line + isinstance(error, yaml.scanner.ScannerError)
        where = f"line {line}: "
    return f"yaml: {where}{error.problem or 'unknown problem parsing YAML content'}"


def _jsonable(value: Any) -> Any:
    if isinstance(value, dict):
        # Go's map has no order: its JSON is sorted.
        named = {_key(key): item for key, item in value.items()}
        return {key: _jsonable(named[key]) for key in sorted(named)}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"json: unsupported value: {value}")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"unsupported value of type {type(value).__name__}")


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, bool | int | float):
        return json.dumps(key)
    raise ValueError(f"unsupported map key {key!r}")
