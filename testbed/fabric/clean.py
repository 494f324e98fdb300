"""Find and remove what labs left behind, by their marks and by nothing else."""

from __future__ import annotations

import os

from testbed.errors import CannotRunError, UsageError
from testbed.fabric import marks
from testbed.naming import check_lab_name, run_root


def clean(lab: str | None = None, *, force: bool = False) -> list[str]:
    """Remove the remains of `lab` (None: of every lab); one line for each thing removed.

    A lab whose process lives is left alone, unless `force`: then that process ends first. Never
    touches this process, its ancestors, or the process of another lab that lives.
    """
    if os.geteuid() != 0:
        raise CannotRunError("cleaning up needs root: run it with sudo")
    names = known_labs() if lab is None else [check_lab_name(lab)]
    return [line for name in names for line in _clean_one(name, force)]


def known_labs() -> list[str]:
    """Every lab of this run root that left a directory, a link or a process, by name."""
    root = run_root()
    found = {entry.name for entry in os.scandir(root) if entry.is_dir()} if root.is_dir() else set()
    return sorted(filter(_is_name, found | marks.linked_labs() | marks.marked_labs()))


def _is_name(lab: str) -> bool:
    """Whether a lab could be called so: nothing else in the run root is ours to remove."""
    try:
        check_lab_name(lab)
    except UsageError:
        return False
    return True


def _clean_one(lab: str, force: bool) -> list[str]:
    gone: list[str] = []
    if lab not in known_labs():
        return gone
    if marks.is_alive(lab):
        if not force:
            return []
        gone += _end_owner(lab)
    lock = marks.lock_lab(lab)  # nobody may start it meanwhile
    try:
        others = [name for name in known_labs() if name != lab]
        spared = marks.ourselves() | marks.lock_holders(others).keys()
        gone += marks.end_processes(lab, marks.mounted_namespaces(lab), spared)
        return gone + marks.remove_directory(lab)
    finally:
        os.close(lock)


def _end_owner(lab: str) -> list[str]:
    """Kill and await the process that holds the lab's lock."""
    owners = marks.lock_holders([lab])
    if os.getpid() in owners:
        raise CannotRunError(f"lab {lab!r} lives in this very process: close it instead")
    return marks.kill(owners)
