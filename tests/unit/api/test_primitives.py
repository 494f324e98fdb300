"""Parts that every kind's rules are made of, as Kubernetes 1.36's own Go library answers."""

from __future__ import annotations

import pytest

from testbed.api import quantity, warn
from testbed.api.documents import Document
from testbed.api.status import FieldError
from testbed.api.validation import meta
from testbed.api.validation.addresses import legacy_cidr, strict_cidr
from testbed.api.validation.names import as_prefix, dns_label, path_prefix

QUANTITIES = [
    # As it was written where Go takes that for canonical.
    ("1.500", "1.500"),
    ("+1", "+1"),
    ("1000E3", "1e6"),
    ("1e3", "1e3"),
    ("10", "10"),
    # Digits may be missing altogether.
    (".", "0"),
    ("k", "0"),
    ("-0", "0"),
    # No suffix for so large a number: Go leaves it out.
    ("1000E", "1"),
    ("1e21", "1e21"),
    # Beyond 64 bits.
    ("123456789012345678901", "123456789012345678901"),
    ("9Ei", "9223372036854775807"),
    ("-9Ei", "-9223372036854775807"),
    ("0.0000000001", "1n"),
    ("1.0000000001", "1000000001n"),
    ("0.5Ki", "512"),
    ("0.1Ki", "102400m"),
    ("2048Ki", "2Mi"),
]


@pytest.mark.parametrize(("given", "expected"), QUANTITIES)
def test_a_quantity_is_printed_as_go_prints_it(given: str, expected: str) -> None:
    assert quantity.canonical(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Ei", quantity.NUMBER_ERROR),
        ("1Kb", quantity.FORMAT_ERROR),
        ("1mm", quantity.SUFFIX_ERROR),
        ("1e", quantity.SUFFIX_ERROR),
        ("1.1.1", quantity.FORMAT_ERROR),
    ],
)
def test_a_bad_quantity_is_refused_in_gos_words(given: str, expected: str) -> None:
    with pytest.raises(ValueError, match="quantit") as caught:
        quantity.canonical(given)
    assert str(caught.value) == expected


@pytest.mark.parametrize("digits", [25, 40])
def test_a_quantity_of_many_digits_has_its_exact_value(digits: int) -> None:
    text = "7" * digits
    value = quantity.parse(text)[0]
    assert str(value) == text
    assert value == value.to_integral_value()


def test_a_generated_names_prefix_is_cut_by_the_byte() -> None:
    assert as_prefix(dns_label)("ü-") == dns_label("\ufffda")
    assert as_prefix(dns_label)("web-") == []


def test_a_dot_can_begin_a_generated_path_segment() -> None:
    assert path_prefix(".") == []
    assert path_prefix("a/b") == ["may not contain '/'"]


def words(errors: list[FieldError]) -> list[str]:
    return [error.detail for error in errors]


@pytest.mark.parametrize("check", [legacy_cidr, strict_cidr])
def test_zeros_before_a_prefix_length_are_named(check: object) -> None:
    found = legacy_cidr("p", "::/0064") if check is legacy_cidr else strict_cidr("p", "::/0064")
    assert words(found) == ["must not have leading 0s in IP or prefix length"]


CIDR_WARNINGS = [
    ("10.0.0.0/8", []),
    ("10.0.0.0/33", []),
    (
        "10.0.0.1/8",
        [
            'p: CIDR value "10.0.0.1/8" is ambiguous in this context '
            '(should be "10.0.0.0/8" or "10.0.0.1/32"?)'
        ],
    ),
    (
        "010.0.0.0/8",
        ['p: non-standard CIDR value "010.0.0.0/8" is invalid: use "10.0.0.0/8"'],
    ),
    (
        "::ffff:10.0.0.0/104",
        ['p: non-standard CIDR value "::ffff:10.0.0.0/104" is invalid: use "10.0.0.0/8"'],
    ),
    (
        "0::1/00",
        [
            'p: CIDR value "0::1/00" is ambiguous in this context (should be "::/0" or "::1/128"?)',
            'p: non-standard CIDR value "0::1/00" is invalid: use "::/0"',
        ],
    ),
    (
        "FD00::/8",
        ['p: IPv6 CIDR value "FD00::/8" should be in RFC 5952 canonical format ("fd00::/8")'],
    ),
]


@pytest.mark.parametrize(("given", "expected"), CIDR_WARNINGS)
def test_a_range_that_could_be_written_better_gets_a_warning(
    given: str, expected: list[str]
) -> None:
    assert warn.network_form("p", given) == expected


MANAGED: list[tuple[Document, list[str]]] = [
    ({"operation": "Update", "manager": "m", "fieldsType": "FieldsV1"}, []),
    ({"operation": "x"}, ["metadata.managedFields[0].operation: Invalid value: \"x\": "
                          "must be `Apply` or `Update`"]),
    ({"operation": "Apply", "fieldsType": "z"}, ["metadata.managedFields[0].fieldsType: "
                                                 "Invalid value: \"z\": must be `FieldsV1`"]),
    ({"operation": "Apply", "manager": "m" * 129}, ["metadata.managedFields[0].manager: Too long: "
                                                    "may not be more than 128 bytes"]),
    ({"operation": "Apply", "manager": "ü\n"}, ["metadata.managedFields[0].manager: "
                                                "Invalid value: \"ü\\n\": "
                                                "invalid character U+000A (at position 2)"]),
]  # fmt: skip


@pytest.mark.parametrize(("entry", "expected"), MANAGED)
def test_field_managers_are_checked(entry: Document, expected: list[str]) -> None:
    given: Document = {"name": "a", "namespace": "default", "managedFields": [entry]}
    assert [str(e) for e in meta.any_meta(given, namespaced=True, name=dns_label)] == expected


def test_a_cause_about_the_whole_object_names_no_field() -> None:
    assert FieldError.too_long("", 10).cause == {
        "reason": "FieldValueTooLong",
        "message": "Too long: may not be more than 10 bytes",
    }
