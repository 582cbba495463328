"""A document for people, once as Markdown and once as one HTML file that asks for nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from trainwright.watch.report import read_style


@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A heading, and under it sentences, facts (name and value), tables, points and text as it stands, in this order."""

    title: str
    sentences: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
    tables: tuple[Table, ...] = ()
    points: tuple[str, ...] = ()
    verbatim: str = ""


@dataclass(frozen=True)
class Document:
    """A title, a line under it, and sections."""

    title: str
    subtitle: str
    sections: tuple[Section, ...] = field(default=())


# ── Markdown ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_markdown(document: Document) -> str:
    """The document as Markdown. What a table cell holds cannot end the cell."""
    parts = [f"# {_flatten(document.title)}", _flatten(document.subtitle)]
    for section in document.sections:
        parts += [f"## {section.title}", *(_flatten(sentence) for sentence in section.sentences)]
        if section.facts:
            parts.append(_render_table(Table(("", ""), section.facts)))
        parts += [_render_table(table) for table in section.tables]
        if section.points:
            parts.append("\n".join(f"- {_flatten(point)}" for point in section.points))
        if section.verbatim:
            parts.append(f"```text\n{section.verbatim.replace('```', chr(39) * 3)}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _render_table(table: Table) -> str:
    lines: list[Sequence[str]] = [table.headings, ["---"] * len(table.headings), *table.rows]
    return "\n".join("| " + " | ".join(_flatten(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def _flatten(text: str) -> str:
    """On one line, and no HTML in it."""
    return " ".join(text.replace("<", "&lt;").split())


# ── HTML ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def render_html(document: Document) -> str:
    """The document as one page; every text in it is escaped."""
    body = "\n".join(_render_section(section) for section in document.sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(document.title)}</title>\n<style>\n{read_style()}</style></head>\n<body><main>\n"
        f'<h1>{escape(document.title)}</h1>\n<p class="byline">{escape(document.subtitle)}</p>\n{body}\n'
        "</main></body></html>\n"
    )


def _render_section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>", *(f"<p>{escape(sentence)}</p>" for sentence in section.sentences)]
    if section.facts:
        rows = "".join(
            f'<tr><th class="label" scope="row">{escape(name)}</th><td class="any">{escape(value)}</td></tr>'
            for name, value in section.facts
        )
        parts.append(f"<table>{rows}</table>")
    for table in section.tables:
        head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
        rows = "".join(
            "<tr>" + "".join(f'<td class="any">{escape(cell)}</td>' for cell in row) + "</tr>" for row in table.rows
        )
        parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>")
    if section.points:
        parts.append("<ul>" + "".join(f"<li>{escape(point)}</li>" for point in section.points) + "</ul>")
    if section.verbatim:
        parts.append(f"<pre>{escape(section.verbatim)}</pre>")
    return "\n".join(parts)
