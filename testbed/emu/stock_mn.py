"""For topology files under Mininet's own `mn --custom`: the fabric instead of Mininet's parts.

`mn` runs as the main module, reads its classes from its globals, and on any error runs Mininet's
clean-up, which kills processes by name and deletes log files on the whole machine. It copies a
custom file's globals over its own only after that file ran to its end, and it ignores `links`;
so `use_fabric` puts everything in place itself.
"""

from __future__ import annotations

import sys
from typing import Any


def use_fabric() -> None:
    """Under stock `mn`, replace its net, nodes, links and clean-up; elsewhere, do nothing."""
    main: Any = sys.modules.get("__main__")
    if not hasattr(main, "MininetRunner"):
        return
    main.cleanup = _clean_up
    from testbed.emu.link import FabricLink
    from testbed.emu.net import Net, stop_all
    from testbed.emu.node import Bridge, FabricNode

    def clean_up() -> None:
        stop_all()

    main.cleanup = clean_up
    main.Mininet = Net
    main.findController = lambda *_: _no_controller
    main.HOSTS.clear()
    main.HOSTS["proc"] = FabricNode
    main.SWITCHES.clear()
    main.SWITCHES["default"] = Bridge
    main.LINKS.clear()
    main.LINKS["default"] = FabricLink


def _clean_up() -> None:
    """Nothing is there yet to be cleaned up."""


def _no_controller(*_: Any, **__: Any) -> None:
    """Bridges need no controller."""
