from __future__ import annotations

import socket

import pytest

from testbed.runtime.proxy_protocol import SIGNATURE, Header, is_possible, parse


def header(family: int, body: bytes, command: int = 0x21) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


V4 = socket.inet_aton("203.0.113.10") + socket.inet_aton("198.51.100.1") + b"\x9c\x40\0\x50"
V6 = bytes(15) + b"\1" + bytes(15) + b"\2" + b"\x9c\x40\0\x50"


@pytest.mark.parametrize(
    ("data", "client"),
    [
        (header(0x11, V4), ("203.0.113.10", 40000)),
        (header(0x21, V6), ("::1", 40000)),
        (header(0x11, V4 + b"\4\0\1x"), ("203.0.113.10", 40000)),
        (header(0x11, V4, command=0x20), None),
        (header(0x00, b""), None),
    ],
    ids=["IPv4", "IPv6", "with an extension", "local", "unspecified"],
)
def test_header_names_the_client(data: bytes, client: tuple[str, int] | None) -> None:
    assert parse(data + b"GET / HTTP/1.1") == Header(len(data), client)
    assert all(parse(data[:n]) is None and is_possible(data[:n]) for n in range(len(data)))


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n", b"\r\nhello", b"x"])
def test_other_beginnings_are_no_header(data: bytes) -> None:
    assert not is_possible(data)
    assert parse(data) is None
