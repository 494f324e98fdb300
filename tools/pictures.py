"""Make the pictures and outputs of README.md and docs/ again, with the testbed itself.

    sudo .venv/bin/python -m tools.pictures

Writes docs/pictures/NAME.svg, and fills the block below every marker of the pages:
`<!-- path: NAME -->` with a path's text, `<!-- scenario: NAME STEP -->` with one step of what
`testbed run -k NAME` prints, `<!-- file: NAME -->` with a file below docs/.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from testbed.cluster import Cluster
from testbed.flow import Path as PacketPath
from testbed.report import html, text

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Makes the names of Pods the same every time.
SEED = 36
MARKER = re.compile(
    r"<!-- (?P<kind>path|scenario|file): (?P<words>.+?) -->\n```(?P<language>\w*)\n.*?```\n",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Example:
    """A path that a page shows: manifests below docs/manifests, and how to get it.

    Without `picture` only its text is shown. `lookup` is a name that Pod caller asks for first;
    without `probe` that is all.
    """

    name: str
    manifest: str
    probe: Callable[[Cluster], PacketPath] | None
    title: str
    proxy: str = "iptables"
    picture: bool = True
    lookup: str = ""


def _elsewhere(lab: Cluster, path: PacketPath, node: str) -> bool:
    return lab.node_of(path.backend) not in ("", node)


def _clusterip(lab: Cluster) -> PacketPath:
    return lab.probe_until("pod/caller", "svc/web", lambda path: _elsewhere(lab, path, "w1"))


def _nodeport(lab: Cluster) -> PacketPath:
    return lab.probe_until("client", "node/w2:30007", lambda path: _elsewhere(lab, path, "w2"))


def _loadbalancer(lab: Cluster) -> PacketPath:
    def detours(path: PacketPath) -> bool:
        return any(_elsewhere(lab, path, node) for node in path.masqueraded_at())

    return lab.probe_until("client", "svc/web", detours)


def _loadbalancer_local(lab: Cluster) -> PacketPath:
    lab.patch("services", "web", {"spec": {"externalTrafficPolicy": "Local"}})
    return lab.probe("client", "svc/web")


def _refused(lab: Cluster) -> PacketPath:
    lab.scale("deployment/web", 0)
    return lab.probe("pod/caller", "svc/web")


def _headless(lab: Cluster) -> PacketPath:
    return lab.probe("pod/caller", "web:8080")


EXAMPLES = (
    Example("clusterip", "clusterip.yaml", _clusterip, "A Pod calls a ClusterIP"),
    Example("clusterip-nftables", "clusterip.yaml", _clusterip, "By nftables", "nftables", False),
    Example("clusterip-refused", "clusterip.yaml", _refused, "A ClusterIP without endpoints"),
    Example("nodeport", "nodeport.yaml", _nodeport, "A client outside calls a NodePort"),
    Example("loadbalancer", "loadbalancer.yaml", _loadbalancer, "A client calls a load balancer"),
    Example(
        "loadbalancer-local",
        "loadbalancer.yaml",
        _loadbalancer_local,
        "externalTrafficPolicy: Local keeps the client's address",
    ),
    Example("headless", "headless.yaml", _headless, "A Pod talks to a Pod", lookup="web"),
    Example("externalname", "externalname.yaml", None, "A name", picture=False, lookup="database"),
)


def play(example: Example) -> tuple[str, str]:
    """(SVG, text) of an example, in a lab of its own; the SVG is "" where nothing is probed."""
    name, lead = f"pictures-{os.getpid()}", ""
    with Cluster("three_nodes", name=name, proxy=example.proxy, seed=SEED, dns=True) as lab:
        lab.add_public_name("database.example.org", "A", "203.0.113.10")
        lab.apply(DOCS / "manifests" / example.manifest)
        if example.lookup:
            lead = f"{lab.resolve('pod/caller', example.lookup)}\n\n"
        if example.probe is None:
            return "", lead
        path = example.probe(lab)
        svg = html.picture(path, places=lab.places(), title=example.title)
        return svg, lead + text.render(path, brief=True)


def scenario_step(name: str, step: str) -> str:
    """What `testbed run -k NAME` prints in iptables mode: the heading and one step of it."""
    from testbed.cli.main import main

    stream = io.StringIO()
    with contextlib.redirect_stdout(stream):
        main(["run", "-k", name, "--proxy", "iptables"])
    blocks = re.split(r"(?m)^(?=  \d+\. )", stream.getvalue())
    chosen = next(block for block in blocks[1:] if step in block.split("\n")[0])
    heading = next(line for line in blocks[0].split("\n") if line.startswith("━━"))
    end = chosen.rstrip()
    return f"{heading}\n  […]\n{end}\n  […]\n"


def filled(page: str, texts: dict[str, str]) -> str:
    """`page` with the block below every marker made anew."""

    def block(found: re.Match[str]) -> str:
        kind, words = found["kind"], found["words"]
        if kind == "path":
            body = texts[words]
        elif kind == "file":
            body = (DOCS / words).read_text()
        else:
            body = scenario_step(*words.split(" ", 1))
        return f"<!-- {kind}: {words} -->\n```{found['language']}\n{body.rstrip()}\n```\n"

    return MARKER.sub(block, page)


def pages() -> Iterator[Path]:
    """The pages that may hold markers."""
    yield ROOT / "README.md"
    yield from sorted(DOCS.rglob("*.md"))


def main() -> None:
    """Make everything anew."""
    texts: dict[str, str] = {}
    for example in EXAMPLES:
        svg, texts[example.name] = play(example)
        if not example.picture:
            continue
        file = DOCS / "pictures" / f"{example.name}.svg"
        file.parent.mkdir(exist_ok=True)
        file.write_text(svg)
        print(file.relative_to(ROOT))
    for page in pages():
        old = page.read_text()
        new = filled(old, texts)
        if new != old:
            page.write_text(new)
            print(page.relative_to(ROOT))


if __name__ == "__main__":
    main()
