"""Oracle and packets agree: the recorded worlds and random ones as twins, every flow sent.

From a Pod on each node, from each node and from outside by way of each node, to every address and
port of every Service. TESTBED_WORLDS says how many random worlds (25; the long run asks for 300).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from testbed.api.documents import Document, load_file
from testbed.compare.rules import changes
from testbed.lab.places import world_of
from testbed.lab.volley import aim, every_target, inside
from tests.kernel.explain.agreement import disagreements, open_lab, volley, with_visitors
from tests.kernel.explain.random_worlds import random_world

pytestmark = pytest.mark.kernel

GOLDEN = Path(__file__).parents[2] / "golden/rules"
WORLDS = sorted(path.parent.name for path in GOLDEN.glob("*/objects.yaml"))
MODES = ("iptables", "nftables")
RANDOM = int(os.environ.get("TESTBED_WORLDS", "25"))


def _agree(documents: Sequence[Document], mode: str, title: str, least: int) -> None:
    with open_lab(with_visitors(documents), mode) as lab:
        sent, lines = disagreements(lab)
    assert not lines, f"{title}, {mode} mode, {len(lines)} disagree:\n" + "\n".join(lines)
    assert sent >= least


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", WORLDS)
def test_recorded_world(name: str, mode: str) -> None:
    _agree(load_file(GOLDEN / name / "objects.yaml"), mode, name, 12)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(RANDOM))
def test_random_world(seed: int, mode: str) -> None:
    _agree(random_world(seed), mode, f"random world {seed}", 30)


@pytest.mark.parametrize("name", ["nodeport", "loadbalancer-local", "dual-stack"])
def test_the_twin_gets_the_recorded_rules(name: str) -> None:
    """What the twin's node holds is what kube-proxy had made of the same objects."""
    with open_lab(load_file(GOLDEN / name / "objects.yaml"), "iptables") as lab:
        printed = lab.fabric.namespace("w1").run(["iptables-save"])
    recorded = (GOLDEN / name / "w1.ipv4.iptables").read_text()
    # the recording's cluster CIDR is wider than what its nodes imply
    own = [c for c in changes(recorded, printed) if c.chain.startswith("KUBE-S")]
    assert [c for c in own if "10.244.0.0/16" not in c.missing] == []


def test_a_rule_that_is_taken_away_is_a_disagreement() -> None:
    documents = with_visitors(load_file(GOLDEN / "nodeport/objects.yaml"))
    with open_lab(documents, "iptables") as lab:
        world = lab.in_loop(lambda: world_of(lab.core))
        node = lab.fabric.namespace("w1")
        for chain in ("KUBE-MARK-MASQ", "KUBE-NODEPORTS"):
            saved = node.run(["iptables-save", "-t", "nat"])
            node.run(["iptables", "-t", "nat", "-F", chain])
            sent, lines = volley(lab, aim(world, inside(world), every_target(world)), world)
            node.run(["iptables-restore"], input=saved)
            assert lines, chain
            assert len(lines) < sent
        assert volley(lab, aim(world, inside(world), every_target(world)), world)[1] == []
