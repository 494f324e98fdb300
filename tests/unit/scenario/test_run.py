"""Running scenarios: how they end, exit codes, what is printed. No labs are made here."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from testbed import features
from testbed.cli.main import main
from testbed.errors import CheckFailedError
from testbed.features import Feature
from testbed.flow import DELIVERED, DROPPED, Flow, Hop, Verdict
from testbed.flow import Path as PacketPath
from testbed.scenario import expect, runner
from testbed.scenario.expect import check, picked, served_by
from testbed.scenario.spec import Scenario
from testbed.scenario.steps import Steps
from testbed.scenario.traffic import Traffic, served_by_only

FILE = '''"""Teaches something.

In two paragraphs.
"""
from testbed.scenario import scenario
from testbed.scenario.expect import check

@scenario("{title}"{more})
def {name}(lab, steps):
    with steps("First"):
        steps.note("a remark")
    with steps("Second"):
        {body}
'''


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Write scenarios by (name, body, more) and run them; a lab is None. Exit code and output."""

    def play(scenario: Scenario, mode: str, steps: Steps, *others: object) -> None:
        scenario.function(None, steps)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "_play", play)
    monkeypatch.setattr(features, "require_root", lambda: None)

    def go(*words: str, **bodies: tuple[str, str]) -> tuple[int, str]:
        for name, (body, more) in bodies.items():
            text = FILE.format(title=f"Title of {name}", name=name, body=body, more=more)
            (tmp_path / f"{name}.py").write_text(text)
        code = main(["run", str(tmp_path), "--evidence", str(tmp_path / "kept"), *words])
        return code, capsys.readouterr().out

    return go


Run = Callable[..., tuple[int, str]]
GOOD = ('check(True, "the sky is blue")', "")
BAD = ('check(False, "the sky is green", "blue")', "")
BROKEN = ("raise ValueError('no such thing')", "")
NEEDY = ("pass", ', needs=("unobtainium",)')


def test_all_that_holds_is_told_and_taught_once(run: Run) -> None:
    code, out = run(good=GOOD)
    assert code == 0
    assert out.count("In two paragraphs.") == 1
    assert out.count("✓ the sky is blue") == 2
    assert "[good, iptables]" in out
    assert "[good, nftables]" in out
    assert "2 passed, 0 failed, 0 skipped" in out


def test_a_failure_says_the_step_what_was_expected_and_what_was_seen(run: Run) -> None:
    code, out = run("--proxy", "iptables", good=GOOD, bad=BAD)
    assert code == 1
    assert "✗ FAILED in step 2: Second  [bad, iptables]" in out
    assert "expected: the sky is green; seen: blue" in out
    assert "1 passed, 1 failed, 0 skipped" in out


def test_quiet_still_shows_the_evidence_of_a_failure(run: Run) -> None:
    code, out = run("-q", good=GOOD, bad=BAD)
    assert code == 1
    assert "a remark" not in out
    assert out.count("expected: the sky is green; seen: blue") == 4  # twice, and in the table


def test_an_error_in_a_scenario_is_summed_up_by_its_last_line(run: Run) -> None:
    code, out = run("--proxy", "iptables", broken=BROKEN)
    assert code == 1
    assert "Traceback" in out
    assert out.splitlines()[-3].endswith("ValueError: no such thing")


def test_a_missing_feature_skips_with_the_reason(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    rare = Feature("unobtainium", "nothing", lambda: "not in this universe")
    monkeypatch.setattr(features, "FEATURES", (*features.FEATURES, rare))
    monkeypatch.setattr(features, "in_new_namespace", lambda probe: probe())
    code, out = run(needy=NEEDY)
    assert code == 3
    assert "– skipped: needs unobtainium: not in this universe" in out
    assert "0 passed, 0 failed, 2 skipped" in out
    code, out = run(good=GOOD)
    assert code == 0
    assert "2 passed, 0 failed, 2 skipped" in out


def test_json_is_one_valid_document_with_every_step(run: Run) -> None:
    code, out = run("--json", "--proxy", "nftables", good=GOOD, bad=BAD)
    assert code == 1
    bad, good = json.loads(out)
    assert (good["status"], bad["status"], bad["mode"]) == ("passed", "failed", "nftables")
    assert bad["reason"] == "expected: the sky is green; seen: blue"
    assert [step["title"] for step in good["steps"]] == ["First", "Second"]
    assert good["steps"][1]["held"] == ["the sky is blue"]


def test_a_scenario_of_one_mode_runs_in_that_mode_only(run: Run) -> None:
    only = ("pass", ', modes=("nftables",)')
    assert "1 passed" in run(only=only)[1]
    assert run("--proxy", "iptables")[0] == 2


def test_nothing_that_fits_is_bad_usage(run: Run) -> None:
    assert run("-k", "nothing-like-it", good=GOOD)[0] == 2


def test_no_line_is_wider_than_a_hundred_columns(run: Run) -> None:
    long = " ".join(["word"] * 60)
    bodies = {
        "held": (f'check(True, "{long}")', ""),
        "failed": (f'check(False, "{long}", "{long}")', ""),
        "noted": (f'steps.note("{long}")', ""),
    }
    _, out = run(**bodies)
    assert max(map(len, out.splitlines())) <= 100


FLOW = Flow("tcp", "203.0.113.10", 40000, "172.18.0.11", 30007)
ARRIVED = Flow("tcp", "172.18.0.11", 5555, "10.244.1.2", 8080)


def path(kind: str = DELIVERED, backend: str = "default.web-1") -> PacketPath:
    hops = (
        Hop("w1", "eth0", "veth1", FLOW, ARRIVED, 0, 1),
        Hop(backend, "eth0", "", ARRIVED, ARRIVED, 2, 3),
    )
    return PacketPath(
        *("client", FLOW, 0, "TCP SYN", Verdict(kind, where=backend), hops),
        backend=backend,
        backend_flow=ARRIVED,
    )


def test_a_failed_check_of_a_path_carries_the_whole_path() -> None:
    with pytest.raises(CheckFailedError) as caught:
        expect(path()).delivered_to("shop")
    text = str(caught.value)
    assert text.startswith("expected: delivered to shop; seen: delivered default.web-1\n")
    assert "172.18.0.11:30007" in text
    assert "10.244.1.2:8080" in text


def test_reaching_a_pod_does_not_need_an_answer() -> None:
    lost = path(DROPPED)
    expect(lost).reached("web").arrived_at_port(8080)
    assert picked("web-1")(lost)
    assert not served_by("web-1")(lost)
    assert served_by("web")(path())
    with pytest.raises(CheckFailedError):
        expect(lost).reached("web-2")
    with pytest.raises(CheckFailedError):
        expect(lost).arrived_at_port(80)


def test_counts_must_name_every_pod_and_no_failure() -> None:
    served_by_only(Counter({"web-1": 3, "web-2": 1}), "web-1", "web-2")
    for wrong in ({"web-1": 3}, {"web-1": 3, "web-2": 1, "timeout": 1}):
        with pytest.raises(CheckFailedError, match="web-1 × 3"):
            served_by_only(Counter(wrong), "web-1", "web-2")


def test_a_check_outside_of_a_step_holds_or_fails_all_the_same() -> None:
    check(True, "fine")
    with pytest.raises(CheckFailedError, match="expected: fine; seen: not"):
        check(False, "fine", "not")


class FakeLab:
    """Answers every second call."""

    def __init__(self) -> None:
        self.calls = 0

    def exchange(self, source: str, target: str, **request: object) -> object:
        from testbed.probe.exchange import Outcome

        self.calls += 1
        good = self.calls % 2
        return Outcome("answered" if good else "timeout", FLOW, '{"pod": "web-1"}' if good else "")


def test_traffic_counts_answers_and_keeps_failures() -> None:
    with Traffic(FakeLab(), "client", "svc/web") as traffic:  # type: ignore[arg-type]
        traffic.more(10)
    assert traffic.total >= 10
    assert abs(traffic.counts["web-1"] - len(traffic.failures)) <= 1
    assert {failure.kind for failure in traffic.failures} == {"timeout"}
