"""Whether a string is a label, a subdomain, a port name …: what is wrong with it, or nothing.

Every function returns the messages for one value, in order. Sources: apimachinery
pkg/util/validation/validation.go and pkg/api/validate/content.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeAlias

from testbed.api.status import FieldError

Messages: TypeAlias = list[str]
Check: TypeAlias = Callable[[str], Messages]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_KEY})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_HEADER = "[-A-Za-z0-9]+"
_ENV = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_PERCENT = "[0-9]+%"
_PATH = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+"
_SEARCH_LABEL = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SEARCH = rf"{_SEARCH_LABEL}(\.{_SEARCH_LABEL})*"

_ENDS = "and must start and end with an alphanumeric character"
_LABEL_WORDS = (
    f"a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', {_ENDS}"
)
_SUBDOMAIN_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    f"'-' or '.', {_ENDS}"
)
_SEARCH_WORDS = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, "
    f"'_', '-' or '.', {_ENDS}"
)
_WILDCARD_WORDS = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which "
    "must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric "
    "character"
)
_DNS1035_WORDS = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an "
    "alphabetic character, and end with an alphanumeric character"
)
_KEY_WORDS = f"must consist of alphanumeric characters, '-', '_' or '.', {_ENDS}"
_VALUE_WORDS = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    f"{_ENDS}"
)
_CONFIG_KEY_WORDS = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_ENV_WORDS = (
    "a valid environment variable name must consist only of printable ASCII characters "
    "other than '='"
)

NOT_NEGATIVE = "must be greater than or equal to 0"
NOT_POSITIVE = "must be greater than zero"
IMMUTABLE = "field is immutable"
PORT_RANGE = "must be between 1 and 65535, inclusive"


def regex_error(words: str, pattern: str, *examples: str) -> str:
    """The message for a value that doesn't match `pattern`."""
    if not examples:
        return f"{words} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{words} (e.g. {shown}regex used for validation is '{pattern}')"


def too_long(limit: int, unit: str = "characters") -> str:
    return f"must be no more than {limit} {unit}"


def _matches(pattern: str, value: str) -> bool:
    return re.fullmatch(pattern, value, re.ASCII) is not None


def _size(value: str) -> int:
    return len(value.encode())


def dns_label(value: str) -> Messages:
    """RFC 1123 label of at most 63 characters."""
    found = [too_long(63)] if _size(value) > 63 else []
    if not _matches(_LABEL, value):
        if _matches(_SUBDOMAIN, value):
            return [*found, "must not contain dots"]
        found.append(regex_error(_LABEL_WORDS, _LABEL, "my-name", "123-abc"))
    return found


def dns_subdomain(value: str) -> Messages:
    """RFC 1123 subdomain of at most 253 characters."""
    found = [too_long(253)] if _size(value) > 253 else []
    if not _matches(_SUBDOMAIN, value):
        found.append(regex_error(_SUBDOMAIN_WORDS, _SUBDOMAIN, "example.com"))
    return found


def dns_search_name(value: str) -> Messages:
    """A subdomain that may have underscores, as in a resolver's search list."""
    found = [too_long(253)] if _size(value) > 253 else []
    if not _matches(_SEARCH, value):
        found.append(regex_error(_SEARCH_WORDS, _SEARCH, "example.com"))
    return found


def wildcard_subdomain(value: str) -> Messages:
    """`*.` and a subdomain."""
    found = [too_long(253)] if _size(value) > 253 else []
    if not _matches(_WILDCARD, value):
        found.append(regex_error(_WILDCARD_WORDS, _WILDCARD, "*.example.com"))
    return found


def dns1035_label(value: str) -> Messages:
    """A label that starts with a letter."""
    found = [too_long(63)] if _size(value) > 63 else []
    if not _matches(_DNS1035, value):
        found.append(regex_error(_DNS1035_WORDS, _DNS1035, "my-name", "abc-123"))
    return found


def label_key(value: str) -> Messages:
    """A qualified name: an optional prefix and a name."""
    words = regex_error(_KEY_WORDS, _KEY, "MyName", "my.name", "123-abc")
    found: Messages = []
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        example = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        return [f"a valid label key {words} {example}"]
    if slash and not prefix:
        found.append("prefix part must be non-empty")
    elif slash:
        found += [f"prefix part {message}" for message in _content_subdomain(prefix)]
    if not name:
        found.append("name part must be non-empty")
    elif _size(name) > 63:
        found.append(f"name part {too_long(63, 'bytes')}")
    if not _matches(_KEY, name):
        found.append(f"name part {words}")
    return found


def _content_subdomain(value: str) -> Messages:
    return [text.replace("253 characters", "253 bytes") for text in dns_subdomain(value)]


def label_value(value: str) -> Messages:
    """A label's value."""
    found = [too_long(63, "bytes")] if _size(value) > 63 else []
    if not _matches(_VALUE, value):
        found.append(regex_error(_VALUE_WORDS, _VALUE, "MyValue", "my_value", "12345"))
    return found


def port_name(value: str) -> Messages:
    """An IANA service name of at most 15 characters."""
    found = [too_long(15)] if _size(value) > 15 else []
    if not _matches("[-a-z0-9]+", value):
        found.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        found.append("must contain at least one letter (a-z)")
    if "--" in value:
        found.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        found.append("must not begin or end with a hyphen")
    return found


def path_segment(value: str) -> Messages:
    """A name that can be one segment of a URL's path."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return path_prefix(value)


def path_prefix(value: str) -> Messages:
    """The start of a name that can be one segment of a URL's path."""
    return [f"may not contain '{char}'" for char in "/%" if char in value]


def config_key(value: str) -> Messages:
    """A key of a ConfigMap's or Secret's data."""
    found = [too_long(253)] if _size(value) > 253 else []
    if not _matches(_CONFIG_KEY, value):
        found.append(
            regex_error(_CONFIG_KEY_WORDS, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name")
        )
    if value == ".":
        found.append("must not be '.'")
    elif value == "..":
        found.append("must not be '..'")
    elif value.startswith(".."):
        found.append("must not start with '..'")
    return found


def header_name(value: str) -> Messages:
    """The name of an HTTP header."""
    words = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return [] if _matches(_HEADER, value) else [regex_error(words, _HEADER, "X-Header-Name")]


def environment_name(value: str) -> Messages:
    """The name of an environment variable (relaxed rules)."""
    if all(" " <= char <= "~" and char != "=" for char in value):
        return []
    return [_ENV_WORDS]


def percent(value: str) -> Messages:
    """`25%`."""
    words = "a valid percent string must be a numeric string followed by an ending '%'"
    return [] if _matches(_PERCENT, value) else [regex_error(words, _PERCENT, "1%", "93%")]


def port_number(value: int) -> Messages:
    return [] if 1 <= value <= 65535 else [PORT_RANGE]


def in_range(value: int, low: int, high: int) -> Messages:
    return [] if low <= value <= high else [f"must be between {low} and {high}, inclusive"]


def domain_prefixed_path(path: str, value: str) -> list[FieldError]:
    """A value such as `acme.io/foo`."""
    if not value:
        return [FieldError.required(path)]
    host, _, rest = value.partition("/")
    if not host or not rest:
        words = 'must be a domain-prefixed path (such as "acme.io/foo")'
        return [FieldError.invalid(path, value, words)]
    found = each(path, host, dns_subdomain)
    if not _matches(_PATH, rest):
        found.append(FieldError.invalid(path, rest, regex_error("Invalid path", _PATH)))
    return found


def full_domain_name(path: str, value: str) -> list[FieldError]:
    """A name of at least two labels; a trailing dot is fine."""
    if not value:
        return [FieldError.required(path)]
    name = value.removesuffix(".")
    if messages := dns_subdomain(name):
        return [FieldError.invalid(path, name, ",".join(messages))]
    labels = name.split(".")
    if len(labels) < 2:
        words = "should be a domain with at least two segments separated by dots"
        return [FieldError.invalid(path, name, words)]
    for label in labels:
        if messages := dns_label(label):
            return [FieldError.invalid(path, label, ",".join(messages))]
    return []


def as_prefix(check: Check) -> Check:
    """`check` for a generateName: what follows may mend a trailing dash."""

    def masked(value: str) -> Messages:
        if len(value) < 2 or not value.endswith("-"):
            return check(value)
        # Go cuts bytes, not characters.
        return check(value.encode()[:-2].decode(errors="replace") + "a")

    return masked


def each(path: str, value: str, check: Check) -> list[FieldError]:
    """One error for every message that `check` has for `value`."""
    return [FieldError.invalid(path, value, message) for message in check(value)]


def one_of(path: str, value: str, supported: Iterable[str]) -> list[FieldError]:
    """Refuse a missing or unsupported value."""
    options = list(supported)
    if not value:
        return [FieldError.required(path)]
    return [] if value in options else [FieldError.not_supported(path, value, options)]
