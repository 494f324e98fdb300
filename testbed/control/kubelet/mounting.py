"""Volumes of the Pods of all nodes: set up before a Pod starts, kept up to date while it runs.

Source: pkg/kubelet/volumemanager, pkg/volume/util/operationexecutor (FailedMount).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from testbed.api.documents import Document, name_of, namespace_of
from testbed.api.volumes import HostPath, Volume
from testbed.control.controllers.base import ClusterApi, Key
from testbed.control.kubelet.environment import PodFacts
from testbed.control.kubelet.runtime import PodRuntime
from testbed.control.kubelet.volumes import (
    TOKEN_VOLUME,
    ApiAccess,
    Sources,
    account_of,
    depends_on,
    renewal_of,
    volumes_of,
    with_api_access,
)

#: An object that volumes are filled from: resource, namespace, name.
_Reference: TypeAlias = tuple[str, str, str]
#: Delay before the second try of a volume that couldn't be set up (s), doubled up to the limit.
#: Source: pkg/util/goroutinemap/exponentialbackoff.
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 122.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """Volumes that couldn't be set up; they are tried again when it is `due`."""

    problems: Mapping[str, str]
    wait: float
    due: float


class VolumeManager:
    """`access` is what Pods need to call the API server; None where there is none."""

    def __init__(self, api: ClusterApi, runtime: PodRuntime) -> None:
        self._api = api
        self._runtime = runtime
        self.access: ApiAccess | None = None
        self._given: dict[str, Mapping[str, Volume]] = {}
        self._failures: dict[str, _Failure] = {}
        self._users: dict[_Reference, dict[str, Key]] = {}
        self._used: dict[str, set[_Reference]] = {}

    def complete(self, pod: Document) -> Document:
        """The Pod with the volumes that nobody has to ask for."""
        return with_api_access(pod, self._api.store.find) if self.access is not None else pod

    def set_up(self, pod: Document, facts: PodFacts) -> float | None:
        """Whether a (complete) Pod's volumes can be had: None, or seconds until the next try."""
        uid = pod["metadata"]["uid"]
        if uid not in self._used:
            self._used[uid] = set(depends_on(pod))
            for reference in self._used[uid]:
                self._users.setdefault(reference, {})[uid] = namespace_of(pod), name_of(pod)
        volumes, problems = self._volumes(pod, facts)
        for name, volume in volumes.items():
            if isinstance(volume, HostPath) and (problem := self._runtime.check_path(volume)):
                problems[name] = problem
        if problems:
            return self._failed(pod, problems)
        self._failures.pop(uid, None)
        self._given[uid] = volumes
        return None

    def give(self, uid: str) -> None:
        """The Pod's sandbox is there: it gets what was set up."""
        if volumes := self._given.get(uid):
            self._runtime.set_volumes(uid, volumes)

    def refresh(self, pod: Document, facts: PodFacts) -> float | None:
        """Bring a running Pod's volumes up to date; seconds until tokens are to be renewed.

        A volume that can't be had any more stays as it was, with an Event.
        """
        uid = pod["metadata"]["uid"]
        if uid not in self._given:
            return None
        pod = self.complete(pod)
        volumes, problems = self._volumes(pod, facts)
        volumes = {**self._given[uid], **volumes}
        if volumes != self._given[uid]:
            self._given[uid] = volumes
            self._runtime.set_volumes(uid, volumes)
        if problems:
            return self._failed(pod, problems)
        self._failures.pop(uid, None)
        period = renewal_of(pod)
        return None if period is None else period - self._api.clock.now() % period

    def users_of(self, resource: str, namespace: str, name: str) -> list[Key]:
        """The Pods that have a volume of this object."""
        return list(self._users.get((resource, namespace, name), {}).values())

    def forget(self, uid: str) -> None:
        """The Pod has come to its end."""
        self._given.pop(uid, None)
        self._failures.pop(uid, None)
        for reference in self._used.pop(uid, ()):
            users = self._users[reference]
            users.pop(uid, None)
            if not users:
                self._users.pop(reference)

    def _volumes(self, pod: Document, facts: PodFacts) -> tuple[dict[str, Volume], dict[str, str]]:
        now = self._api.clock.now()
        return volumes_of(pod, facts, Sources(self._api.store.find, self.access, now))

    def _failed(self, pod: Document, problems: Mapping[str, str]) -> float:
        uid, now = pod["metadata"]["uid"], self._api.clock.now()
        before = self._failures.get(uid)
        if before is not None and before.problems == problems and now < before.due:
            return before.due - now
        wait = min(2 * before.wait, _LONGEST_WAIT) if before is not None else _FIRST_WAIT
        self._failures[uid] = _Failure(problems, wait, now + wait)
        for name, problem in problems.items():
            if name != TOKEN_VOLUME or not self._comes_by_itself(pod):
                message = f'MountVolume.SetUp failed for volume "{name}" : {problem}'
                self._api.event(pod, "Warning", "FailedMount", message)
        return wait

    def _comes_by_itself(self, pod: Document) -> bool:
        """Whether the Pod only waits for its new namespace's ServiceAccount."""
        find, account = self._api.store.find, account_of(pod)
        return account == "default" and (
            find("serviceaccounts", namespace_of(pod), account) is None
            and find("namespaces", "", namespace_of(pod)) is not None
        )
