"""Labs with names of their own, and small helpers for TCP between namespaces."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from testbed.fabric.fabric import Fabric
from testbed.fabric.namespace import Namespace

_numbers = itertools.count(1)

Exchange = Callable[[Namespace, Namespace, str], str]


@pytest.fixture
def lab_name() -> str:
    """A lab name that no other test run has."""
    return f"fab{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def fabric(lab_name: str) -> Iterator[Fabric]:
    with Fabric(lab_name) as made:
        yield made


@pytest.fixture
def exchange() -> Exchange:
    """Connect by TCP from one namespace to an address served in another: the source seen there."""

    def connect(client: Namespace, server: Namespace, address: str) -> str:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with (
            server.socket(family, socket.SOCK_STREAM) as listener,
            client.socket(family, socket.SOCK_STREAM) as connection,
        ):
            listener.bind((address, 0))
            listener.listen()
            listener.settimeout(5)
            connection.settimeout(5)
            connection.connect(listener.getsockname()[:2])
            accepted, source = listener.accept()
            accepted.sendall(b"hello")
            accepted.close()
            assert connection.recv(16) == b"hello"
            return str(source[0])

    return connect
