"""What went wrong with a connection, in the words of Go's net package."""

from __future__ import annotations

import errno
import os


def words(error: OSError) -> str:
    """`connect: connection refused` and the like; a time that ran out is an i/o timeout."""
    if isinstance(error, TimeoutError) and error.errno is None:
        return "i/o timeout"
    if error.errno is None:
        refused = isinstance(error, ConnectionRefusedError)
        return "connect: connection refused" if refused else str(error)
    # asyncio words a failed connect itself: only the number is the kernel's.
    text = os.strerror(error.errno)
    return f"connect: {_GO.get(error.errno, text[:1].lower() + text[1:])}"


#: Where Go's table differs from the C library's.
_GO = {errno.EHOSTUNREACH: "no route to host", errno.ETIMEDOUT: "connection timed out"}


def to_address(address: str, port: int, error: OSError) -> str:
    """A failed TCP connection to `address`."""
    return f"dial tcp {joined(address, port)}: {words(error)}"


def joined(address: str, port: int | str) -> str:
    """`address:port`; an IPv6 address stands in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def forwarding(port: int, sandbox: str, error: Exception) -> str:
    """A forwarded port that nobody listens on. Source: kubelet streaming and containerd."""
    where = f"error forwarding port {port} to pod {sandbox}, uid : "
    if not isinstance(error, OSError):
        return f"{where}{error}"
    why = words(error)
    return (
        f'{where}failed to connect to localhost:{port} inside namespace "{sandbox}", '
        f"IPv4: dial tcp4 127.0.0.1:{port}: {why} IPv6 dial tcp6 [::1]:{port}: {why}"
    )
