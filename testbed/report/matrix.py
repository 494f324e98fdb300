"""A table of values as one HTML page: no scripts, light and dark, a narrow screen scrolls it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_STYLE = """
:root{color-scheme:light dark;--line:#d0d7de;--quiet:#57606a;--head:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--line:#3d444d;--quiet:#9198a1;--head:#151b23}}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:75rem;padding:0 1rem}
.frame{overflow-x:auto}table{border-collapse:collapse;width:100%}caption{text-align:left}
th,td{border:1px solid var(--line);padding:.35rem .6rem;text-align:left;vertical-align:top}
th{background:var(--head)}td.quiet{color:var(--quiet)}
"""


def render(title: str, text: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The page; an empty cell is shown as a dash."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = [f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        f"<h1>{escape(title)}</h1>\n<p>{escape(text)}</p>\n"
        f'<div class="frame" tabindex="0" role="region" aria-label="{escape(title)}"><table>'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n" + "\n".join(lines) + "\n</tbody></table>"
        "</div>\n</body></html>\n"
    )


def _cell(value: str) -> str:
    return f"<td>{escape(value)}</td>" if value else '<td class="quiet">–</td>'
