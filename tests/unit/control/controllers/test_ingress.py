"""The Ingress controller with proxies that refuse what a test says."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from testbed.api.documents import Document
from testbed.clock import ManualClock
from testbed.control.controllers.base import Manager
from testbed.control.controllers.ingress import IngressController
from testbed.ingress import manifests
from testbed.ingress.model import Configuration
from tests.unit.control.world import StoreApi


class Api(StoreApi):
    def __init__(self) -> None:
        super().__init__(ManualClock())
        self.told: list[tuple[str, str]] = []

    def event(self, involved: Document, kind: str, reason: str, message: str) -> None:
        self.told.append((involved["metadata"]["name"], reason))


class Proxies:
    """Refuses what `refuses` says, and serves the rest."""

    def __init__(self) -> None:
        self.served: Configuration | None = None
        self.refuses: Callable[[Configuration], bool] = lambda _: False

    def check(self, configuration: Configuration) -> str:
        return "no" if self.refuses(configuration) else ""

    def apply(self, configuration: Configuration) -> None:
        self.served = configuration

    @property
    def hosts(self) -> set[str]:
        return {host.name for host in self.served.hosts} if self.served else set()


class Names:
    def set_addresses(self, name: str, addresses: Sequence[str], owner: str = "") -> None:
        pass


class World:
    def __init__(self) -> None:
        self.api = Api()
        self.store = self.api.store
        self.proxies = Proxies()
        self.manager = Manager(self.store, self.api.clock)
        self.manager.add(IngressController(self.api, self.proxies, Names()))
        spec = {"controller": manifests.CONTROLLER}
        self.store.create("ingressclasses", {"metadata": {"name": "ours"}, "spec": spec})

    def add(self, name: str, secret: str = "") -> None:
        spec: Document = {"ingressClassName": "ours", "rules": [rule(f"{name}.org")]}
        if secret:
            spec["tls"] = [{"hosts": [f"{name}.org"], "secretName": secret}]
        self.store.create(
            "ingresses", {"metadata": {"name": name, "namespace": "default"}, "spec": spec}
        )
        self.manager.run()

    def take_events(self) -> list[tuple[str, str]]:
        events = [e for e in self.api.told if e[1] in ("Sync", "Rejected")]
        self.api.told.clear()
        return events


def rule(host: str) -> Document:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
    return {"host": host, "http": {"paths": paths}}


def names_of(configuration: Configuration) -> set[str]:
    return {host.name for host in configuration.hosts}


def test_two_that_only_together_break_the_proxy_do_not_stop_a_third() -> None:
    world = World()
    world.proxies.refuses = lambda c: {"a.org", "b.org"} <= names_of(c)
    for name in ("a", "b", "c"):
        world.add(name)
        world.api.clock.advance(1)
    assert world.proxies.hosts == {"a.org", "c.org"}
    assert world.take_events() == [("a", "Sync"), ("b", "Rejected"), ("c", "Sync")]
    world.store.delete("ingresses", "default", "a")
    world.manager.run()
    assert world.proxies.hosts == {"b.org", "c.org"}
    assert world.take_events() == [("b", "Sync")]


def test_nothing_is_said_to_be_served_that_is_not() -> None:
    world = World()
    world.proxies.refuses = lambda _: True
    world.add("a")
    assert world.proxies.served is None
    assert world.take_events() == [("a", "Rejected")]


def test_a_refused_ingress_is_tried_again_when_its_secret_changes() -> None:
    world = World()
    world.proxies.refuses = lambda _: True
    secret: Document = {"metadata": {"name": "cert", "namespace": "default"}, "data": {"x": "1"}}
    world.store.create("secrets", secret)
    world.add("a", secret="cert")
    world.proxies.refuses = lambda _: False
    changed = copy.deepcopy(world.store.get("secrets", "default", "cert"))
    changed["data"] = {"x": "2"}
    world.store.update("secrets", changed)
    world.manager.run()
    assert world.proxies.hosts == {"a.org"}
    assert world.take_events() == [("a", "Rejected"), ("a", "Sync")]
