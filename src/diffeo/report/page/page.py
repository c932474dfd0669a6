"""The page: one HTML file with everything in it, for a screen of any width, and for print."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from string import Template

from ...core.files import write_atomic
from .content import (
    Beside,
    Card,
    Cards,
    Code,
    Fold,
    Grid,
    Heading,
    Page,
    Part,
    Pictured,
    Section,
    Words,
    truncated,
)
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


def write_report(folder: Path, page: Page) -> Path:
    """Write `folder/report.html` in one step and return its path. The folder is made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "report.html"
    write_atomic(path, render(page).encode("utf-8", "replace"))
    return path


def render(page: Page) -> str:
    """The page as a string; everything that comes from data is escaped."""
    title = escape(page.title)
    source = escape(page.source)
    return PAGE.substitute(title=title, source=source, css=CSS, body="\n".join(_body(page)))


def _body(page: Page) -> Iterator[str]:
    yield f"<header><h1>{escape(page.title)}</h1><p class='source'>{escape(page.source)}</p>"
    tags = "".join(f"<span>{escape(truncated(tag))}</span>" for tag in page.tags)
    yield f"<p class='tags'>{tags}</p></header>"
    yield from map(_section, page.sections)


def _section(section: Section) -> str:
    return f"<section><h2>{escape(section.title)}</h2>\n{_parts(section.parts)}\n</section>"


def _parts(parts: Iterable[Part]) -> str:
    return "".join(map(_part, parts))


def _part(part: Part) -> str:
    match part:
        case Words():
            mark = f" class='{part.kind}'" if part.kind else ""
            return "".join(f"<p{mark}>{escape(text)}</p>" for text in part.sentences)
        case Grid():
            return _table(part)
        case Pictured():
            picture = _image(part.picture, part.alt) if part.picture else ""
            return (
                _part(Words(part.words))
                + picture
                + (_table(part.grid) if part.grid is not None else "")
            )
        case Cards():
            return f"<div class='cards {part.kind}'>{''.join(map(_card, part.cards))}</div>"
        case Heading():
            return f"<h3>{escape(part.text)}</h3>"
        case Fold():
            return (
                f"<details><summary>{escape(part.summary)}</summary>{_table(part.grid)}</details>"
            )
        case Code():
            return f"<pre>{escape(part.text)}</pre>"
        case Beside():
            columns = "".join(f"<div>{_parts(column)}</div>" for column in part.columns)
            return f"<div class='beside'>{columns}</div>"


def _image(uri: str, alt: str) -> str:
    return f"<div class='wide'><img src='{escape(uri)}' alt='{escape(alt)}'></div>"


def _card(card: Card) -> str:
    marked = " class=off" if card.strong else ""
    return (
        f"<figure><img src='{escape(card.picture)}' alt='{escape(card.alt)}'>"
        f"<figcaption><b>{escape(truncated(card.name, 80))}</b> "
        f"<span{marked}>{escape(card.caption)}</span></figcaption></figure>"
    )


def _table(grid: Grid) -> str:
    head = "".join(f"<th>{escape(truncated(cell, 40))}</th>" for cell in grid.header)
    rows = "".join(_row(row, i in grid.strong) for i, row in enumerate(grid.rows))
    return (
        "<div"
        f" class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _row(cells: tuple[str, ...], strong: bool) -> str:
    inner = "".join(
        f"<td{' class=n' if len(cell) <= 24 else ''}>{escape(truncated(cell))}</td>"
        for cell in cells
    )
    return f"<tr{' class=strong' if strong else ''}>{inner}</tr>"
