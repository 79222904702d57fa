"""The frame of a page, its style, tables, plots and files to download."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

COLOURS = ("#0b6e99", "#c2491d", "#4f7d2f", "#7b4fa3", "#a67c00", "#555555")
_CSS = """
:root { color-scheme: light; --line: #d9dde3; --soft: #f5f7f9; --ink: #1d2733; --mute: #5b6673; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 1500px;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.55rem; margin-bottom: .3rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.mute { color: var(--mute); } .scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap; }
th { text-align: left; } td.num, th.num { text-align: right; font-variant-numeric: tabular-nums; }
tr.kind td { background: var(--soft); font-weight: 600; } tr.published td { color: var(--mute); }
small { color: var(--mute); display: block; font-size: .72rem; }
td:first-child small { max-width: 26rem; white-space: normal; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { color: var(--mute); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(340px, 1fr)); gap: 1rem; }
.card { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; }
details { margin: .4rem 0; } pre { background: var(--soft); padding: .8rem; overflow-x: auto; }
dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0; }
"""


def html_page(title: str, parts: Iterable[str], *, style: str = "", script: str = "") -> str:
    """Return a whole page, with plotly.js in it.

    Args:
        title: Title of the window, as plain text.
        parts: HTML of the body, in order.
        style: CSS beside that of all pages.
        script: JavaScript that runs once the page is there.
    """
    end = f"<script>{script}</script>" if script else ""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}'
        f"</title><style>{_CSS}{style}</style><script>{get_plotlyjs()}</script></head>"
        f"<body>{''.join(parts)}{end}</body></html>"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], text: Sequence[int] = ()) -> str:
    """Return a table that scrolls sideways where it is wide.

    Args:
        columns: Heads, as plain text.
        rows: Cells, as HTML: escape what comes from outside.
        text: Numbers of the columns that hold text; all others are aligned as numbers.
    """
    kinds = ["" if k in text else ' class="num"' for k in range(len(columns))]
    head = "".join(
        f"<th{kind}>{html.escape(name)}</th>" for kind, name in zip(kinds, columns, strict=True)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{kind}>{cell}</td>" for kind, cell in zip(kinds, row, strict=True))
        + "</tr>"
        for row in rows
    )
    whole = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll">{whole}</div>'


def data_link(content: str | bytes, name: str, label: str, kind: str = "text/plain") -> str:
    """Return a link that saves a file which the page itself holds.

    Args:
        content: What is in the file.
        name: Name of the file.
        label: Text of the link.
        kind: MIME type.
    """
    raw = content.encode() if isinstance(content, str) else content
    data = base64.b64encode(raw).decode()
    name, label = html.escape(name, quote=True), html.escape(label)
    return f'<a download="{name}" href="data:{kind};base64,{data}">{label}</a>'


def plot(figure: go.Figure, height: int = 380) -> str:
    """Return a plot as HTML in the style of all pages; plotly.js must be on the page.

    Args:
        figure: Traces with the titles of their axes.
        height: Height in pixels; the width is that of the place it stands in.
    """
    figure.update_layout(
        template="none",
        height=height,
        colorway=COLOURS,
        font={"family": "system-ui, sans-serif", "size": 13, "color": "#1d2733"},
        margin={"l": 70, "r": 20, "t": 36, "b": 55},
    )
    grid = {"gridcolor": "#e6e9ee", "zeroline": False, "automargin": True}
    figure.update_xaxes(**grid)
    figure.update_yaxes(**grid)
    text: str = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"displaylogo": False, "responsive": True},
    )
    return f"<figure>{text}</figure>"
