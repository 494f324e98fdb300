"""What Go's encoding/json says about a text that isn't JSON.

Source: Go, encoding/json/scanner.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from testbed.api.gojson import quote

ENDS_EARLY = "unexpected end of JSON input"
#: Objects and arrays deeper than this are refused.
MAX_DEPTH = 10000

_SPACE = " \t\r\n"
_ESCAPED = '"\\/bfnrt'
_HEX = "0123456789abcdefABCDEF"
_DIGITS = "0123456789"
_WORDS = {"t": "true", "f": "false", "n": "null"}


class _BadSyntaxError(Exception):
    """The text isn't JSON; the error's text is Go's."""


def syntax_error(text: str) -> str | None:
    """Go's message for the first thing wrong with `text`, or None where it is JSON."""
    try:
        _Scanner(text).document()
    except _BadSyntaxError as error:
        return str(error)
    return None


_Step: TypeAlias = "Callable[[], _Step | None]"


class _Scanner:
    """Walks over one text; what is open is kept in a list, so that depth costs no stack."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[str] = []

    def document(self) -> None:
        step: _Step | None = self._value
        while step is not None:
            step = step()
        if self._skip() is not None:
            raise self._bad("after top-level value")

    # one character

    def _peek(self) -> str | None:
        return self._text[self._at] if self._at < len(self._text) else None

    def _skip(self) -> str | None:
        """The next character that is no space, or None at the end."""
        while (char := self._peek()) is not None and char in _SPACE:
            self._at += 1
        return char

    def _need(self) -> str:
        """The next character; raises where there is none."""
        char = self._peek()
        if char is None:
            raise _BadSyntaxError(ENDS_EARLY)
        return char

    def _char(self) -> str:
        """The next character of a token; Go puts a blank after the text's end."""
        return self._text[self._at] if self._at < len(self._text) else " "

    def _need_after_space(self) -> str:
        self._skip()
        return self._need()

    def _bad(self, context: str) -> _BadSyntaxError:
        # Go looks at bytes.
        first = self._char().encode("utf-8", "surrogatepass")[0]
        char = chr(first)
        shown = {"'": r"'\''", '"': "'\"'"}.get(char, f"'{quote(char)[1:-1]}'")
        return _BadSyntaxError(f"invalid character {shown} {context}")

    # the grammar: every step gives the next one

    def _value(self) -> _Step | None:
        char = self._need_after_space()
        if char in "{[":
            if len(self._open) >= MAX_DEPTH:
                raise self._bad("exceeded max depth")
            self._at += 1
            self._open.append(char)
            return self._first_key if char == "{" else self._first_item
        if char == '"':
            self._string()
        elif char == "-" or char in _DIGITS:
            self._number()
        elif char in _WORDS:
            self._word(_WORDS[char])
        else:
            raise self._bad("looking for beginning of value")
        return self._end_of_value

    def _first_key(self) -> _Step | None:
        return self._close() if self._need_after_space() == "}" else self._key()

    def _first_item(self) -> _Step | None:
        return self._close() if self._need_after_space() == "]" else self._value

    def _close(self) -> _Step | None:
        self._at += 1
        self._open.pop()
        return self._end_of_value

    def _key(self) -> _Step | None:
        if self._need_after_space() != '"':
            raise self._bad("looking for beginning of object key string")
        self._string()
        if self._need_after_space() != ":":
            raise self._bad("after object key")
        self._at += 1
        return self._value

    def _end_of_value(self) -> _Step | None:
        if not self._open:
            return None
        inside_object = self._open[-1] == "{"
        char = self._need_after_space()
        if char == ("}" if inside_object else "]"):
            return self._close()
        if char != ",":
            what = "object key:value pair" if inside_object else "array element"
            raise self._bad(f"after {what}")
        self._at += 1
        return self._key if inside_object else self._value

    def _string(self) -> None:
        self._at += 1
        while (char := self._need()) != '"':
            if char < " ":
                raise self._bad("in string literal")
            self._at += 1
            if char == "\\":
                self._escape()
        self._at += 1

    def _escape(self) -> None:
        char = self._char()
        if char != "u" and char not in _ESCAPED:
            raise self._bad("in string escape code")
        self._at += 1
        if char != "u":
            return
        for _ in range(4):
            if self._char() not in _HEX:
                raise self._bad("in \\u hexadecimal character escape")
            self._at += 1

    def _number(self) -> None:
        if self._char() == "-":
            self._at += 1
            if self._char() not in _DIGITS:
                raise self._bad("in numeric literal")
        if self._char() == "0":
            self._at += 1
        else:
            self._digits()
        if self._char() == ".":
            self._at += 1
            if self._char() not in _DIGITS:
                raise self._bad("after decimal point in numeric literal")
            self._digits()
        if self._char() in "eE":
            self._at += 1
            if self._char() in "+-":
                self._at += 1
            if self._char() not in _DIGITS:
                raise self._bad("in exponent of numeric literal")
            self._digits()

    def _digits(self) -> None:
        while self._char() in _DIGITS:
            self._at += 1

    def _word(self, word: str) -> None:
        for i, wanted in enumerate(word):
            if self._char() != wanted:
                raise self._bad(f"in literal {word} (expecting '{word[i]}')")
            self._at += 1
