"""Real packets through real rules, followed and explained, in both proxy modes."""

from __future__ import annotations

import json

import pytest
from small_world import CLIENT, NODE, PODS, PODS6, VIP, Relay, World

from testbed.flow import (
    DELIVERED,
    DROPPED,
    NO_LISTENER,
    NO_ROUTE,
    REFUSED,
    Path,
    path_from_json,
    path_to_json,
)
from testbed.probe import Observer, Request
from testbed.report.text import WIDTH, render

pytestmark = pytest.mark.kernel


def follow(world: World, origin: str, request: Request) -> Path:
    path = Observer(world.all()).follow(world[origin], request).path
    assert path.unseen == (), render(path)
    assert path_from_json(path_to_json(path)) == path
    assert all(len(line) <= WIDTH for line in render(path).splitlines())
    return path


def namespaces(path: Path) -> list[str]:
    return [hop.namespace for hop in path.hops]


def test_a_delivered_connection_shows_dnat_and_masquerade_at_the_node(world: World) -> None:
    path = follow(world, "client", Request(VIP, 80))
    assert path.verdict.kind == DELIVERED, render(path)
    assert path.backend == "web-0"
    assert namespaces(path) == ["client", "router", "w1", "web-0"]
    assert [hop.namespace for hop in path.reply] == ["web-0", "w1", "router", "client"]
    node = path.hops[2]
    assert (node.nat[0].kind, node.nat[0].before) == ("DNAT", f"{VIP}:80")
    assert node.nat[0].after == f"{PODS['web-0']}:8080"
    assert node.nat[1].kind == "masquerade"
    assert path.masqueraded_at() == ("w1",)
    assert path.source_seen == "10.244.1.1"
    assert node.through == ("eth0", "cni0", "veth-web-0")


def test_the_backend_says_the_same_source_as_the_path(world: World) -> None:
    path = follow(world, "client", Request(VIP, 80))
    assert path.backend_flow is not None
    peer = json.loads(path.response)["peer"]
    assert peer == f"{path.backend_flow.source}:{path.backend_flow.source_port}"


def test_rules_come_in_order_with_their_texts_and_hooks(world: World) -> None:
    node = follow(world, "client", Request(VIP, 80)).hops[2]
    assert all(hit.text for hit in node.rules)
    hooks = [hit.hook for hit in node.rules]
    order = {"prerouting": 0, "forward": 1, "postrouting": 2}
    assert hooks == sorted(hooks, key=order.__getitem__)
    dnat = next(hit for hit in node.rules if "dnat" in hit.text.lower())
    assert dnat.verdict == "accept"
    assert any("masquerade" in hit.text.lower() for hit in node.rules)


def test_the_reply_undoes_both_translations_at_the_same_node(world: World) -> None:
    path = follow(world, "client", Request(VIP, 80))
    node = path.reply[1]
    assert all(nat.undone for nat in node.nat)
    assert [nat.kind for nat in node.nat] == ["DNAT", "masquerade"]
    assert node.after.source == VIP
    assert node.after.destination == CLIENT


def test_conntrack_holds_both_tuples(world: World) -> None:
    node = follow(world, "client", Request(VIP, 80)).hops[2]
    assert node.conntrack is not None
    assert node.conntrack.original == node.before
    assert node.conntrack.reply == node.after.reversed()
    assert {"SRC_NAT", "DST_NAT", "SEEN_REPLY"} <= set(node.conntrack.status)


def test_routes_say_where_each_hop_sent_it(world: World) -> None:
    path = follow(world, "client", Request(VIP, 80))
    said = [str(hop.route) for hop in path.hops]
    assert said == [
        "via 203.0.113.1 dev eth0",
        f"via {NODE} dev n0",
        "dev cni0",
        "local delivery",
    ]


def test_http_gets_the_body_and_follows_the_same_way(world: World) -> None:
    path = follow(world, "w1", Request(VIP, 80, http_path="/"))
    assert json.loads(path.response)["pod"] == "web-0"
    assert namespaces(path) == ["w1", "web-0"]
    assert path.hops[0].before.source == NODE


def test_a_rejected_connection_names_the_rule_and_the_icmp(world: World) -> None:
    path = follow(world, "client", Request(VIP, 82))
    assert path.verdict.kind == REFUSED, render(path)
    assert path.verdict.where == "w1"
    assert path.verdict.rule is not None
    assert "reject" in path.verdict.rule.text.lower()
    assert path.verdict.answer == "ICMP port unreachable"


def test_a_dropped_connection_names_the_rule(world: World) -> None:
    path = follow(world, "client", Request(VIP, 83, timeout=0.2))
    assert path.verdict.kind == DROPPED
    assert path.verdict.where == "w1"
    assert path.verdict.rule is not None
    assert path.verdict.rule.verdict == "drop"
    assert path.backend == ""
    assert path.reply == ()


def test_a_drop_on_the_way_out_is_seen_without_any_capture(world: World) -> None:
    path = follow(world, "w1", Request(VIP, 83, timeout=0.2))
    assert path.verdict.kind == DROPPED
    assert path.verdict.rule is not None
    assert namespaces(path) == ["w1"]


def test_no_listener_is_not_a_refusal_by_a_rule(world: World) -> None:
    path = follow(world, "client", Request(VIP, 81))
    assert path.verdict.kind == NO_LISTENER, render(path)
    assert path.verdict.where == "web-0"
    assert path.verdict.rule is None
    assert path.verdict.answer == "TCP ACK RST"
    assert "9999" in path.verdict.detail


def test_a_hairpin_comes_back_to_its_pod_with_the_nodes_address(world: World) -> None:
    path = follow(world, "web-0", Request(VIP, 80))
    assert path.verdict.kind == DELIVERED, render(path)
    assert namespaces(path) == ["web-0", "w1", "web-0"]
    assert path.source_seen == "10.244.1.1"
    assert path.masqueraded_at() == ("w1",)


def test_a_pod_keeps_its_address_towards_another_pod(world: World) -> None:
    path = follow(world, "web-1", Request(VIP, 80))
    assert path.verdict.kind == DELIVERED
    assert path.source_seen == PODS["web-1"]
    assert path.masqueraded_at() == ()


def test_a_datagram_and_its_answer_are_followed(world: World) -> None:
    path = follow(world, "client", Request(VIP, 80, "udp"))
    assert path.verdict.kind == DELIVERED, render(path)
    assert (path.sent, path.answer) == ("UDP", "UDP")
    assert path.translated_at() == ("w1",)
    assert [hop.namespace for hop in path.reply] == ["web-0", "w1", "router", "client"]


def test_a_refused_datagram_names_the_rule(world: World) -> None:
    path = follow(world, "client", Request(VIP, 82, "udp", timeout=0.5))
    assert path.verdict.kind == REFUSED, render(path)
    assert path.verdict.rule is not None
    assert "reject" in path.verdict.rule.text.lower()


def test_ipv6_is_followed_too(world: World) -> None:
    path = follow(world, "client", Request(PODS6["web-0"], 8080))
    assert path.verdict.kind == DELIVERED, render(path)
    assert namespaces(path) == ["client", "router", "w1", "web-0"]


def test_no_route_at_the_origin_is_said_without_a_packet(world: World) -> None:
    world["client"].run(["ip", "route", "add", "unreachable", "192.0.2.0/24"])
    path = follow(world, "client", Request("192.0.2.1", 80))
    world["client"].run(["ip", "route", "del", "unreachable", "192.0.2.0/24"])
    assert path.verdict.kind == NO_ROUTE
    assert path.verdict.where == "client"


def test_no_route_under_way_names_the_namespace(world: World) -> None:
    world["router"].run(["ip", "route", "add", "unreachable", "192.0.2.0/24"])
    path = follow(world, "client", Request("192.0.2.1", 80))
    world["router"].run(["ip", "route", "del", "unreachable", "192.0.2.0/24"])
    assert path.verdict.kind == NO_ROUTE, render(path)
    assert path.verdict.where == "router"


def test_a_missing_neighbour_is_named(world: World) -> None:
    path = follow(world, "client", Request("10.244.1.77", 8080, timeout=0.2))
    assert path.verdict.kind == DROPPED
    assert path.verdict.where == "w1"
    assert "10.244.1.77 has no answering neighbour" in path.verdict.detail


def test_a_namespace_that_nobody_watches_is_named_as_unseen(world: World) -> None:
    watched = [each for each in world.all() if each.name != "web-0"]
    path = Observer(watched).follow(world["client"], Request(VIP, 80)).path
    assert path.verdict.kind == DELIVERED
    assert path.verdict.where == "beyond w1/veth-web-0"
    assert path.unseen == ("what is behind w1/veth-web-0: the packet was answered from there",)


def test_an_answer_that_is_lost_is_told_from_a_lost_request(world: World) -> None:
    node = world["router"]
    rules = "table ip lose {\n chain f {\n type filter hook forward priority 10\n"
    node.run(["nft", "-f", "-"], input=f"{rules} ip saddr {VIP} drop\n }}\n}}\n")
    path = follow(world, "client", Request(VIP, 80, timeout=0.2))
    node.run(["nft", "delete", "table", "ip", "lose"])
    assert path.verdict.kind == DROPPED, render(path)
    assert path.verdict.direction == "reply"
    assert path.verdict.where == "router"
    assert path.backend == "web-0"


def test_rules_are_read_again_after_a_change(world: World) -> None:
    observer = Observer(world.all())
    observer.follow(world["client"], Request(VIP, 80))
    chain = "table ip extra {\n chain f {\n type filter hook forward priority 10\n"
    world["w1"].run(["nft", "-f", "-"], input=f"{chain} tcp dport 8080 counter accept\n }}\n}}\n")
    path = observer.follow(world["client"], Request(VIP, 80)).path
    world["w1"].run(["nft", "delete", "table", "ip", "extra"])
    assert any("tcp dport 8080" in hit.text for hit in path.hops[2].rules), render(path)


def test_a_proxy_makes_a_second_leg(world: World) -> None:
    relay = Relay(world["router"], 9000, PODS["web-0"], 8080)
    seen = Observer(world.all()).follow(world["client"], Request("203.0.113.1", 9000))
    path = seen.path
    relay.close()
    assert {frame.interface for frame in seen.frames} >= {"c0", "n0", "veth-web-0"}
    assert path.backend == "router"
    assert path.relayed_at() == ("router",)
    assert [hop.namespace for hop in path.final.hops] == ["router", "w1", "web-0"]
    assert path.final.backend == "web-0", render(path)
    assert path.source_seen == "172.18.0.1"
    assert "handed the request on" in render(path)
    assert path_from_json(path_to_json(path)) == path
