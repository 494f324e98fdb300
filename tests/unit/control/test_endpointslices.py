"""EndpointSlices: what is in them, how they are packed, and that they come out as recorded."""

from __future__ import annotations

import copy

from tests.unit.control.world import World, container, pod, service


def addresses(world: World, name: str = "web") -> set[str]:
    return {e["addresses"][0] for e in world.endpoints(name)}


def test_a_service_without_pods_has_one_empty_slice() -> None:
    world = World()
    world.create("services", service())
    (slice_,) = world.slices("web")
    assert (slice_["endpoints"], slice_["ports"]) == (None, None)


def test_endpoints_carry_node_zone_and_target() -> None:
    world = World(nodes=[("w3", "b")])
    world.create("services", service())
    world.create("pods", pod("web-0"))
    (endpoint,) = world.endpoints("web")
    assert endpoint["nodeName"] == "w3"
    assert endpoint["zone"] == "b"
    assert endpoint["targetRef"]["name"] == "web-0"
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}


def test_a_dual_stack_service_has_a_slice_per_family() -> None:
    world = World()
    world.create("services", service(ipFamilies=["IPv4", "IPv6"]))
    world.create("pods", pod("web-0"))
    assert sorted(s["addressType"] for s in world.slices("web")) == ["IPv4", "IPv6"]


def test_named_ports_that_differ_give_a_slice_each() -> None:
    world = World()
    world.create("services", service(target="http"))
    for name, number in (("a", 8080), ("b", 9090)):
        each = pod(name)
        each["spec"]["containers"] = [
            container(ports=[{"name": "http", "containerPort": number, "protocol": "TCP"}])
        ]
        world.create("pods", each)
    ports = {s["ports"][0]["port"] for s in world.slices("web")}
    assert ports == {8080, 9090}


def test_a_pod_without_the_named_port_sits_in_a_slice_without_ports() -> None:
    world = World()
    world.create("services", service(target="http"))
    world.create("pods", pod("a"))
    (slice_,) = world.slices("web")
    assert slice_["ports"] is None
    assert len(slice_["endpoints"]) == 1


def test_slices_hold_a_hundred_endpoints_and_are_not_rebalanced() -> None:
    world = World()
    world.create("services", service())
    for index in range(150):
        world.api.create("pods", pod(f"web-{index}"))
    world.run()
    assert sorted(len(s["endpoints"]) for s in world.slices("web")) == [50, 100]
    full = next(s for s in world.slices("web") if len(s["endpoints"]) == 100)
    for endpoint in full["endpoints"][:60]:
        world.api.delete("pods", "default", endpoint["targetRef"]["name"], grace=0)
    world.run()
    assert sorted(len(s["endpoints"]) for s in world.slices("web")) == [40, 50]


def test_one_more_pod_writes_one_slice() -> None:
    world = World()
    world.create("services", service())
    for index in range(150):
        world.api.create("pods", pod(f"web-{index}"))
    world.run()
    writes: list[str] = []
    world.store.watch("endpointslices", lambda event: writes.append(event.type.value))
    world.create("pods", pod("another"))
    assert len(writes) <= 2
    assert set(writes) == {"MODIFIED"}


def test_publish_not_ready_addresses_makes_terminating_pods_ready() -> None:
    world = World()
    world.create("services", service(publishNotReadyAddresses=True))
    each = pod("web-0", terminationGracePeriodSeconds=60)
    each["spec"]["containers"][0]["lifecycle"] = {"preStop": {"sleep": {"seconds": 60}}}
    world.create("pods", each)
    world.delete("pods", "web-0")
    (endpoint,) = world.endpoints("web")
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": True}


def test_losing_the_selector_leaves_only_the_mirror_of_the_endpoints() -> None:
    world = World()
    world.create("services", service())
    world.create("pods", pod("web-0"))
    changed = copy.deepcopy(world.store.get("services", "default", "web"))
    del changed["spec"]["selector"]
    world.store.update("services", changed)
    world.run()
    (slice_,) = world.slices("web")
    assert slice_["metadata"]["ownerReferences"][0]["kind"] == "Endpoints"


def test_a_slice_that_someone_edits_is_restored() -> None:
    world = World()
    world.create("services", service())
    world.create("pods", pod("web-0"))
    before = addresses(world)
    (slice_,) = world.slices("web")
    edited = copy.deepcopy(slice_)
    edited["endpoints"][0]["addresses"] = ["10.9.9.9"]
    world.store.update("endpointslices", edited)
    world.run()
    assert addresses(world) == before


def test_traffic_distribution_gives_every_ready_endpoint_a_hint() -> None:
    world = World()
    world.create("services", service(trafficDistribution="PreferSameNode"))
    world.create("pods", pod("web-0"))
    (endpoint,) = world.endpoints("web")
    assert endpoint["hints"] == {
        "forZones": [{"name": endpoint["zone"]}],
        "forNodes": [{"name": endpoint["nodeName"]}],
    }


def test_a_headless_services_slices_say_so_and_name_hosts() -> None:
    world = World()
    world.create("services", service("db", clusterIP="None", clusterIPs=["None"]))
    world.create("pods", pod("db-0", hostname="db-0", subdomain="db"))
    (slice_,) = world.slices("db")
    assert slice_["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert slice_["endpoints"][0]["hostname"] == "db-0"
