"""What a lab's run directory says of it, so that `testbed resume` can take it up again."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from testbed.errors import UsageError
from testbed.fabric import marks
from testbed.lab.options import LabOptions
from testbed.naming import run_directory

FILE_NAME = "lab.json"


@dataclass(slots=True)
class LabRecord:
    """A lab that can outlive its control plane: how it was made, and what has changed since.

    `topology` as load_topology takes it; `port` is the API server's on the host's loopback.
    """

    topology: str
    options: LabOptions
    port: int = 0
    stopped_nodes: list[str] = field(default_factory=list)

    def write(self, lab: str) -> None:
        """Put it into the lab's run directory, whole or not at all."""
        options: dict[str, Any] = dataclasses.asdict(self.options)
        options["images"] = str(self.options.images) if self.options.images else None
        values = {
            "topology": self.topology,
            "options": options,
            "port": self.port,
            "stoppedNodes": self.stopped_nodes,
        }
        path = run_directory(lab) / FILE_NAME
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(values, indent=2) + "\n")
        temporary.replace(path)

    @staticmethod
    def discard(lab: str) -> None:
        """Forget an earlier lab of this name."""
        (run_directory(lab) / FILE_NAME).unlink(missing_ok=True)

    @classmethod
    def read(cls, lab: str) -> LabRecord:
        """The record of lab `lab`; raises UsageError where there is none."""
        try:
            values = json.loads((run_directory(lab) / FILE_NAME).read_text())
        except FileNotFoundError:
            raise UsageError(
                f"there is no lab {lab!r} that could be resumed; start one with `testbed up`"
            ) from None
        options: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in values["options"].items()
        }
        if options["images"]:
            options["images"] = Path(options["images"])
        return cls(
            values["topology"], LabOptions(**options), values["port"], values["stoppedNodes"]
        )


def is_orphaned(lab: str) -> bool:
    """Whether `lab` stands and its control plane is dead: `testbed resume` takes it up."""
    return (run_directory(lab) / FILE_NAME).exists() and not marks.is_alive(lab)
