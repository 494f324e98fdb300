"""What a lab's user does to the world around the Services: names, bad networks, programs, servers.

The other half of `Cluster`, which inherits it.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeVar

from testbed import shell
from testbed.api.documents import name_of
from testbed.errors import CannotRunError, UsageError
from testbed.fabric.impair import Quality
from testbed.fabric.namespace import marks_of
from testbed.lab.objects import key_of
from testbed.naming import run_directory

if TYPE_CHECKING:  # a lab comes up without the DNS client and the oracle
    from testbed.api.objects import Pod
    from testbed.dns.client import Resolution
    from testbed.dns.resolv import ResolvConf
    from testbed.fabric.fabric import Fabric
    from testbed.lab.core import LabCore
    from testbed.lab.lookup import Asker

T = TypeVar("T")


class Surroundings(ABC):
    """Methods of a running lab; every one may be called from any thread."""

    core: LabCore
    fabric: Fabric

    @abstractmethod
    def in_loop(self, work: Callable[[], T]) -> T:
        """Run `work` in the lab's thread."""

    @abstractmethod
    def _change(self, work: Callable[[], T]) -> T:
        """Run `work` in the lab's thread and wait until the lab has come to rest."""

    # names

    def resolve(
        self, source: str, name: str, kind: str = "", *, timeout: float = 1.0
    ) -> Resolution:
        """Look `name` up as programs of `source` do: its search path, its server, real packets.

        `kind` is a record type (SRV, PTR …); without, addresses are asked for as getaddrinfo asks.
        The result tells every query; where the name has no answer, its `problem`.
        """
        from testbed.dns.zone import Type, record_type

        kinds = (Type.A, Type.AAAA) if not kind else (record_type(kind),)
        return self._asker(source).resolve(name, kinds, timeout)

    def resolver_of(self, source: str) -> ResolvConf:
        """What /etc/resolv.conf says in a Pod, on a node or on another machine."""
        return self._asker(source).resolver

    def _asker(self, source: str) -> Asker:
        from testbed.lab.lookup import asker_of
        from testbed.lab.places import origin_of, world_of

        world = self.in_loop(lambda: world_of(self.core))
        origin = origin_of(self.core, source, world)
        return self.in_loop(lambda: asker_of(self.core, source, world, origin))

    def add_public_name(self, name: str, kind: str, value: str) -> None:
        """Add a record (A, AAAA, CNAME, TXT) to the lab's public DNS; raises UsageError."""
        self.in_loop(lambda: self.core.addons.dns.public.add(name, kind, value))

    # what runs, and what it says

    def run(self, source: str, argv: Sequence[str], *, timeout: float = 10.0) -> str:
        """Run a program of this machine in a Pod or on a machine, with its resolv.conf; its output.

        Raises CommandError for a status other than 0, CannotRunError where it isn't installed.
        """
        asker = self._asker(source)
        try:
            if asker.pod is not None and not asker.pod.host_network:
                pod = asker.pod
                command, variables = self.in_loop(lambda: self._inside(pod, argv))
            else:
                file = run_directory(self.fabric.lab) / f"{asker.origin.name}.resolv.conf"
                file.write_text(asker.resolver.text)
                mounts = [(file, "/etc/resolv.conf")]
                name = asker.origin.name
                command = shell.in_pod_namespaces(argv, asker.origin.fd, name, mounts)
                variables = marks_of(self.fabric.lab)
        except FileNotFoundError:
            raise CannotRunError(f"program {argv[0]!r} is not installed on this machine") from None
        return shell.run(command, env={**os.environ, **variables}, timeout=timeout)

    def _inside(self, pod: Pod, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        document = self.core.control.store.get("pods", pod.key.namespace, pod.key.name)
        sandbox = self.core.sandboxes.find(document["metadata"]["uid"])
        if sandbox is None:
            raise UsageError(f"pod/{pod.key.name} in {pod.key.namespace} doesn't run")
        container = name_of({"metadata": document["spec"]["containers"][0]})
        return (
            sandbox.inside(container, argv),
            sandbox.environment_of(container),
        )

    def serve(self, machine: str, *ports: str) -> None:
        """Have an echo server listen on a machine outside, on exactly `5432/TCP` and the like."""
        wanted = set()
        for port in ports:
            number, _, protocol = port.partition("/")
            if not number.isdigit() or protocol not in ("", "TCP", "UDP"):
                raise UsageError(f"port {port!r}: write NUMBER, NUMBER/TCP or NUMBER/UDP")
            wanted.add((protocol or "TCP", int(number)))
        if problems := self.in_loop(lambda: self.core.addons.serve(machine, wanted)):
            raise CannotRunError(f"{machine}: {'; '.join(problems)}")

    def logs(self, pod: str, container: str) -> str:
        """What a container of Pod `name` (or `namespace/name`) has printed."""
        key = key_of(pod)
        log = self.core.sandboxes.logs.file((key.namespace, key.name), container)
        return log.read_text() if log.exists() else ""

    def events(self, name: str) -> list[str]:
        """The Events about objects called `name`: `Warning NoCloudProvider: this lab …`."""
        found = self.in_loop(lambda: self.core.control.store.list("events"))
        return [
            f"{event['type']} {event['reason']}: {event['message']}"
            for event in found
            if event["involvedObject"]["name"] == name
        ]

    # bad networks

    def impair(
        self,
        place: str,
        *,
        delay: float = 0.0,
        loss: float = 0.0,
        rate: int = 0,
        direction: str = "both",
    ) -> None:
        """Make the links of `node/w1`, `client` or `pod/web-0` bad, one way or both.

        `delay` in seconds, `loss` as a share (0.1), `rate` in bits per second; `direction` is in,
        out or both, seen from the place. Raises CannotRunError for what this kernel can't do.
        """
        quality = Quality(delay, loss, rate)
        name = self._place(place)
        self._change(lambda: self.core.impairments.worsen(name, quality, direction))

    def cut(self, place: str, direction: str = "both") -> None:
        """Nothing passes the links of a place any more: in, out or both ways."""
        name = self._place(place)
        self._change(lambda: self.core.impairments.cut(name, direction))

    def mend(self, place: str) -> None:
        """Undo `impair` and `cut` of a place, and partitions at it."""
        name = self._place(place)
        self._change(lambda: self.core.impairments.mend(name))

    def partition(
        self, one: Iterable[str], other: Iterable[str], *, both_ways: bool = True
    ) -> None:
        """No packet of places `one` arrives at those of `other` (nor back, with `both_ways`)."""
        left, right = [self._place(p) for p in one], [self._place(p) for p in other]
        self._change(lambda: self.core.impairments.partition(left, right, both_ways=both_ways))

    def clear_impairments(self) -> None:
        """Mend everything; stopped nodes stay stopped."""
        self._change(self.core.impairments.clear)

    def _place(self, word: str) -> str:
        from testbed.lab.places import origin_of, world_of

        world = self.in_loop(lambda: world_of(self.core))
        return origin_of(self.core, word, world).name
