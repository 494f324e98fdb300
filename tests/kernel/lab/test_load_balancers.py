"""Load balancers in a whole lab: what each data plane does with the client's address."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from testbed.api.objects import Service
from testbed.cluster import Cluster
from testbed.shell import CommandError

pytestmark = pytest.mark.kernel

CLIENT = {4: "203.0.113.10", 6: "2001:db8:113::10"}
BALANCER = {4: "192.0.2.2", 6: "2001:db8:2::2"}
NODES = {4: "172.18.0.", 6: "fd00:172:18:"}

APP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: my-app}
spec:
  replicas: 2
  selector: {matchLabels: {app: my-app}}
  template:
    metadata: {labels: {app: my-app}}
    spec: {containers: [{name: c, image: any}]}
"""


def service(data_plane: str, policy: str) -> str:
    return f"""
apiVersion: v1
kind: Service
metadata:
  name: web-{data_plane}-{policy.lower()}
  annotations: {{cloud.testbed/data-plane: {data_plane}}}
spec:
  type: LoadBalancer
  selector: {{app: my-app}}
  externalTrafficPolicy: {policy}
  ipFamilyPolicy: RequireDualStack
  ports: [{{port: 80, targetPort: 8080}}]
"""


def stored(lab: Cluster, name: str) -> Service:
    return next(s for s in lab.core.services() if s.key.name == name)


def ask(lab: Cluster, address: str) -> dict[str, str] | None:
    """The echo application's answer to the client outside, or None."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    try:
        return dict(json.loads(lab.fabric.namespace("client").run(["curl", "-sm1", url])))
    except CommandError:
        return None


def host(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


@pytest.fixture(scope="module")
def lab() -> Iterator[Cluster]:
    with Cluster("three_nodes", name=f"lb-{uuid.uuid4().hex[:8]}") as made:
        made.apply(APP)
        yield made


@pytest.mark.parametrize("policy", ["Cluster", "Local"])
@pytest.mark.parametrize("data_plane", ["nat", "nat-masquerade", "dsr", "proxy"])
def test_address_that_the_pod_sees(lab: Cluster, data_plane: str, policy: str) -> None:
    lab.apply(service(data_plane, policy))
    ingress = stored(lab, f"web-{data_plane}-{policy.lower()}").ingress
    modes = {entry.ip_mode for entry in ingress}
    assert modes == {"Proxy" if data_plane == "proxy" else "VIP"}
    for version, entry in zip((4, 6), ingress, strict=True):
        answer = ask(lab, entry.ip)
        assert answer is not None, entry
        peer = host(answer["peer"])
        if policy == "Cluster":
            assert peer.startswith(NODES[version]), answer
        else:
            keeps = data_plane in ("nat", "dsr")
            assert peer == (CLIENT if keeps else BALANCER)[version], answer
        told = host(answer.get("client", ""))
        assert told == (CLIENT[version] if data_plane == "proxy" else "")


def test_balancer_follows_the_endpoints_after_its_threshold(lab: Cluster) -> None:
    lab.apply(service("nat", "Local"))
    made = stored(lab, "web-nat-local")
    cloud = lab.core.cloud
    assert cloud is not None
    assert len(cloud.healthy(made.key)) == 2
    lab.scale("deployment/my-app", 0)
    assert ask(lab, made.ingress[0].ip) is None
    for _ in range(3):
        lab.advance(2)
    assert cloud.healthy(made.key) == ()
    lab.scale("deployment/my-app", 2)
    for _ in range(3):
        lab.advance(2)
    assert len(cloud.healthy(made.key)) == 2
    assert ask(lab, made.ingress[0].ip) is not None


def test_deleted_service_frees_its_addresses_and_rules(lab: Cluster) -> None:
    manifest = service("nat", "Cluster").replace("web-nat-cluster", "gone")
    lab.apply(manifest)
    vip = stored(lab, "gone").ingress[0].ip
    assert ask(lab, vip) is not None
    lab.delete(manifest)
    assert ask(lab, vip) is None
    rules = lab.fabric.namespace("lb").run(["nft", "list", "ruleset"])
    assert "default/gone" not in rules
    assert not any(s.key.name == "gone" for s in lab.core.services())
    lab.apply(manifest.replace("gone", "next"))
    assert stored(lab, "next").ingress[0].ip == vip


def test_without_a_cloud_the_service_stays_pending_and_an_event_says_why() -> None:
    with Cluster("single_node", name=f"nc-{uuid.uuid4().hex[:8]}", cloud="none") as lab:
        lab.apply(service("nat", "Cluster"))
        assert stored(lab, "web-nat-cluster").ingress == ()
        events = lab.core.control.store.list("events")
        assert "NoCloudProvider" in {event.get("reason") for event in events}
