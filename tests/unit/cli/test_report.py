"""`testbed report` opens a bundle anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testbed.cli.main import main
from testbed.errors import EXIT_OK, EXIT_USAGE
from testbed.flow import DELIVERED, Flow, Hop, Verdict
from testbed.flow import Path as PacketPath
from testbed.report import bundle
from testbed.report.stops import Place

FLOW = Flow("udp", "10.0.0.1", 5, "10.0.0.2", 7)
HOPS = (Hop("client", "", "eth0", FLOW, FLOW, 0, 0), Hop("w1", "eth0", "", FLOW, FLOW, 7, 7))
PATH = PacketPath("client", FLOW, 1, "UDP", Verdict(DELIVERED, "w1"), HOPS)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path, PATH)


def written(tmp_path: Path, path: PacketPath | None) -> Path:
    file = tmp_path / "evidence.zip"
    places = (Place("client", "client"), Place("w1", "node"), Place("w2", "node"))
    with file.open("wb") as stream:
        bundle.write(
            stream,
            bundle.Bundle(path, rules={"w1": "*nat\n"}, reason="expected: a Pod", places=places),
        )
    return file


def test_the_reason_and_the_path_are_printed(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(file)]) == EXIT_OK
    out = capsys.readouterr().out
    assert "what failed: expected: a Pod" in out
    assert "verdict:     delivered to w1" in out


def test_files_are_listed_shown_and_unpacked(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(file), "--list"]) == EXIT_OK
    assert "rules/w1.txt" in capsys.readouterr().out
    assert main(["report", str(file), "--show", "rules/w1.txt"]) == EXIT_OK
    assert capsys.readouterr().out == "*nat\n"
    assert main(["report", str(file), "--extract", str(tmp_path / "out")]) == EXIT_OK
    assert (tmp_path / "out/rules/w1.txt").read_text() == "*nat\n"
    assert main(["report", str(file), "--show", "nothing"]) == EXIT_USAGE


def test_the_page_is_written_beside_the_bundle_or_where_asked(file: Path, tmp_path: Path) -> None:
    assert main(["report", str(file), "--html"]) == EXIT_OK
    assert "w2" in file.with_suffix(".html").read_text()
    assert main(["report", str(file), "--html", str(tmp_path / "page.html")]) == EXIT_OK
    assert (tmp_path / "page.html").read_text() == file.with_suffix(".html").read_text()
    assert main(["report", str(file), "--html", str(tmp_path / "no/page.html")]) == EXIT_USAGE


def test_the_path_comes_as_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(file), "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["origin"] == "client"


def test_a_failure_before_any_packet_has_no_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, None)
    assert main(["report", str(file)]) == EXIT_OK
    assert "expected: a Pod" in capsys.readouterr().out
    assert main(["report", str(file), "--html"]) == EXIT_USAGE
    assert "holds no path" in capsys.readouterr().err


def test_another_file_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "x.zip"
    other.write_text("no zip")
    assert main(["report", str(other)]) == EXIT_USAGE
    assert capsys.readouterr().err.count("\n") == 1


def test_agreement_is_printed_after_the_path_and_is_no_difference_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agreed.zip"
    with file.open("wb") as stream:
        bundle.write(stream, bundle.Bundle(PATH, verdict="as expected"))
    assert main(["report", str(file)]) == EXIT_OK
    out = capsys.readouterr().out
    assert 0 < out.index("delivered to w1") < out.index("compared: as expected")
    assert "what failed" not in out
    plain = written(tmp_path, PATH)
    assert main(["report", str(plain)]) == EXIT_OK
    assert "compared" not in capsys.readouterr().out
    assert main(["report", str(file), "--html"]) == EXIT_OK
    assert "as expected" not in file.with_suffix(".html").read_text()
