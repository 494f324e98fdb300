"""What a container runs: its own `command:`, or the echo application. Images aren't pulled."""

from __future__ import annotations

from testbed.api.documents import Document


def program_of(container: Document) -> list[str] | None:
    """The argv of a container; None for the built-in echo application."""
    command = container.get("command")
    if not command:
        return None
    return [*command, *(container.get("args") or ())]
