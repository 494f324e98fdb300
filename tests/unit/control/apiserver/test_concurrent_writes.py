"""Many clients at once: each gets addresses and ports of its own, or is told of none."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter

from tests.unit.control.apiserver.live import JSON, Document, Live

PATH = "/api/v1/namespaces/default/services"
FORMS: list[Document] = [
    {"type": "ClusterIP"},
    {"type": "NodePort"},
    {"type": "LoadBalancer", "externalTrafficPolicy": "Local"},
    {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30100}]},
    {"clusterIP": "10.96.0.77"},
    {"ipFamilyPolicy": "RequireDualStack"},
]


async def send(live: Live, method: str, path: str, body: Document | None = None) -> int:
    headers = {
        "Authorization": f"Bearer {live.server.credentials.token}",
        "Content-Type": JSON,
    }
    data = None if body is None else json.dumps(body)
    url = live.server.url + path
    async with live.session.request(method, url, data=data, headers=headers) as response:
        await response.read()
        return response.status


def service(name: str, form: Document) -> Document:
    return {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], **form}}


def held(live: Live) -> tuple[list[str], list[int]]:
    """What the stored Services have: addresses and ports."""
    specs = [stored["spec"] for stored in live.registry.store.list("services")]
    addresses = [address for spec in specs for address in spec["clusterIPs"]]
    ports = [port["nodePort"] for spec in specs for port in spec["ports"] if "nodePort" in port]
    checks = [spec["healthCheckNodePort"] for spec in specs if "healthCheckNodePort" in spec]
    return addresses, ports + checks


def test_concurrent_creates_changes_and_deletes_share_the_pools(live: Live) -> None:
    source = random.Random(1)
    names = [f"s{number}" for number in range(30)]

    async def storm() -> list[int]:
        calls = []
        for _ in range(240):
            name, form = source.choice(names), source.choice(FORMS)
            action = source.choice(("POST", "POST", "PUT", "DELETE"))
            path = PATH if action == "POST" else f"{PATH}/{name}"
            body = None if action == "DELETE" else service(name, form)
            calls.append(send(live, action, path, body))
        return await asyncio.gather(*calls)

    codes = Counter(live.run(storm()))
    assert set(codes) <= {200, 201, 404, 409, 422}
    addresses, ports = held(live)
    assert len(addresses) == len(set(addresses))
    assert len(ports) == len(set(ports))
    pools = live.registry._admission
    assert {str(address) for address in pools.addresses.held()} == set(addresses)
    assert pools.ports.held() == set(ports)


def test_one_of_many_gets_the_address_that_all_ask_for(live: Live) -> None:
    async def race() -> list[int]:
        form = {"clusterIP": "10.96.0.99", "type": "NodePort"}
        form |= {"ports": [{"port": 80, "nodePort": 30123}]}
        return await asyncio.gather(
            *(send(live, "POST", PATH, service(f"r{number}", form)) for number in range(40))
        )

    assert Counter(live.run(race())) == {201: 1, 422: 39}
