"""EndpointSlices: what is in them, how they are packed, and that they come out as recorded."""

from __future__ import annotations

import copy
from typing import Any

from testbed.api.documents import Document
from testbed.api.objects import Service
from testbed.control.controllers.endpointslice import desired_endpoints
from testbed.control.controllers.packing import identity, pack
from testbed.control.controllers.port_map import port_map
from testbed.control.controllers.triggers import TRIGGER_TIME
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


def change_service(world: World, **spec: Any) -> None:
    changed = copy.deepcopy(world.store.get("services", "default", "web"))
    for name, value in spec.items():
        changed["spec"].pop(name, None)
        if value is not None:
            changed["spec"][name] = value
    world.store.update("services", changed)
    world.run()


def owners(world: World) -> list[str]:
    return sorted(s["metadata"]["ownerReferences"][0]["kind"] for s in world.slices("web"))


def test_losing_the_selector_leaves_the_slices_and_adds_the_mirror_of_the_endpoints() -> None:
    world = World()
    world.create("services", service())
    world.create("pods", pod("web-0"))
    change_service(world, selector=None)
    assert owners(world) == ["Endpoints", "Service"]
    world.delete("pods", "web-0", grace=0)
    assert [len(s["endpoints"]) for s in world.slices("web")] == [1, 1]
    change_service(world, selector={"app": "web"})
    assert owners(world) == ["Service"]
    assert world.endpoints("web") == []


def test_becoming_an_external_name_leaves_the_slices() -> None:
    world = World()
    world.create("services", service())
    world.create("pods", pod("web-0"))
    change_service(world, type="ExternalName", externalName="example.org")
    world.delete("pods", "web-0", grace=0)
    assert len(world.endpoints("web")) == 1


def test_the_slices_of_a_service_being_deleted_follow_its_pods() -> None:
    world = World()
    document = service()
    document["metadata"]["finalizers"] = ["example.org/held"]
    world.create("services", document)
    world.create("pods", pod("web-0"))
    world.delete("services", "web")
    world.delete("pods", "web-0", grace=0)
    assert world.endpoints("web") == []
    world.create("pods", pod("web-1"))
    assert len(world.endpoints("web")) == 1


def test_slices_of_a_deleted_service_go_by_garbage_collection() -> None:
    world = World()
    world.create("services", service())
    world.delete("services", "web")
    assert world.slices("web") == []


def test_ports_stand_in_the_order_of_their_hash() -> None:
    world = World()
    document = service()
    document["spec"]["ports"] = [
        {"name": name, "port": port, "targetPort": target, "protocol": protocol}
        for name, port, target, protocol in (
            ("alt", 8081, 9090, "TCP"),
            ("http", 80, 8080, "TCP"),
            ("udp", 53, 5353, "UDP"),
        )
    ]
    world.create("services", document)
    world.create("pods", pod("web-0"))
    (slice_,) = world.slices("web")
    want = sorted(slice_["ports"], key=lambda port: port_map_digest(port))
    assert slice_["ports"] == want


def port_map_digest(port: dict[str, Any]) -> int:
    """The hash, once more and by hand: FNV-1a of the port as go-spew prints it."""
    text = (
        f"(v1.EndpointPort){{Name:(*string){port['name']} Protocol:(*v1.Protocol)"
        f"{port['protocol']} Port:(*int32){port['port']} AppProtocol:(*string)<nil>}}"
    )
    value = 0x6C62272E07BB014262B821756295C58D
    for byte in text.encode():
        value = ((value ^ byte) * 0x1000000000000000000013B) % 2**128
    return value


def test_endpoints_left_over_go_into_a_slice_with_room_after_new_slices() -> None:
    ports = port_map([("", 80, "TCP", None)])
    labels = {"a": "b"}

    def endpoint(name: str) -> Document:
        return {"addresses": [name], "conditions": {"ready": True}}

    there = [endpoint(f"old-{i}") for i in range(40)]
    slice_: Document = {
        "metadata": {"name": "s", "labels": labels},
        "ports": [{"name": "", "port": 80, "protocol": "TCP"}],
        "endpoints": there,
    }
    wanted = {identity(e): e for e in [*there, *(endpoint(f"new-{i}") for i in range(150))]}
    plan = pack({ports: wanted}, [slice_], labels)
    assert [len(d.endpoints) for d in plan.create] == [100]
    assert [len(d.endpoints) for d in plan.update] == [90]


def test_an_annotation_on_a_slice_is_no_reason_to_write_and_stays() -> None:
    world = World()
    world.create("services", service())
    world.create("pods", pod("web-0"))
    (slice_,) = world.slices("web")
    noted = copy.deepcopy(slice_)
    noted["metadata"].setdefault("annotations", {})["note"] = "mine"
    world.store.update("endpointslices", noted)
    world.run()
    world.create("pods", pod("web-1"))
    (slice_,) = world.slices("web")
    assert len(slice_["endpoints"]) == 2
    assert slice_["metadata"]["annotations"]["note"] == "mine"


def test_slices_say_when_their_change_began() -> None:
    world = World()
    made = world.create("services", service())
    created = made["metadata"]["creationTimestamp"]
    (slice_,) = world.slices("web")
    assert slice_["metadata"]["annotations"] == {TRIGGER_TIME: created}
    world.advance(60)
    world.create("pods", pod("web-0"))
    (slice_,) = world.slices("web")
    assert slice_["metadata"]["annotations"][TRIGGER_TIME] > created
    world.advance(60)
    relabelled = copy.deepcopy(world.store.get("services", "default", "web"))
    relabelled["metadata"]["labels"] = {"team": "a"}
    world.store.update("services", relabelled)
    world.run()
    (slice_,) = world.slices("web")
    assert "annotations" not in slice_["metadata"]
    assert slice_["metadata"]["labels"]["team"] == "a"


def test_a_pod_on_a_node_that_is_not_there_is_passed_over_and_said() -> None:
    world = World()
    world.create("services", service())
    lost = pod("lost", nodeName="w9")
    lost["status"] = {"podIPs": [{"ip": "10.244.9.9"}], "phase": "Running"}
    world.create("pods", lost)
    assert world.endpoints("web") == []
    assert (
        "Warning",
        "FailedToUpdateEndpointSlices",
        "Error updating Endpoint Slices for Service default/web: skipping Pod lost for Service "
        "default/web: Node w9 Not Found",
    ) in world.api.events


def test_addresses_of_a_pod_are_written_as_go_prints_them() -> None:
    world = World()
    world.create("services", service(ipFamilies=["IPv6"]))
    each = pod("web-0", nodeName="w1")
    each["status"] = {"podIPs": [{"ip": "FD00:0:0::9"}], "phase": "Running"}
    view = Service.from_document(service(ipFamilies=["IPv6"]))
    wanted = desired_endpoints(view, [each], {"w1": world.store.get("nodes", "", "w1")})
    (endpoint,) = next(iter(wanted["IPv6"].values())).values()
    assert endpoint["addresses"] == ["fd00::9"]


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
