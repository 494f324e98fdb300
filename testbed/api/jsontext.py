"""JSON text as Go's decoder reads it: fields that stand twice, number literals, its complaints.

Source: Go's encoding/json scanner.go and decode.go.
"""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

from testbed.api.gojson import quote

_END = "unexpected end of JSON input"
_ESCAPES = '"\\/bfnrt'
_SPACES = " \t\r\n"
_SURROGATE = re.compile("[\ud800-\udfff]")
_LITERALS = {"t": "true", "f": "false", "n": "null"}


class JsonError(ValueError):
    """Text that isn't JSON; the message is Go's."""


class Literal(float):
    """A number that isn't written as a plain integer; `text` is how it is written."""

    __slots__ = ("text",)
    text: str


class Repeated(dict[str, Any]):
    """An object that has a field more than once; the last one counts. `pairs` has all of them."""

    __slots__ = ("pairs",)
    pairs: list[tuple[str, Any]]


def parse(data: bytes) -> Any:
    """The value in `data`; raises JsonError."""
    text = text_of(data)
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        raise JsonError(_Scanner(data.decode("latin-1")).complaint()) from None
    return _well_formed(value) if "\\u" in text else value


def number_text(value: Any) -> str:
    """A number as it was written."""
    return value.text if isinstance(value, Literal) else json.dumps(value)


def text_of(data: bytes) -> str:
    """`data` as text: every byte that isn't UTF-8 becomes U+FFFD, as in Go."""
    return data.decode("utf-8", "gojson")


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return "\ufffd" * (error.end - error.start), error.end


codecs.register_error("gojson", _replace)


def _float(text: str) -> Literal:
    number = Literal(text)
    number.text = text
    return number


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    repeated = Repeated(found)
    repeated.pairs = pairs
    return repeated


def _refuse(name: str) -> Any:
    raise ValueError(name)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_float, parse_constant=_refuse, strict=True
)


def _well_formed(value: Any) -> Any:
    """`value` with every half of a surrogate pair replaced."""
    if isinstance(value, str):
        return _SURROGATE.sub("\ufffd", value)
    if isinstance(value, Repeated):
        return _object([(_well_formed(key), _well_formed(item)) for key, item in value.pairs])
    if isinstance(value, dict):
        return {_well_formed(key): _well_formed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_well_formed(item) for item in value]
    return value


class _Scanner:
    """Finds what is wrong with a text that isn't JSON. Every character of `text` is a byte."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def complaint(self) -> str:
        try:
            self._value("looking for beginning of value")
            self._blanks()
            if self._at < len(self._text):
                self._wrong("after top-level value")
        except JsonError as error:
            return str(error)
        except RecursionError:
            return "exceeded max depth"
        return "exceeded max depth"

    def _peek(self) -> str:
        if self._at >= len(self._text):
            raise JsonError(_END)
        return self._text[self._at]

    def _inside(self) -> str:
        """The character here; inside a literal the text's end is a blank to Go."""
        return self._text[self._at : self._at + 1] or " "

    def _wrong(self, where: str) -> None:
        char = self._inside()
        shown = {"'": r"'\''", '"': "'\"'"}.get(char) or f"'{quote(char)[1:-1]}'"
        raise JsonError(f"invalid character {shown} {where}")

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at] in _SPACES:
            self._at += 1

    def _value(self, where: str) -> None:
        self._blanks()
        char = self._peek()
        if char == "{":
            self._members()
        elif char == "[":
            self._items()
        elif char == '"':
            self._string()
        elif char in _LITERALS:
            self._literal(_LITERALS[char])
        elif char == "-" or char in "0123456789":
            self._number()
        else:
            self._wrong(where)

    def _members(self) -> None:
        self._at += 1
        self._blanks()
        if self._peek() == "}":
            self._at += 1
            return
        while True:
            self._blanks()
            if self._peek() != '"':
                self._wrong("looking for beginning of object key string")
            self._string()
            self._blanks()
            if self._peek() != ":":
                self._wrong("after object key")
            self._at += 1
            self._value("looking for beginning of value")
            self._blanks()
            if self._peek() not in ",}":
                self._wrong("after object key:value pair")
            self._at += 1
            if self._text[self._at - 1] == "}":
                return

    def _items(self) -> None:
        self._at += 1
        self._blanks()
        if self._peek() == "]":
            self._at += 1
            return
        while True:
            self._value("looking for beginning of value")
            self._blanks()
            if self._peek() not in ",]":
                self._wrong("after array element")
            self._at += 1
            if self._text[self._at - 1] == "]":
                return

    def _string(self) -> None:
        self._at += 1
        while (char := self._peek()) != '"':
            if char < " ":
                self._wrong("in string literal")
            self._at += 1
            if char == "\\":
                self._escape()
        self._at += 1

    def _escape(self) -> None:
        char = self._inside()
        if char == "u":
            for _ in range(4):
                self._at += 1
                if self._inside() not in "0123456789abcdefABCDEF":
                    self._wrong("in \\u hexadecimal character escape")
        elif char not in _ESCAPES:
            self._wrong("in string escape code")
        self._at += 1

    def _literal(self, word: str) -> None:
        for char in word:
            if self._inside() != char:
                self._wrong(f"in literal {word} (expecting '{char}')")
            self._at += 1

    def _number(self) -> None:
        if self._inside() == "-":
            self._at += 1
            if not "0" <= self._inside() <= "9":
                self._wrong("in numeric literal")
        if self._inside() == "0":
            self._at += 1
        else:
            self._digits()
        if self._text[self._at : self._at + 1] == ".":
            self._at += 1
            if not "0" <= self._inside() <= "9":
                self._wrong("after decimal point in numeric literal")
            self._digits()
        if self._text[self._at : self._at + 1] in ("e", "E"):
            self._at += 1
            if self._inside() in "+-":
                self._at += 1
            if not "0" <= self._inside() <= "9":
                self._wrong("in exponent of numeric literal")
            self._digits()

    def _digits(self) -> None:
        while "0" <= self._text[self._at : self._at + 1] <= "9":
            self._at += 1
