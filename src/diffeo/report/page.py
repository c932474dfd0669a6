"""The page: one HTML file with everything in it, for a screen of any width, and for print."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from pathlib import Path
from string import Template

from ..core.files import write_atomic
from .content import Grid, Pictured, ReportContent
from .style import CSS

__all__ = ["render", "write_report"]

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>$title: $source</title>
<style>$css</style>
</head>
<body>
<main>
$body
</main>
</body>
</html>
""")


def write_report(folder: Path, content: ReportContent) -> Path:
    """Write `folder/report.html` in one step and return its path. The folder is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_atomic(path, render(content).encode("utf-8", "replace"))
    return path


def render(content: ReportContent) -> str:
    """The page as a string; everything that comes from data is escaped."""
    title, source = escape(content.title), escape(content.source)
    return PAGE.substitute(title=title, source=source, css=CSS, body="\n".join(_body(content)))


def _body(c: ReportContent) -> Iterator[str]:
    yield f"<header><h1>{escape(c.title)}</h1><p class='source'>{escape(c.source)}</p>"
    yield f"<p class='tags'>{''.join(f'<span>{escape(_cut(tag))}</span>' for tag in c.tags)}</p></header>"
    yield _section("How good it is", _paragraphs(c.verdict, "verdict") + _table(c.headline) + _paragraphs(c.notes, "note"))
    yield _section("Losses", _pictured(c.loss, "loss curves"))
    yield _section("Columns", _columns(c))
    yield _section("Dependence", _pictured(c.corner, "corner plot of data and samples"))
    yield _section("Latents", _pictured(c.latent, "histogram and quantiles of the latents"))
    yield _section("Least likely rows", _pictured(c.unlikely, ""))
    yield _section("Choices made", "".join(f"<h3>{escape(name)}</h3>{_table(grid)}" for name, grid in c.choices))
    nothing = "<p>No checkup was run: <code>diffeo check</code> runs one.</p>"
    yield _section("Checkup", nothing if c.checkup is None else _pictured(c.checkup, ""))
    code = f"<h3>Shell</h3><pre>{escape(c.shell)}</pre><h3>Python</h3><pre>{escape(c.python)}</pre>"
    yield _section("How to use the model", code)


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{inner}\n</section>"


def _paragraphs(words: list[str], kind: str = "") -> str:
    return "".join(f"<p class='{kind}'>{escape(text)}</p>" if kind else f"<p>{escape(text)}</p>" for text in words)


def _pictured(part: Pictured, alt: str) -> str:
    picture = _image(part.picture, alt) if part.picture else ""
    return _paragraphs(part.words) + picture + (_table(part.grid) if part.grid is not None else "")


def _image(uri: str, alt: str) -> str:
    return f"<div class='wide'><img src='{escape(uri)}' alt='{escape(alt)}'></div>"


def _columns(c: ReportContent) -> str:
    cards = "".join(
        f"<figure><img src='{escape(one.picture)}' alt='histogram'><figcaption><b>{escape(_cut(one.name, 80))}</b> "
        f"<span{' class=off' if one.strong else ''}>{escape(one.caption)}</span></figcaption></figure>"
        for one in c.columns
    )
    rest = c.columns_text.grid
    table = f"<details><summary>The other {len(rest.rows):,} columns</summary>{_table(rest)}</details>" if rest else ""
    return f"{_paragraphs(c.columns_text.words)}<div class='cards'>{cards}</div>{table}"


def _table(grid: Grid) -> str:
    head = "".join(f"<th>{escape(_cut(cell, 40))}</th>" for cell in grid.header)
    rows = "".join(_row(row, i in grid.strong) for i, row in enumerate(grid.rows))
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _row(cells: tuple[str, ...], strong: bool) -> str:
    inner = "".join(f"<td{' class=n' if len(cell) <= 24 else ''}>{escape(_cut(cell))}</td>" for cell in cells)
    return f"<tr{' class=strong' if strong else ''}>{inner}</tr>"


def _cut(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
