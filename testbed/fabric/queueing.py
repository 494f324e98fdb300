"""Queueing disciplines of an interface: rates and delays for what leaves it.

pyroute2's IPRoute is bound to the thread that made it, and to that thread's network namespace: each
call makes one in a thread inside the namespace, and closes it there.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Any

from testbed.errors import CannotRunError, TestbedError
from testbed.fabric.namespace import Namespace

_ROOT, _BELOW_RATE = 0x10000, 0x20000
_RATE_CLASS = 0x10001
#: What the kernel says of a discipline that it doesn't have, or of an interface without one.
_UNKNOWN = (errno.ENOENT, errno.EOPNOTSUPP)
_GONE = (errno.ENOENT, errno.EINVAL, errno.ENODEV)


def clear(place: Namespace, interface: str) -> None:
    """Take the disciplines of an interface away; one without any, or gone, is no error."""
    try:
        _with_link(place, interface, lambda door, index: door.tc("del", index=index, root=True))
    except OSError as error:
        if error.errno not in _GONE:
            raise TestbedError(f"{interface} in {place.name}: {error.strerror}") from None


def limit_rate(place: Namespace, interface: str, rate: int, burst: int, latency: float) -> None:
    """Let `rate` bits per second leave, `burst` bytes at once; packets wait up to `latency` s."""

    def add(door: Any, index: int) -> None:
        options = {"rate": f"{rate}bit", "burst": burst, "latency": f"{round(latency * 1000)}ms"}
        door.tc("add", "tbf", index, handle=_ROOT, **options)

    _add(place, interface, "tbf", "limited", add)


def delay(place: Namespace, interface: str, seconds: float, *, below_rate: bool) -> None:
    """Let every packet wait so long; `below_rate` puts it under a `limit_rate` that stands.

    Raises CannotRunError where the kernel has no netem.
    """

    def add(door: Any, index: int) -> None:
        place_in_tree = (
            {"parent": _RATE_CLASS, "handle": _BELOW_RATE} if below_rate else {"handle": _ROOT}
        )
        door.tc("add", "netem", index, delay=round(seconds * 1_000_000), **place_in_tree)

    _add(place, interface, "netem", "delayed", add)


def _add(
    place: Namespace, interface: str, kind: str, what: str, add: Callable[[Any, int], None]
) -> None:
    try:
        _with_link(place, interface, add)
    except OSError as error:
        if error.errno in _UNKNOWN:
            raise CannotRunError(
                f"this kernel has no {kind}, so packets can't be {what} (see testbed doctor)"
            ) from None
        raise TestbedError(f"{interface} in {place.name}: {kind}: {error.strerror}") from None


def _with_link(place: Namespace, interface: str, work: Callable[[Any, int], None]) -> None:
    """Call `work(door, index)` with a pyroute2 IPRoute of the namespace; raises OSError."""
    index = place.index(interface)

    def inside() -> None:
        # A tenth of a second to import, which only who impairs something should pay.
        from pyroute2 import IPRoute
        from pyroute2.netlink.exceptions import NetlinkError

        with IPRoute() as door:
            try:
                work(door, index)
            except NetlinkError as error:
                raise OSError(error.code, str(error.args[-1])) from None

    place.call(inside)
