"""A lineage as a picture: one SVG, or one page of HTML with the picture and every record in it. Neither makes a request.

Colours say which kind a record is, and so does the text in its box; both follow the reader's light or dark setting.
"""

import html
import re
import unicodedata
from xml.etree import ElementTree as ET

from trainwright.store.lineage import MISSING, NUM_ID_DIGITS, Lineage, render_tree
from trainwright.store.lineage_layout import BOX_HEIGHT, BOX_WIDTH, Box, Layout, Wire, lay_out

MARGIN = 24
LEGEND_HEIGHT = 26
MAX_LABEL_CELLS = 29
"""Of a label in its box; the whole of it is what the box says when it is pointed at."""

_HUES = {
    "trace": 330,
    "dataset": 25,
    "tokenizer": 45,
    "token-set": 70,
    "imported-model": 300,
    "receipt": 0,
    "plan": 150,
    "run": 185,
    "checkpoint": 215,
    "report": 250,
    "evaluation": 265,
    "outcome": 200,
    "drift": 10,
    "verdict": 130,
    "policy": 90,
    "decision": 110,
    "release": 285,
}
# What XML has no room for, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_STYLE = """
.lineage { --paper: #fbfaf7; --ink: #1c2128; --soft: #5a6370; --line: #a9a59b; --fill: 93%; --edge: 42%; --bar: 45%;
  font-family: system-ui, -apple-system, "Segoe UI", sans-serif; background: var(--paper); }
@media (prefers-color-scheme: dark) {
  .lineage { --paper: #14171b; --ink: #e4e6e9; --soft: #9aa3af; --line: #59626d; --fill: 18%; --edge: 58%; --bar: 60%; } }
.lineage .paper { fill: var(--paper); }
.lineage text { fill: var(--ink); font-size: 12px; }
.lineage text.soft { fill: var(--soft); font-size: 11px; }
.lineage text.heading { fill: var(--soft); font-size: 12px; font-weight: 600; }
.lineage .kind { font-weight: 600; }
.lineage .digits { font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: 11px; }
.lineage .box { fill: hsl(var(--hue) 45% var(--fill)); stroke: hsl(var(--hue) 40% var(--edge)); stroke-width: 1; }
.lineage .bar { fill: hsl(var(--hue) 55% var(--bar)); }
.lineage .missing .box { fill: var(--paper); stroke: #c22f3d; stroke-dasharray: 5 3; }
.lineage .missing .bar { fill: #c22f3d; }
.lineage .folded .box { fill: var(--paper); stroke-dasharray: 5 3; }
.lineage .asked .box { stroke: var(--ink); stroke-width: 2.5; }
.lineage .wire { fill: none; stroke: var(--line); stroke-width: 1.3; }
.lineage .compared { stroke-dasharray: 2 4; }
"""

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --page: #fbfaf7; --text: #1c2128; --soft: #5a6370; --rule: #e2e0da; }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #14171b; --text: #e4e6e9; --soft: #9aa3af; --rule: #2d333b; }} }}
body {{ margin: 0; padding: 2rem 1.5rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }}
h1 {{ font-size: 1.5rem; margin: 0; overflow-wrap: anywhere; }}
p {{ color: var(--soft); margin: .3rem 0 1.5rem; }}
summary {{ cursor: pointer; margin: 1.5rem 0 .5rem; font-weight: 600; }}
.scroll {{ overflow-x: auto; }}
pre, td:nth-child(2) {{ font: .8rem/1.5 ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; }}
table {{ border-collapse: collapse; font-size: .88rem; }}
td, th {{ text-align: left; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--rule); vertical-align: top; }}
</style>
<h1>{title}</h1>
<p>{subtitle}</p>
<div class="scroll">{picture}</div>
<details><summary>As text</summary><div class="scroll"><pre>{tree}</pre></div></details>
<details><summary>Every record</summary><div class="scroll"><table>
<tr><th>kind</th><th>id</th><th></th></tr>
{rows}
</table></div></details>
</html>
"""


def render_svg(lineage: Lineage) -> str:
    """The picture as one SVG document; every text in it is escaped."""
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + _render_picture(lineage) + "\n"


def render_html(lineage: Lineage) -> str:
    """The picture on a page, with the text tree and all records, the folded ones too; every text in it is escaped."""
    asked = lineage.nodes[lineage.record_id]
    rows = (
        f"<tr>{''.join(f'<td>{_escape(cell)}</td>' for cell in (one.kind, one.id, one.label))}</tr>"
        for one in lineage.nodes.values()
    )
    return _PAGE.format(
        title=_escape(f"Lineage of {asked.kind} {asked.id[:NUM_ID_DIGITS]}"),
        subtitle=_escape(f"{asked.label} · {len(lineage.nodes):,} in all"),
        picture=_render_picture(lineage),
        tree=_escape(render_tree(lineage)),
        rows="\n".join(rows),
    )


def _render_picture(lineage: Lineage) -> str:
    layout = lay_out(lineage)
    keys = _list_keys(layout)
    width = max(layout.width, 4 * (BOX_WIDTH + MARGIN)) + 2 * MARGIN
    per_row = max(1, int((width - 2 * MARGIN) // (BOX_WIDTH + MARGIN)))
    height = layout.height + 2 * MARGIN + LEGEND_HEIGHT * (1 + -(-len(keys) // per_row))
    size = {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"}
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", "class": "lineage", "role": "img", **size})
    asked = lineage.nodes[lineage.record_id]
    _add(svg, "title", text=f"Lineage of {asked.kind} {asked.id[:NUM_ID_DIGITS]}: {len(lineage.nodes):,} in all")
    _add(svg, "style", text=_STYLE)
    _add(svg, "rect", {"class": "paper", "width": "100%", "height": "100%"})
    picture = _add(svg, "g", {"transform": f"translate({MARGIN} {MARGIN})"})
    for heading in layout.headings:
        _add(
            picture, "text", {"class": "heading", "x": f"{heading.x:g}", "y": "14"}, _shorten(", ".join(heading.kinds))
        )
    for wire in layout.wires:
        _add_wire(picture, wire)
    for box in layout.boxes:
        _add_box(picture, box, is_asked=box.id == lineage.record_id)
    legend = _add(svg, "g", {"transform": f"translate({MARGIN} {MARGIN + layout.height + LEGEND_HEIGHT:g})"})
    for number, (name, kind, classes) in enumerate(keys):
        _add_key(
            legend, name, kind, classes, (number % per_row) * (BOX_WIDTH + MARGIN), number // per_row * LEGEND_HEIGHT
        )
    return ET.tostring(svg, encoding="unicode")


def _add_wire(picture: ET.Element, wire: Wire) -> None:
    (x1, y1), (x2, y2) = wire.start, wire.end
    bend = (x1 + x2) / 2
    path = f"M{x1:.1f} {y1:.1f}C{bend:.1f} {y1:.1f} {bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    line = _add(picture, "path", {"class": "wire compared" if wire.is_compared else "wire", "d": path})
    if wire.title:
        _add(line, "title", text=wire.title)


def _add_box(picture: ET.Element, box: Box, *, is_asked: bool) -> None:
    classes = [
        name
        for name, holds in (("asked", is_asked), ("folded", box.num_folded), (MISSING, box.kind == MISSING))
        if holds
    ]
    group = _add(
        picture,
        "g",
        {
            "class": " ".join(["node", *classes]),
            "style": f"--hue: {_HUES.get(box.kind, 220)}",
            "transform": f"translate({box.x:.1f} {box.y:.1f})",
        },
    )
    _add(group, "rect", {"class": "box", "width": str(BOX_WIDTH), "height": str(BOX_HEIGHT), "rx": "6"})
    _add(group, "rect", {"class": "bar", "width": "5", "height": str(BOX_HEIGHT), "rx": "2.5"})
    if box.num_folded:
        plural = "" if box.num_behind == 1 else "s"
        behind = f"and {box.num_behind:,} record{plural} behind them" if box.num_behind else ""
        _add(group, "title", text=f"{box.num_folded:,} more of the kind {box.kind} {behind}".rstrip())
        _add(group, "text", {"class": "kind", "x": "14", "y": "20"}, f"… {box.num_folded:,} more {_plural(box.kind)}")
        _add(group, "text", {"class": "soft", "x": "14", "y": "37"}, behind)
        return
    _add(group, "title", text=f"{box.kind} {box.id}\n{box.label}".rstrip())
    line = _add(group, "text", {"x": "14", "y": "20"})
    _add(line, "tspan", {"class": "kind"}, box.kind)
    _add(line, "tspan", {"class": "digits", "dx": "6"}, box.id[:NUM_ID_DIGITS])
    _add(group, "text", {"class": "soft", "x": "14", "y": "37"}, _shorten(box.label))


def _list_keys(layout: Layout) -> list[tuple[str, str, str]]:
    """(what it says, kind, classes) of every entry of the legend: what is in this picture, and nothing else."""
    kinds = dict.fromkeys(kind for heading in layout.headings for kind in heading.kinds if kind != MISSING)
    keys = [(kind, kind, "node") for kind in kinds]
    keys.append(("what was asked for", next(iter(kinds), ""), "node asked"))
    if any(box.num_folded for box in layout.boxes):
        keys.append(("several, folded", "", "node folded"))
    if any(box.kind == MISSING for box in layout.boxes):
        keys.append(("named, but not in this ledger", MISSING, f"node {MISSING}"))
    if any(wire.is_compared for wire in layout.wires):
        keys.append(("held against, not made from", "", "compared"))
    return keys


def _add_key(legend: ET.Element, name: str, kind: str, classes: str, x: int, y: int) -> None:
    attributes = {"style": f"--hue: {_HUES.get(kind, 220)}", "transform": f"translate({x} {y})"}
    group = _add(legend, "g", {"class": "key" if classes == "compared" else f"key {classes}", **attributes})
    if classes == "compared":
        _add(group, "path", {"class": "wire compared", "d": "M0 8H22"})
    else:
        _add(group, "rect", {"class": "box", "width": "22", "height": "16", "rx": "4"})
        _add(group, "rect", {"class": "bar", "width": "4", "height": "16", "rx": "2"})
    _add(group, "text", {"class": "soft", "x": "30", "y": "12"}, name)


def _add(parent: ET.Element, tag: str, attributes: dict[str, str] | None = None, text: str = "") -> ET.Element:
    element = ET.SubElement(parent, tag, attributes or {})
    element.text = _clean(text) or None
    return element


def _plural(kind: str) -> str:
    return "policies" if kind == "policy" else kind if kind == MISSING else f"{kind}s"


def _shorten(text: str) -> str:
    """A text on one line that fits into a box."""
    line = " ".join(_clean(text).split())
    room = MAX_LABEL_CELLS
    for position, character in enumerate(line):
        room -= 2 if unicodedata.east_asian_width(character) in "WF" else 1
        if room < 0:
            return f"{line[: max(0, position - 1)]}…"
    return line


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _escape(text: str) -> str:
    return html.escape(_clean(text))
