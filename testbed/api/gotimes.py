"""Times as Go parses and the API prints them.

Sources: Go's time/format.go (parse), apimachinery pkg/apis/meta/v1/{time,micro_time}.go.
"""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime, timedelta

SECONDS = "2006-01-02T15:04:05Z07:00"
MICROSECONDS = "2006-01-02T15:04:05.000000Z07:00"

#: The parts of a layout: what stands there, the pattern that it takes, its name and range.
_PARTS = (
    ("2006", r"\d{4}", "", 0, 9999),
    ("-", "", "", 0, 0),
    ("01", r"\d\d", "month", 1, 12),
    ("-", "", "", 0, 0),
    ("02", r"\d\d", "", 0, 99),
    ("T", "", "", 0, 0),
    ("15", r"\d\d?", "hour", 0, 23),
    (":", "", "", 0, 0),
    ("04", r"\d\d", "minute", 0, 59),
    (":", "", "", 0, 0),
    ("05", r"\d\d", "second", 0, 59),
)
_ZONE = re.compile(r"Z|([+-])(\d\d):(\d\d)")


def utc(text: str, *, micro: bool) -> str:
    """An RFC 3339 time in UTC, to the second (or microsecond); "" for the zero time.

    Raises ValueError with Go's words.
    """
    layout = MICROSECONDS if micro else SECONDS
    numbers, fraction, rest = _fields(text, layout, micro=micro)
    zone = _ZONE.match(rest)
    if zone is None:
        raise _unparsed(text, layout, rest, "Z07:00")
    if zone.end() < len(rest):
        raise _complaint(text, f": extra text: {_quote(rest[zone.end() :])}")
    year, month, day, hour, minute, second = numbers
    if not 1 <= day <= (calendar.monthrange(year or 4, month)[1] if month else 31):
        raise _complaint(text, ": day out of range")
    offset = timedelta()
    if zone[1]:
        if int(zone[2]) > 24:
            raise _complaint(text, ": time zone offset hour out of range")
        if int(zone[3]) > 60:
            raise _complaint(text, ": time zone offset minute out of range")
        offset = timedelta(hours=int(zone[2]), minutes=int(zone[3]))
        offset = -offset if zone[1] == "-" else offset
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC) - offset
    except (ValueError, OverflowError):
        return text  # the year 0 and what lies before it: printed as written
    parts = fraction[1:].ljust(6, "0")[:6]
    if moment == datetime(1, 1, 1, tzinfo=UTC) and not parts.strip("0"):
        return ""
    stamp = f"{moment.year:04}-{moment:%m-%dT%H:%M:%S}"
    return f"{stamp}.{parts}Z" if micro else f"{stamp}Z"


def _fields(text: str, layout: str, *, micro: bool) -> tuple[list[int], str, str]:
    """The numbers, the fraction of a second and what is left."""
    rest, numbers = text, []
    for element, pattern, name, low, high in _PARTS:
        if not pattern:
            if not rest.startswith(element):
                raise _unparsed(text, layout, rest, element)
            rest = rest[1:]
            continue
        found = re.match(pattern, rest, re.ASCII)
        if found is None:
            raise _unparsed(text, layout, rest, element)
        number = int(found[0])
        rest = rest[found.end() :]
        if name and not low <= number <= high:
            raise _complaint(text, f": {name} out of range")
        numbers.append(number)
    if micro:
        found = re.match(r"[.,]\d{6}", rest, re.ASCII)
        if found is None:
            raise _unparsed(text, layout, rest, ".000000")
    else:
        found = re.match(r"[.,]\d+", rest, re.ASCII)
    fraction = found[0] if found else ""
    return numbers, fraction, rest[len(fraction) :]


def _unparsed(text: str, layout: str, rest: str, element: str) -> ValueError:
    return ValueError(
        f"parsing time {_quote(text)} as {_quote(layout)}: "
        f"cannot parse {_quote(rest)} as {_quote(element)}"
    )


def _complaint(text: str, words: str) -> ValueError:
    return ValueError(f"parsing time {_quote(text)}{words}")


def _quote(text: str) -> str:
    """`text` as package time quotes it: byte by byte."""
    out = []
    for byte in text.encode():
        char = chr(byte)
        if char in '"\\':
            out.append(f"\\{char}")
        else:
            out.append(char if " " <= char < "\x7f" else f"\\x{byte:02x}")
    return f'"{"".join(out)}"'
