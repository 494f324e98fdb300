"""Values printed as Go prints them: encoding/json and fmt's %q.

The API server's messages carry values in this form (catalogue 2.1).
"""

from __future__ import annotations

import json
from typing import Any


class GoStruct(dict[str, Any]):
    """A Go struct under its Go field names: printed in this order, unlike a map."""


def marshal(value: Any) -> str:
    """`value` as Go's json.Marshal writes it: no blanks, maps sorted, `<`, `>` and `&` escaped."""
    text = json.dumps(_ordered(value), ensure_ascii=False, separators=(",", ":"))
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def quote(text: str) -> str:
    """`text` as fmt's %q prints it."""
    named = {'"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n"}
    named |= {"\r": "\\r", "\t": "\\t", "\v": "\\v"}
    out = []
    for char in text:
        code = ord(char)
        if char in named:
            out.append(named[char])
        elif char.isprintable():
            out.append(char)
        elif code < 0x80:
            out.append(f"\\x{code:02x}")
        else:
            out.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return '"' + "".join(out) + '"'


def _ordered(value: Any) -> Any:
    if isinstance(value, GoStruct):
        return {key: _ordered(item) for key, item in value.items()}
    if isinstance(value, dict):
        return {key: _ordered(value[key]) for key in sorted(value)}
    if isinstance(value, list | tuple):
        return [_ordered(item) for item in value]
    return value
