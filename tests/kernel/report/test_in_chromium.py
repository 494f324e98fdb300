"""The page of a path in a real browser: nothing is wider than a phone, nothing is loaded."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from testbed import shell
from testbed.flow import DELIVERED, Flow, Hop, Nat, RuleHit, Verdict
from testbed.flow import Path as PacketPath
from testbed.report.html import render

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars",
)  # fmt: skip
#: Put into a copy of the page: how wide it is, the elements that stick out, what it loaded.
MEASURE = """
<script>
onload = () => setTimeout(() => {
  const wide = document.documentElement.clientWidth;
  const out = [...document.querySelectorAll('body *')].filter(
    each => each.getBoundingClientRect().right > wide + 1 && !each.closest('svg'));
  parent.postMessage([wide, document.documentElement.scrollWidth, out.length,
    performance.getEntriesByType('resource').length,
    document.querySelector('#hop-1').closest('details').open].join(' '), '*');
}, 200);
</script>
"""
#: A window is 500 wide at least, a frame in it isn't. The fragment opens the hop that it names.
FRAME = """<!doctype html><body style="margin:0"><script>
onmessage = event => { document.body.dataset.measured = event.data; };
</script><iframe src="page.html#hop-1" style="border:0;height:1100px;width:%dpx"></iframe></body>
"""
SENT = Flow("tcp", "2001:db8:113::1010:1010", 40000, "fd00:172:18:1111::11", 30007)
TAKEN = Flow("tcp", "fd00:172:18:1111::11", 50000, "fd00:10:244:1111::5555", 8080)
RULE = RuleHit(
    "inet",
    "kube-proxy",
    "external-6E2LAMZC-default/a-rather-long-service-name-for-a-phone/tcp/the-port",
    4,
    "ip6 daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
    "goto service-6E2LAMZC-default/a-rather-long-service-name-for-a-phone/tcp/the-port",
    meaning="Service default/a-rather-long-service-name-for-a-phone: all endpoints",
)
POD = "production.a-rather-long-deployment-name-7b9c4d5f6-x2x4z"


def path() -> PacketPath:
    nat = (Nat("DNAT", "[fd00:172:18:1111::11]:30007", "[fd00:10:244:1111::5555]:8080"),)
    node = Hop("w1", "w1-eth0", "veth1234567", SENT, TAKEN, 5, 9, nat=nat, rules=(RULE,) * 3)
    hops = (
        Hop("client", "", "client-eth0", SENT, SENT, 0, 0),
        node,
        Hop(POD, "eth0", "", TAKEN, TAKEN, 12, 12),
    )
    back = tuple(
        dataclasses.replace(hop, before=hop.after.reversed(), after=hop.before.reversed(), nat=())
        for hop in reversed(hops)
    )
    end = Verdict(DELIVERED, POD)
    return PacketPath("client", SENT, 1, "TCP SYN", end, hops, back, "TCP SYN ACK", POD, TAKEN)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_and_nothing_is_loaded(tmp_path: Path, width: int, scheme: str) -> None:
    assert CHROMIUM is not None
    page = render(path(), expected="delivered to one of 3 endpoints", difference="none")
    assert "<script" not in page
    (tmp_path / "page.html").write_text(page.replace("</body>", f"{MEASURE}</body>"))
    (tmp_path / "frame.html").write_text(FRAME % width)
    options = [*FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1400,1200"]
    if scheme == "dark":
        options.append("--blink-settings=preferredColorScheme=0")
    address = f"file://{tmp_path / 'frame.html'}"
    options += ["--virtual-time-budget=3000", "--dump-dom", address]
    shown = shell.run([CHROMIUM, *options], timeout=120)
    found = re.search(r'data-measured="(\d+) (\d+) (\d+) (\d+) (\w+)"', shown)
    assert found, shown[-500:]
    inner, scrolled, sticking, loaded, opened = found.groups()
    assert int(inner) == width
    assert int(scrolled) <= width
    assert (sticking, loaded, opened) == ("0", "0", "true")
