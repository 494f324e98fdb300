"""Tokens of ServiceAccounts hold as long as what they are bound to, and not a second longer."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from testbed.api.documents import Document
from testbed.api.status import StatusError
from testbed.clock import ManualClock
from testbed.control.apiserver.tokens import ServiceAccountTokens
from testbed.control.store import Store


class World:
    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock(wall=1_800_000_000)
        self.store = Store(self.clock)
        self.tokens = ServiceAccountTokens(directory, self.store, self.clock.wall)
        self.account = self.make("serviceaccounts", "ServiceAccount", "bot")
        self.pod = self.make("pods", "Pod", "web", spec={"serviceAccountName": "bot"})

    def make(self, resource: str, kind: str, name: str, **more: Document) -> Document:
        meta = {"name": name, "namespace": "team", "uid": f"uid-{name}"}
        document = {"apiVersion": "v1", "kind": kind, "metadata": meta, **more}
        return self.store.create(resource, document)

    def token(self, **spec: object) -> str:
        return str(self.tokens.request(self.account, {"spec": spec})["status"]["token"])


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_token_names_its_account_until_it_expires(world: World) -> None:
    token = world.token(expirationSeconds=600)
    user = world.tokens.user(token)
    assert user is not None
    assert user.name == "system:serviceaccount:team:bot"
    assert "system:serviceaccounts:team" in user.groups
    world.clock.advance(599)
    assert world.tokens.user(token) is not None
    world.clock.advance(1)
    assert world.tokens.user(token) is None


def test_a_token_ends_with_its_account_its_pod_and_their_namesakes(world: World) -> None:
    token = world.tokens.for_pod(world.pod, "", 3607)
    assert world.tokens.user(token) is not None
    world.store.delete("pods", "team", "web")
    assert world.tokens.user(token) is None
    again = {**world.pod, "metadata": {**world.pod["metadata"], "uid": "another"}}
    again["metadata"].pop("resourceVersion")
    world.store.create("pods", again)
    assert world.tokens.user(token) is None
    unbound = world.token()
    world.store.delete("serviceaccounts", "team", "bot")
    assert world.tokens.user(unbound) is None


def test_the_token_that_every_pod_has_holds_for_a_year(world: World) -> None:
    token = world.tokens.for_pod(world.pod, "", 3607)
    world.clock.advance(364 * 86400)
    assert world.tokens.user(token) is not None


def test_a_token_for_another_audience_is_none_for_us(world: World) -> None:
    token = world.token(audiences=["vault"])
    assert world.tokens.user(token) is None
    assert world.tokens.user(token, "vault") is not None


@pytest.mark.parametrize("broken", ["", "a.b.c", "..", "x", "é.é.é", "eyJ9.e30.AAAA"])
def test_what_is_no_token_is_nobodys(world: World, broken: str) -> None:
    assert world.tokens.user(broken) is None


def test_a_changed_token_is_nobodys(world: World) -> None:
    header, claims, signature = world.token().split(".")
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    said["sub"] = "system:serviceaccount:kube-system:admin"
    forged = base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()
    assert world.tokens.user(f"{header}.{forged}.{signature}") is None
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    assert world.tokens.user(f"{none}.{claims}.") is None


def test_the_key_stays_so_that_tokens_survive_the_server(world: World, tmp_path: Path) -> None:
    token = world.token()
    later = ServiceAccountTokens(tmp_path, world.store, world.clock.wall)
    assert later.user(token) is not None
    assert (tmp_path / "sa.key").stat().st_mode & 0o777 == 0o600
    stranger = tmp_path / "other"
    stranger.mkdir()
    assert ServiceAccountTokens(stranger, world.store, world.clock.wall).user(token) is None


@pytest.mark.parametrize("seconds", [0, 599, (1 << 32) + 1])
def test_lifetimes_have_limits(world: World, seconds: int) -> None:
    with pytest.raises(StatusError, match="may not specify a duration"):
        world.token(expirationSeconds=seconds)


def test_a_token_is_bound_to_what_is_there(world: World) -> None:
    token = world.token(boundObjectRef={"kind": "Pod", "name": "web"})
    world.store.delete("pods", "team", "web")
    assert world.tokens.user(token) is None
    for reference, words in (
        ({"kind": "Pod", "name": "web"}, 'pods "web" not found'),
        ({"kind": "ConfigMap", "name": "x"}, "cannot bind token for serviceaccount"),
    ):
        with pytest.raises(StatusError, match=words):
            world.token(boundObjectRef=reference)
