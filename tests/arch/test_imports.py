"""The import rule of docs/architecture.md: a layer imports only layers below it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "testbed"

#: Longest matching prefix decides. A module may import its own layer or a lower one.
LAYERS = {
    "testbed": 0,
    "testbed.__version__": 0,
    "testbed.errors": 0,
    "testbed.clock": 0,
    "testbed.naming": 0,
    "testbed.netlink": 0,
    "testbed.api": 1,
    "testbed.flow": 1,
    "testbed.fabric.specs": 1,
    "testbed.oracle": 2,
    "testbed.proxy": 2,
    "testbed.dns": 2,
    "testbed.cloud": 2,
    "testbed.ingress": 2,
    "testbed.compare": 2,
    "testbed.report": 2,
    "testbed.shell": 3,
    "testbed.features": 3,
    "testbed.fabric": 3,
    "testbed.probe": 3,
    "testbed.runtime": 3,
    "testbed.proxy.iptables.apply": 3,
    "testbed.proxy.iptables.apply_restore": 3,
    "testbed.proxy.iptables.counters": 3,
    "testbed.proxy.nftables.apply": 3,
    "testbed.proxy.kernel": 3,
    "testbed.proxy.kernel.expressions": 2,
    "testbed.proxy.kernel.messages": 2,
    "testbed.proxy.conntrack": 3,
    "testbed.proxy.health": 3,
    "testbed.proxy.proxier": 3,
    "testbed.proxy.external": 3,
    "testbed.dns.server": 3,
    "testbed.dns.client": 3,
    "testbed.dns.forward": 3,
    "testbed.cloud.conntrack": 3,
    "testbed.cloud.dataplane": 3,
    "testbed.cloud.haproxy": 3,
    "testbed.cloud.health": 3,
    "testbed.cloud.fake": 3,
    "testbed.ingress.server": 3,
    "testbed.control": 4,
    "testbed.cluster": 5,
    "testbed.lab": 5,
    "testbed.emu": 5,
    "testbed.scenario": 6,
    "testbed.cli": 7,
    "testbed.pytest_plugin": 7,
}

#: Third-party packages that only some rooms may use.
ONLY_IN = {
    "pyroute2": ("testbed.fabric", "testbed.proxy.conntrack"),
    "mininet": ("testbed.emu", "testbed.cli"),
    "scapy": ("testbed.probe",),
    "subprocess": ("testbed.shell",),
    "dnslib": ("testbed.dns",),
}

#: Rooms that must not know each other, although their layers would allow it.
STRANGERS = [
    ("testbed.proxy", "testbed.control"),
    ("testbed.proxy", "testbed.probe"),
    ("testbed.proxy.iptables", "testbed.proxy.nftables"),
    ("testbed.proxy.nftables", "testbed.proxy.iptables"),
    ("testbed.oracle", "testbed.proxy"),
    ("testbed.proxy", "testbed.oracle"),
    ("testbed.compare", "testbed.proxy"),
    ("testbed.fabric", "testbed.api"),
]


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    parts = module.split(".")
    # "testbed" itself is the package's front door, not the layer of whatever has none.
    for end in range(len(parts), 1 if len(parts) > 1 else 0, -1):
        if (layer := LAYERS.get(".".join(parts[:end]))) is not None:
            return layer
    raise AssertionError(f"{module} has no layer: add it to LAYERS")


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(room + ".")


def imports_of(path: Path) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; use the full name"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_module_imports_only_lower_layers(path: Path) -> None:
    module = module_name(path)
    for imported in imports_of(path):
        top = imported.split(".")[0]
        if top == "testbed":
            assert layer_of(imported) <= layer_of(module), f"{module} imports {imported}"
            if within(module, "testbed.control"):
                # Doors to the kernel are handed to the control plane, it doesn't fetch them.
                assert layer_of(imported) != 3, f"{module} imports {imported}"
            for room, stranger in STRANGERS:
                if within(module, room):
                    assert not within(imported, stranger), f"{module} imports {imported}"
        elif top in ONLY_IN:
            assert any(within(module, room) for room in ONLY_IN[top]), f"{module} imports {top}"
