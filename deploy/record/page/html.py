"""The parts of a page: cards, tables, sections, and the page around them.

Every function takes plain text and escapes it: a page shows names that come from files, and none
may be markup. What is markup already has the type :data:`Html`.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Literal, NewType

Html = NewType("Html", str)
"""Markup, escaped where it has to be."""

# What a mail passes on and a phone opens.
MOST_BYTES = 5_000_000
# Of a film, which the page has as text: four characters for three bytes.
_MOST_FILM_BYTES = 1_400_000
_FILM_TYPES = {".mp4": "video/mp4", ".gif": "image/gif"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a record comes to.

    Attributes:
        sentence: One sentence that a stranger understands.
        advice: What to do or to look at; empty for nothing.
        tone: Whether that is good news.
    """

    sentence: str
    advice: str = ""
    tone: Literal["good", "bad", "plain"] = "plain"


@dataclass(frozen=True, slots=True)
class Card:
    """A key figure: its name, its value with the unit, and a few words about it."""

    name: str
    value: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a page under a heading of its own."""

    title: str
    body: Html


def escaped(text: object) -> Html:
    """Return a text as markup that shows it."""
    return Html(html.escape(str(text)))


def joined(parts: Iterable[Html]) -> Html:
    """Return markup one after the other."""
    return Html("\n".join(parts))


def two_by_two(charts: Iterable[Html]) -> Html:
    """Return charts side by side where there is room."""
    return Html(f'<div class="charts two">{"".join(charts)}</div>')


def paragraph(text: str) -> Html:
    """Return a paragraph of small text."""
    return Html(f'<p class="note">{escaped(text)}</p>')


def cards(found: Sequence[Card]) -> Html:
    """Return key figures side by side."""
    each = (
        f'<div class="card"><div class="name">{escaped(card.name)}</div>'
        f'<div class="value">{escaped(card.value)}</div>'
        f'<div class="about">{escaped(card.about)}</div></div>'
        for card in found
    )
    return Html(f'<div class="cards">{"".join(each)}</div>')


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """Return a table; cells that are numbers stand at the right."""

    def cell(value: object) -> str:
        kind = ' class="number"' if isinstance(value, int | float) else ""
        return f"<td{kind}>{escaped(shown(value))}</td>"

    top = "".join(f"<th>{escaped(name)}</th>" for name in head)
    body = "".join(f"<tr>{''.join(map(cell, row))}</tr>" for row in rows)
    return Html(
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def shown(value: object) -> str:
    """Return a value as people read it: numbers to three digits, "-" where there is none."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.3g}"
    return str(value)


def folded(summary: str, body: Html) -> Html:
    """Return markup that is shown when its summary is clicked."""
    return Html(f"<details><summary>{escaped(summary)}</summary>{body}</details>")


def as_json(data: Any) -> Html:
    """Return data as JSON text."""
    return Html(f"<pre>{escaped(json.dumps(data, indent=2, ensure_ascii=False))}</pre>")


def film(path: Path | None) -> Html:
    """Return a film, inside the page where it is small; its name where it is not; "" for none."""
    if path is None:
        return Html("")
    size = path.stat().st_size
    if size > _MOST_FILM_BYTES:
        return paragraph(f"The film {path.name} has {size / 1e6:.1f} MB, too much for this page.")
    kind = _FILM_TYPES[path.suffix]
    data = f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    if kind == "image/gif":
        return Html(f'<img class="film" alt="film" src="{data}">')
    return Html(f'<video class="film" controls loop muted playsinline src="{data}"></video>')


def find_film(paths: Iterable[Path]) -> Path | None:
    """Return the first of some paths that is a film which browsers play; None for none."""
    return next((path for path in paths if path.suffix in _FILM_TYPES and path.is_file()), None)


def page(title: str, verdict: Verdict, figures: Sequence[Card], sections: Sequence[Section]) -> str:
    """Return a whole page; ``charts.Charts.drawn`` draws its charts.

    Args:
        title: What it is about.
        verdict: Its first sentence.
        figures: Its key figures.
        sections: Its parts, in order.
    """
    names = [section.title.lower().replace(" ", "-") for section in sections]
    links = (
        f'<a href="#{escaped(name)}">{escaped(section.title)}</a>'
        for name, section in zip(names, sections, strict=True)
    )
    parts = (
        f'<section id="{escaped(name)}"><h2>{escaped(section.title)}</h2>{section.body}</section>'
        for name, section in zip(names, sections, strict=True)
    )
    return _PAGE.substitute(
        title=escaped(title),
        style=_STYLE,
        tone=verdict.tone,
        sentence=escaped(verdict.sentence),
        advice=Html(f"<p>{escaped(verdict.advice)}</p>" if verdict.advice else ""),
        cards=cards(figures),
        links="".join(links),
        parts="\n".join(parts),
    )


# The policy lets the page run what is in it, and fetch nothing from anywhere.
_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'unsafe-inline';\
 style-src 'unsafe-inline'; img-src data: blob:; media-src data:; font-src data:">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<h1>$title</h1>
<div class="verdict $tone"><strong>$sentence</strong>$advice</div>
$cards
</header>
<nav>$links</nav>
<main>
$parts
</main>
</body>
</html>
""")

_STYLE = """
:root { --paper: #f5f6f8; --sheet: #fff; --ink: #1b2027; --quiet: #5c6773; --line: #dfe3e8;
  --good: #00734f; --bad: #b3261e; --plain: #0a5a94; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1216; --sheet: #181c22; --ink: #e4e8ed; --quiet: #98a3b0; --line: #2c333c;
    --good: #35c493; --bad: #ff8a7a; --plain: #6cb8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1180px; padding: 12px; background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.05rem; font-weight: 500; color: var(--quiet); margin: 6px 0 10px; }
h2 { font-size: 1.15rem; margin: 0 0 8px; }
.verdict, section { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px;
  padding: 14px; }
.verdict { border-left: 6px solid var(--plain); font-size: 1.25rem; }
.verdict p { margin: 6px 0 0; font-size: 0.95rem; color: var(--quiet); }
.good { border-left-color: var(--good); } .good strong { color: var(--good); }
.bad { border-left-color: var(--bad); } .bad strong { color: var(--bad); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(148px, 1fr)); gap: 8px;
  margin: 10px 0; }
.card { background: var(--sheet); border: 1px solid var(--line); border-radius: 10px;
  padding: 9px 12px; }
.name, .about { color: var(--quiet); font-size: 0.8rem; }
.value { font-size: 1.3rem; font-weight: 600; font-variant-numeric: tabular-nums; }
nav { position: sticky; top: 0; z-index: 9; display: flex; gap: 4px; overflow-x: auto;
  background: var(--paper); padding: 6px 0; }
nav a { color: var(--quiet); text-decoration: none; border: 1px solid var(--line);
  border-radius: 14px; padding: 3px 11px; white-space: nowrap; background: var(--sheet);
  font-size: 0.85rem; }
section { margin: 10px 0; scroll-margin-top: 46px; }
.charts { display: grid; gap: 14px; }
.charts + .chart { margin-top: 14px; }
.charts > * { min-width: 0; }
@media (min-width: 900px) { .charts.two { grid-template-columns: 1fr 1fr; } }
.note { color: var(--quiet); font-size: 0.88rem; margin: 4px 0 10px; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.88rem; width: 100%; margin: 4px 0 10px;
  overflow-wrap: normal; }
th, td { text-align: left; padding: 4px 12px 4px 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--quiet); font-weight: 500; }
td:first-child { white-space: nowrap; }
.number { font-variant-numeric: tabular-nums; }
details { margin: 6px 0; } summary { cursor: pointer; padding: 4px 0; }
pre { overflow: auto; max-height: 70vh; font-size: 0.8rem; background: var(--paper); padding: 10px;
  border-radius: 8px; }
.film { width: 560px; max-width: 100%; border-radius: 8px; display: block; }
"""
