"""The logs of a lab's containers: the present run's and the one before."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from testbed.runtime.logs import ContainerLog, delete

#: (namespace, Pod).
Key: TypeAlias = tuple[str, str]


class Logbook:
    """Logs by container, in files below `directory`.

    Where Pods `outlive` the process, files of an earlier one are logs of this one, too.
    """

    def __init__(self, directory: Path, *, outlive: bool) -> None:
        self._directory = directory
        self._outlive = outlive
        self._logs: dict[tuple[Key, str], ContainerLog] = {}
        directory.mkdir(mode=0o700, exist_ok=True)

    def file(self, key: Key, container: str) -> Path:
        """Where a container's output is kept."""
        return self._directory / f"{key[0]}_{key[1]}_{container}.log"

    def of(self, key: Key, container: str) -> ContainerLog | None:
        """The log of the container's present (or last) run, if it has begun."""
        log = self._logs.get((key, container))
        if log is None and self._outlive and self.file(key, container).exists():
            log = self._logs[key, container] = ContainerLog(self.file(key, container))
            log.close()  # of a run that an earlier process saw end
        return log

    def begin(self, key: Key, container: str) -> ContainerLog:
        """A new log; that of the run before stays as the previous one."""
        path = self.file(key, container)
        if before := self._logs.get((key, container)):
            before.close()
            delete(_previous(path))
            before.move(_previous(path))
        else:
            delete(path)
        log = self._logs[key, container] = ContainerLog(path, before)
        return log

    def go_on(self, key: Key, container: str) -> ContainerLog | None:
        """The log that an earlier process began, open again; None where it began none."""
        path = self.file(key, container)
        if not path.exists():
            return None
        log = self._logs[key, container] = ContainerLog(path)
        return log

    def end(self, key: Key, container: str) -> None:
        """The run has ended."""
        self._logs[key, container].close()

    def forget(self, key: Key, container: str) -> None:
        """A Pod of that name begins anew: nothing was logged before."""
        self._logs.pop((key, container), None)

    def remove(self, key: Key, container: str) -> None:
        """The container goes, and its output."""
        log = self._logs[key, container]
        log.close()
        log.delete()
        delete(_previous(log.path))


def _previous(path: Path) -> Path:
    return path.with_suffix(".previous.log")
