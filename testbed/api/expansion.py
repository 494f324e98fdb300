"""References to variables in commands, arguments and values.

Source: third_party/forked/golang/expansion.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; unknown names stay, `$$` is a dollar sign."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return _REFERENCE.sub(replaced, text)


def expand_all(words: Iterable[str], variables: Mapping[str, str]) -> list[str]:
    """`command` or `args` with their references replaced."""
    return [expand(word, variables) for word in words]
