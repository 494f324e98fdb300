"""Cell texts that many kinds share. Source: pkg/printers, apimachinery util/duration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from testbed.api.documents import Document

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"
#: Items that a cell shows before it says how many more there are.
SHOWN = 3


def since(timestamp: Any, now: float) -> str:
    """How long ago an API time was, as kubectl says it; `now` in seconds since 1970."""
    moment = parse_time(timestamp)
    return UNKNOWN if moment is None else human_duration(now - moment)


def parse_time(timestamp: Any) -> float | None:
    """An API time as seconds since 1970, or None."""
    if not isinstance(timestamp, str) or not timestamp:
        return None
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def human_duration(seconds: float) -> str:
    """Two figures at most: 119s, 2m5s, 10m, 3h2m, 2d, 1y30d."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    if total < 0:
        return "0s"
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return _two(minutes, "m", total % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if hours < 24 * 8:
        return _two(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}" + (f"{small}{small_unit}" if small else "")


def some(items: Sequence[str]) -> str:
    """The first items, and how many more there are."""
    text = ",".join(items[:SHOWN])
    return f"{text} + {len(items) - SHOWN} more..." if len(items) > SHOWN else text


def labels(values: Any) -> str:
    """A map as `a=1,b=2`."""
    return ",".join(f"{key}={values[key]}" for key in sorted(values)) if values else NONE


def joined(values: Iterable[Any], otherwise: str = NONE) -> str:
    return ",".join(str(value) for value in values) or otherwise


def spec(document: Document) -> Document:
    return document.get("spec") or {}


def state(document: Document) -> Document:
    return document.get("status") or {}


def containers(template: Document) -> tuple[str, str]:
    """Names and images of a Pod spec's containers."""
    listed = (template.get("spec") or {}).get("containers") or ()
    return (
        ",".join(c.get("name") or "" for c in listed),
        ",".join(c.get("image") or "" for c in listed),
    )


def balancer_addresses(document: Document) -> list[str]:
    """Addresses or names in status.loadBalancer, sorted."""
    ingress = (state(document).get("loadBalancer") or {}).get("ingress") or ()
    return sorted({i.get("ip") or i.get("hostname") or "" for i in ingress} - {""})
