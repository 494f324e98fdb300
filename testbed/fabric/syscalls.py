"""System calls that Python 3.11 has no function for: unshare, setns, mount, umount2, pivot_root."""

from __future__ import annotations

import ctypes
import os
import threading

CLONE_FS, CLONE_NEWNS, CLONE_NEWNET = 0x200, 0x20000, 0x40000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC = 1, 32, 4096, 16384
MS_PRIVATE, MS_SHARED = 1 << 18, 1 << 20
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8

_libc = ctypes.CDLL(None, use_errno=True)


def _check(status: int, path: str | None = None) -> None:
    if status != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), path)


def _not_in_main_thread() -> None:
    if threading.current_thread() is threading.main_thread():
        raise RuntimeError("the main thread never leaves its network namespace")


def unshare_network() -> None:
    """Give the calling thread a new network namespace; never the main thread."""
    _not_in_main_thread()
    _check(_libc.unshare(CLONE_NEWNET))


def enter_network(descriptor: int) -> None:
    """Move the calling thread into the namespace behind `descriptor`; never the main thread."""
    _not_in_main_thread()
    _check(_libc.setns(descriptor, CLONE_NEWNET))


def bind_mount(source: str, target: str) -> None:
    _check(_libc.mount(source.encode(), target.encode(), b"none", MS_BIND, None), target)


def share_mount(target: str) -> None:
    """Let mounts below `target` come and go in copies of this mount namespace, too."""
    _check(_libc.mount(b"none", target.encode(), b"none", MS_SHARED, None), target)


def detach_mount(target: str) -> None:
    """Unmount `target` and everything below it at once; what is still in use goes later."""
    _check(_libc.umount2(target.encode(), MNT_DETACH | UMOUNT_NOFOLLOW), target)


def unshare_mounts() -> None:
    """Give the calling thread mounts of its own, which nobody else sees; never the main thread."""
    _not_in_main_thread()
    _check(_libc.unshare(CLONE_NEWNS))
    mount("none", "/", "none", MS_REC | MS_PRIVATE)


def enter_mounts(descriptor: int) -> None:
    """Move the calling thread into a mount namespace, to its root; never the main thread."""
    _not_in_main_thread()
    _check(_libc.unshare(CLONE_FS))
    _check(_libc.setns(descriptor, CLONE_NEWNS))


def mount(source: str, target: str, kind: str, flags: int = 0, options: str = "") -> None:
    """mount(2)."""
    words = [text.encode() for text in (source, target, kind)]
    _check(_libc.mount(*words, ctypes.c_ulong(flags), options.encode() or None), target)


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root of the calling thread's mount namespace; the old one moves to `old`."""
    _not_in_main_thread()
    _check(_libc.pivot_root(new.encode(), old.encode()), new)
