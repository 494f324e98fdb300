"""tshark reads our pcapng: names, comments, times, every packet once."""

from __future__ import annotations

import io
import shutil
import struct
from pathlib import Path

import pytest

from testbed import shell
from testbed.flow import DELIVERED, Flow, Frame, Hop, Nat, Verdict
from testbed.flow import Path as PacketPath
from testbed.report.pcapng import path_comments, write_frames

pytestmark = pytest.mark.kernel

SENT = Flow("udp", "10.0.0.1", 5, "10.0.0.2", 7)
START = 1_700_000_000_123_456_789


def frame(time: int, namespace: str, interface: str, direction: str) -> Frame:
    udp = struct.pack(">HHHH", 5, 7, 12, 0) + b"ping"
    header = bytearray(struct.pack(">BBHHHBBH4s4s", 0x45, 0, 32, 1, 0, 64, 17, 0,
                                   bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])))  # fmt: skip
    data = b"\x02" * 12 + b"\x08\x00" + bytes(header) + udp
    return Frame(time, namespace, interface, direction, data, length=len(data))


def tshark(path: Path, *fields: str) -> list[list[str]]:
    program = shutil.which("tshark")
    assert program, "tshark is needed to check that others read the file"
    options = [word for field in fields for word in ("-e", field)]
    listing = shell.run([program, "-r", str(path), "-T", "fields", *options])
    return [line.split("\t") for line in listing.splitlines()]


def test_tshark_shows_names_comments_and_nanoseconds(tmp_path: Path) -> None:
    frames = [frame(START, "client", "eth0", "out"), frame(START + 7, "w1", "eth0", "in")]
    nat = (Nat("DNAT", "10.0.0.2:7", "10.244.1.5:8"),)
    hops = (
        Hop("client", "", "eth0", SENT, SENT, 0, 0),
        Hop("w1", "eth0", "", SENT, SENT, 7, 7, nat=nat),
    )
    path = PacketPath("client", SENT, START, "UDP", Verdict(DELIVERED, "w1"), hops)
    stream = io.BytesIO()
    assert write_frames(stream, frames, path_comments(path, frames)) == 2
    file = tmp_path / "net.pcapng"
    file.write_bytes(stream.getvalue())
    rows = tshark(file, "frame.interface_name", "frame.time_epoch", "frame.comment", "udp.dstport")
    assert rows == [
        ["client/eth0", "1700000000.123456789", "hop 1", "7"],
        [
            "w1/eth0",
            "1700000000.123456796",
            "hop 2; DNAT 10.0.0.2:7 → 10.244.1.5:8; verdict: delivered to w1",
            "7",
        ],
    ]


def test_a_loopback_packet_is_written_once(tmp_path: Path) -> None:
    frames = [frame(START, "w1", "lo", "out"), frame(START + 1, "w1", "lo", "in")]
    file = tmp_path / "lo.pcapng"
    with file.open("wb") as stream:
        assert write_frames(stream, frames) == 1
    assert [row[0] for row in tshark(file, "frame.interface_name")] == ["w1/lo"]
