"""Label selectors as text: reading them as the API server does, with its complaints.

Source: apimachinery pkg/labels/selector.go (Lexer, Parser, NewRequirement).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from testbed.api.status import FieldError
from testbed.api.validation.names import label_key, label_value

_SPECIAL = "=!(),><"
_SPACES = " \t\r\n"
_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_SYMBOLS = frozenset({")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("})
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
#: A token's kind where it isn't a symbol, which is its own kind.
_NAME, _END, _ERROR = "name", "end", "error"


class SelectorError(ValueError):
    """The selector can't be read, or names a field that can't be selected by."""


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition: `operator` is in, notin, exists, !, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is chosen."""
        found = labels.get(self.key)
        match self.operator:
            case "in":
                return found in self.values
            case "notin":
                return found is None or found not in self.values
            case "exists":
                return found is not None
            case "!":
                return found is None
        number, (limit,) = _integer(found or ""), map(_integer, self.values)
        if number is None or limit is None:
            return False
        return number > limit if self.operator == "gt" else number < limit


def parse(text: str) -> list[Requirement]:
    """The requirements of a label selector; raises SelectorError."""
    return _Parser(_tokens(text)).selector()


def _integer(text: str) -> int | None:
    """A number of 64 bits, or None."""
    if not _INTEGER.fullmatch(text):
        return None
    number = int(text)
    return number if -(2**63) <= number < 2**63 else None


def _tokens(text: str) -> list[tuple[str, str]]:
    """Kinds and texts, with the end of the text as the last one."""
    found: list[tuple[str, str]] = []
    at = 0
    text = text.partition("\0")[0]
    while True:
        while at < len(text) and text[at] in _SPACES:
            at += 1
        if at >= len(text):
            return [*found, (_END, "")]
        end = at
        if text[at] in _SPECIAL:
            while end < len(text) and text[end] in _SPECIAL:
                end += 1
            token = _symbol(text[at:end])
            at = end if token[0] == _ERROR else at + len(token[1])
        else:
            while end < len(text) and text[end] not in _SPECIAL + _SPACES:
                end += 1
            word = text[at:end]
            token = (word if word in _SYMBOLS else _NAME, word)
            at = end
        found.append(token)


def _symbol(run: str) -> tuple[str, str]:
    """The first symbol in a run of special characters."""
    last = ""
    for size in range(1, len(run) + 1):
        if run[:size] in _SYMBOLS:
            last = run[:size]
        elif last:
            break
    return (last, last) if last else (_ERROR, f"error expected: keyword found '{run}'")


class _Parser:
    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._tokens = tokens
        self._at = 0

    def selector(self) -> list[Requirement]:
        found: list[Requirement] = []
        while True:
            kind, text = self._look()
            if kind == _END:
                return found
            if kind not in (_NAME, "!"):
                raise SelectorError(f"found '{text}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except SelectorError as error:
                raise SelectorError(f"unable to parse requirement: {error}") from None
            kind, text = self._take()
            if kind == _END:
                return found
            if kind != ",":
                raise SelectorError(f"found '{text}', expected: ',' or 'end of string'")
            if self._look()[0] not in (_NAME, "!"):
                raise SelectorError(f"found '{self._look()[1]}', expected: identifier after ','")

    def _look(self) -> tuple[str, str]:
        """The next token; where values stand, `in` and `notin` are names."""
        kind, text = self._tokens[min(self._at, len(self._tokens) - 1)]
        return (_NAME if kind in ("in", "notin") else kind), text

    def _take(self, *, operator: bool = False) -> tuple[str, str]:
        token = self._tokens[min(self._at, len(self._tokens) - 1)] if operator else self._look()
        self._at += 1
        return token

    def _requirement(self) -> Requirement:
        kind, key = self._take()
        absent = kind == "!"
        if absent:
            kind, key = self._take()
        if kind != _NAME:
            raise SelectorError(f"found '{key}', expected: identifier")
        if messages := label_key(key):
            raise SelectorError(str(FieldError.invalid("<nil>", key, "; ".join(messages))))
        if absent:
            return Requirement(key, "!")
        if self._look()[0] in (_END, ","):
            return Requirement(key, "exists")
        operator, text = self._take(operator=True)
        match operator:
            case "in" | "notin":
                return _checked(key, operator, self._values())
            case "=" | "==" | "!=":
                return _checked(key, "notin" if operator == "!=" else "in", self._exact())
            case ">" | "<":
                return _checked(key, "gt" if operator == ">" else "lt", self._exact())
        raise SelectorError(f"found '{text}', expected: {', '.join(_OPERATORS)}")

    def _exact(self) -> set[str]:
        if self._look()[0] in (_END, ","):
            return {""}
        kind, text = self._take()
        if kind != _NAME:
            raise SelectorError(f"found '{text}', expected: identifier")
        return {text}

    def _values(self) -> set[str]:
        kind, text = self._take()
        if kind != "(":
            raise SelectorError(f"found '{text}' expected: '('")
        kind, text = self._look()
        if kind == ")":
            self._at += 1
            return {""}
        if kind not in (_NAME, ","):
            raise SelectorError(f"found '{text}', expected: ',', ')' or identifier")
        values = self._listed()
        if self._take()[0] != ")":
            raise SelectorError(f"found '{text}', expected: ')'")
        return values

    def _listed(self) -> set[str]:
        values: set[str] = set()
        while True:
            kind, text = self._take()
            following, next_text = self._look()
            if kind == _NAME:
                values.add(text)
                if following == ")":
                    return values
                if following != ",":
                    raise SelectorError(f"found '{next_text}', expected: ',' or ')'")
            elif kind == ",":
                if not values or following in (")", ","):
                    values.add("")
                if following == ")":
                    return values
            else:
                raise SelectorError(f"found '{text}', expected: ',', or identifier")


def _checked(key: str, operator: str, values: set[str]) -> Requirement:
    """The requirement, if its values may stand there."""
    errors: list[FieldError] = []
    listed = sorted(values)
    if operator in ("gt", "lt"):
        words = "for 'Gt', 'Lt' operators, the value must be an integer"
        errors += [
            FieldError.invalid(f"values[{index}]", value, words)
            for index, value in enumerate(listed)
            if _integer(value) is None
        ]
    for index, value in enumerate(listed):
        if messages := label_value(value):
            where = f"values[{index}][{key}]"
            errors.append(FieldError.invalid(where, value, "; ".join(messages)))
    if errors:
        texts = list(dict.fromkeys(str(error) for error in errors))
        raise SelectorError(texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]")
    return Requirement(key, operator, frozenset(values))
