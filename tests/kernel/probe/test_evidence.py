"""A bundle's evidence comes from the namespaces themselves; tshark reads the capture in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest
from small_world import VIP, World

from testbed import shell
from testbed.probe import Observer, Request, evidence
from testbed.report import bundle

pytestmark = pytest.mark.kernel


def test_rules_and_conntrack_are_collected_by_namespace(world: World) -> None:
    Observer(world.all()).follow(world["client"], Request(VIP, 80))
    rules = evidence.rules_of(world.all())
    assert set(rules) == set(world.NAMES)
    assert "default via" in rules["client"]
    assert "dnat" in rules["w1"].lower()
    entries = evidence.conntrack_of(world.all())
    assert set(entries) == {"w1"}
    assert f"> {VIP}:80 answers 10.244.1.5:8080 >" in entries["w1"]


def test_a_bundle_holds_every_packet_of_the_flow_once(world: World, tmp_path: Path) -> None:
    seen = Observer(world.all()).follow(world["client"], Request(VIP, 80))
    file = tmp_path / "evidence.zip"
    with file.open("wb") as stream:
        bundle.write(stream, bundle.Bundle(seen.path, seen.frames, versions=evidence.versions()))
    assert bundle.read_path(file) == seen.path
    zipfile.ZipFile(file).extract("network.pcapng", tmp_path)
    fields = ["frame.interface_name", "tcp.seq_raw", "tcp.flags", "tcp.len", "tcp.ack_raw", "ip.id"]
    options = [word for field in fields for word in ("-e", field)]
    capture = str(tmp_path / "network.pcapng")
    listing = shell.run(["tshark", "-r", capture, "-T", "fields", *options])
    rows = [tuple(line.split("\t")) for line in listing.splitlines()]
    assert len(rows) == len(set(rows)) == len(seen.frames)
    crossed = {"client/eth0", "router/c0", "router/n0", "w1/eth0", "w1/cni0", "w1/veth-web-0"}
    assert {row[0] for row in rows} == crossed | {"web-0/eth0"}
    by_interface = {name: [row[1:] for row in rows if row[0] == name] for name in crossed}
    # Every packet that went through the router is there on both sides, and at the client.
    assert sorted(by_interface["router/c0"]) == sorted(by_interface["router/n0"])
    assert sorted(by_interface["router/c0"]) == sorted(by_interface["client/eth0"])


def test_a_capture_counts_what_it_had_no_room_for(world: World) -> None:
    from testbed.probe.capture import Capture

    with Capture([world["client"]], buffer=4096) as capture:
        sock = world["client"].socket(2, 2)
        for _ in range(200):
            sock.sendto(b"x" * 1000, ("203.0.113.1", 9))
        sock.close()
        frames = len(capture.drain())
        dropped = capture.stop()
    assert dropped["client"] > 0
    assert frames + dropped["client"] >= 200
