"""Where everything stands in a picture of a lineage: columns by kind from left to right, rows, and the lines between.

A column holds kinds that stand equally far from the text. Where a model starts from another one, the columns begin anew to
its right, so that every line goes from left to right. Many siblings of one kind are folded into one box, with everything
behind them; rows are ordered by the mean of their neighbours (Sugiyama, Tagawa and Toda 1981), and a line that passes
a column has a place of its own there.
"""

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainwright.store.lineage import COMPARED_ROLES, MISSING, Lineage

COLUMNS = (
    ("trace",),
    ("dataset",),
    ("tokenizer", "imported-model", "receipt"),
    ("token-set",),
    ("plan",),
    ("run",),
    ("checkpoint", "verdict", "drift"),
    ("report", "evaluation", "policy"),
    ("decision", "outcome"),
    ("release",),
)
"""Kinds by their distance from the text; a record never comes from one of its own column or of one to the right, unless a
model, a version or a release follows another."""

MAX_SIBLINGS = 4
NUM_KEPT = 3
"""More siblings of one kind than MAX_SIBLINGS are folded but for this many."""

BOX_WIDTH, BOX_HEIGHT, COLUMN_GAP, ROW_GAP, WIRE_HEIGHT, TOP = 204, 48, 64, 14, 8, 40
NUM_SWEEPS = 4

_RANKS = {kind: rank for rank, kinds in enumerate(COLUMNS) for kind in kinds}
_Slot = tuple[str, int | None]
"""What takes a row: (id, None) of a box, or (id, layer) where the lines that leave that box pass a column."""


@dataclass(frozen=True)
class Box:
    """A record, or `num_folded` of one kind with `num_behind` records that hang on these alone. In pixels."""

    id: str
    kind: str
    label: str
    num_folded: int
    num_behind: int
    x: float
    y: float


@dataclass(frozen=True)
class Wire:
    """A piece of a line, from the right of something to the left of something. `title` is only on the last piece."""

    start: tuple[float, float]
    end: tuple[float, float]
    title: str
    is_compared: bool


@dataclass(frozen=True)
class Heading:
    """What stands in a column."""

    kinds: tuple[str, ...]
    x: float


@dataclass(frozen=True)
class Layout:
    """A picture in pixels, its origin at the top left."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    headings: tuple[Heading, ...]
    width: float
    height: float


@dataclass(frozen=True)
class _Member:
    kind: str
    label: str
    num_folded: int = 0
    num_behind: int = 0


@dataclass
class _Graph:
    """What is drawn: members by id, and the roles of each line, (parent, child) → roles."""

    members: dict[str, _Member]
    lines: dict[tuple[str, str], list[str]]


def lay_out(lineage: Lineage) -> Layout:
    """Fold, divide into columns, order the rows, and place everything."""
    layers = _assign_layers(lineage)
    graph = _fold(lineage, layers)
    columns = sorted({layers[found] for found in graph.members})
    numbers = {found: columns.index(layers[found]) for found in graph.members}
    slots = _list_slots(graph, numbers, len(columns))
    links = _list_links(graph, numbers)
    _order(slots, links)
    centres = _place(slots, links)
    return _draw(graph, numbers, slots, centres)


# ── folding ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _fold(lineage: Lineage, layers: dict[str, tuple[int, int]]) -> _Graph:
    """The graph with repeated siblings as one member each; `layers` gains theirs."""
    lines: dict[tuple[str, str], list[str]] = {}
    for edge in lineage.edges:
        lines.setdefault((edge.parent, edge.child), []).append(edge.role)
    graph = _Graph({found: _Member(node.kind, node.label) for found, node in lineage.nodes.items()}, lines)
    children, parents = _neighbours(lines)
    below = _reach(lineage.record_id, children)
    above = [found for found in lineage.nodes if found not in below]
    _fold_side(graph, lineage.record_id, list(below)[1:], parents, children, layers)
    # Ancestors nearest first: their order in the lineage is that of the walk.
    _fold_side(graph, lineage.record_id, above, children, parents, layers)
    return graph


def _fold_side(
    graph: _Graph,
    start: str,
    side: list[str],
    towards: Mapping[str, list[str]],
    away: Mapping[str, list[str]],
    layers: dict[str, tuple[int, int]],
) -> None:
    """Fold ancestors, or descendants. `towards` leads to the record in question, `away` from it."""
    inside = {start, *side}
    while crowd := _find_crowd(graph, side, inside, towards):
        anchors, siblings = crowd
        folded = sorted(siblings, key=lambda found: _rank_sibling(graph, found, away), reverse=True)[NUM_KEPT:]
        hidden = _hide(set(folded), side, inside, towards)
        number = sum(member.num_folded > 0 for member in graph.members.values())
        name = f"folded-{number + 1}"
        first = graph.members[folded[0]]
        layers[name] = layers[folded[0]]
        compared = {pair: roles for pair, roles in graph.lines.items() if pair[0] in folded or pair[1] in folded}
        graph.members = {found: one for found, one in graph.members.items() if found not in hidden}
        graph.members[name] = _Member(first.kind, "", len(folded), len(hidden) - len(folded))
        graph.lines = {pair: roles for pair, roles in graph.lines.items() if not hidden & set(pair)}
        for pair, roles in compared.items():
            for anchor in anchors & set(pair):
                line = (anchor, name) if pair[0] == anchor else (name, anchor)
                graph.lines.setdefault(line, roles)


def _find_crowd(
    graph: _Graph, side: Iterable[str], inside: set[str], towards: Mapping[str, list[str]]
) -> tuple[set[str], list[str]] | None:
    """The first records of one kind that hang on the same ones and are too many: what they hang on, and they."""
    crowds: dict[tuple[str, frozenset[str]], list[str]] = {}
    for found in side:
        if found in graph.members:
            anchors = frozenset(towards.get(found, ())) & inside
            crowds.setdefault((graph.members[found].kind, anchors), []).append(found)
    return next(
        ((set(anchors), found) for (_, anchors), found in crowds.items() if len(found) > MAX_SIBLINGS and anchors), None
    )


def _rank_sibling(graph: _Graph, found: str, away: Mapping[str, list[str]]) -> tuple[bool, bool]:
    """What is rather shown: what led to a release, then what led to anything. The sort keeps the first of equals."""
    reached = _reach(found, away)
    return any(graph.members[one].kind == "release" for one in reached if one in graph.members), len(reached) > 1


def _hide(folded: set[str], side: list[str], inside: set[str], towards: Mapping[str, list[str]]) -> set[str]:
    """The folded ones and everything that hangs on hidden ones alone."""
    hidden = set(folded)
    is_growing = True
    while is_growing:
        more = {
            found
            for found in side
            if found not in hidden and (anchors := set(towards.get(found, ())) & inside) and anchors <= hidden
        }
        hidden |= more
        is_growing = bool(more)
    return hidden


def _neighbours(lines: Iterable[tuple[str, str]]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    children: dict[str, list[str]] = {}
    parents: dict[str, list[str]] = {}
    for parent, child in lines:
        children.setdefault(parent, []).append(child)
        parents.setdefault(child, []).append(parent)
    return children, parents


def _reach(start: str, neighbours: Mapping[str, list[str]]) -> dict[str, None]:
    seen = {start: None}
    for found in (queue := [start]):
        for neighbour in neighbours.get(found, ()):
            if neighbour not in seen:
                seen[neighbour] = None
                queue.append(neighbour)
    return seen


# ── columns ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _assign_layers(lineage: Lineage) -> dict[str, tuple[int, int]]:
    """(generation, rank of the kind) of every record, which grow along every edge."""
    children, parents = _neighbours((edge.parent, edge.child) for edge in lineage.edges)
    ranks = {found: _RANKS.get(node.kind, 0) for found, node in lineage.nodes.items()}
    for found, node in lineage.nodes.items():
        if node.kind == MISSING:  # only what it was named as could say what it was
            ranks[found] = max(0, min((ranks[child] for child in children.get(found, ())), default=1) - 1)
    generations: dict[str, int] = {}
    for found in _sort_topologically(lineage.nodes, children, parents):
        generations[found] = max(
            (generations[one] + (ranks[found] <= ranks[one]) for one in parents.get(found, ())), default=0
        )
    return {found: (generations[found], ranks[found]) for found in lineage.nodes}


def _sort_topologically(
    nodes: Iterable[str], children: Mapping[str, list[str]], parents: Mapping[str, list[str]]
) -> list[str]:
    """Parents before children. Ids are digests of content, so there are no cycles."""
    remaining = {found: len(parents.get(found, ())) for found in nodes}
    ready = [found for found, number in remaining.items() if number == 0]
    for found in ready:
        for child in children.get(found, ()):
            remaining[child] -= 1
            if remaining[child] == 0:
                ready.append(child)
    return ready


# ── rows ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def _list_slots(graph: _Graph, numbers: dict[str, int], num_columns: int) -> list[list[_Slot]]:
    """What takes a row in each column. All lines that leave a box share their way through a column."""
    slots: list[dict[_Slot, None]] = [{} for _ in range(num_columns)]
    for found in graph.members:
        slots[numbers[found]][(found, None)] = None
    for parent, child in graph.lines:
        for number in range(numbers[parent] + 1, numbers[child]):
            slots[number][(parent, number)] = None
    return [list(column) for column in slots]


def _list_links(graph: _Graph, numbers: dict[str, int]) -> list[tuple[_Slot, _Slot]]:
    """From column to column: box, places on the way, box."""
    links: dict[tuple[_Slot, _Slot], None] = {}
    for parent, child in graph.lines:
        way = _way_of(parent, child, numbers)
        links |= dict.fromkeys(itertools.pairwise(way))
    return list(links)


def _way_of(parent: str, child: str, numbers: dict[str, int]) -> list[_Slot]:
    between: list[_Slot] = [(parent, number) for number in range(numbers[parent] + 1, numbers[child])]
    return [(parent, None), *between, (child, None)]


def _order(slots: list[list[_Slot]], links: list[tuple[_Slot, _Slot]]) -> None:
    """Sort each column by the mean row of what it is linked to, from the left and from the right in turn."""
    after: dict[_Slot, list[_Slot]] = {}
    before: dict[_Slot, list[_Slot]] = {}
    for left, right in links:
        after.setdefault(left, []).append(right)
        before.setdefault(right, []).append(left)
    for sweep in range(NUM_SWEEPS):
        is_rightwards = sweep % 2 == 0
        neighbours = before if is_rightwards else after
        rows = {slot: row for column in slots for row, slot in enumerate(column)}
        for column in slots if is_rightwards else reversed(slots):
            column.sort(key=lambda slot: _mean([rows[one] for one in neighbours.get(slot, ())], rows[slot]))
            rows |= {slot: row for row, slot in enumerate(column)}


def _place(slots: list[list[_Slot]], links: list[tuple[_Slot, _Slot]]) -> dict[_Slot, float]:
    """The middle of every slot: as near to the mean of what it comes from as its column has room."""
    before: dict[_Slot, list[_Slot]] = {}
    for left, right in links:
        before.setdefault(right, []).append(left)
    centres: dict[_Slot, float] = {}
    for column in slots:
        wanted = [_mean([centres[one] for one in before.get(slot, ())], 0.0) for slot in column]
        bottom, placed = 0.0, []
        for slot, middle in zip(column, wanted, strict=True):
            half = _height_of(slot) / 2
            placed.append(max(bottom + half, middle) if before.get(slot) else bottom + half)
            bottom = placed[-1] + half + ROW_GAP
        shift = _mean([middle - place for middle, place in zip(wanted, placed, strict=True)], 0.0)
        centres |= {slot: place + shift for slot, place in zip(column, placed, strict=True)}
    top = min(centre - _height_of(slot) / 2 for slot, centre in centres.items())
    return {slot: centre - top + TOP for slot, centre in centres.items()}


def _height_of(slot: _Slot) -> int:
    return BOX_HEIGHT if slot[1] is None else WIRE_HEIGHT


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


# ── the picture ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _draw(graph: _Graph, numbers: dict[str, int], slots: list[list[_Slot]], centres: dict[_Slot, float]) -> Layout:
    pitch = BOX_WIDTH + COLUMN_GAP
    boxes = tuple(
        Box(
            id=found,
            kind=member.kind,
            label=member.label,
            num_folded=member.num_folded,
            num_behind=member.num_behind,
            x=numbers[found] * pitch,
            y=centres[(found, None)] - BOX_HEIGHT / 2,
        )
        for found, member in graph.members.items()
    )
    wires: dict[tuple[tuple[float, float], tuple[float, float]], Wire] = {}
    for (parent, child), roles in graph.lines.items():
        way = _way_of(parent, child, numbers)
        is_compared = COMPARED_ROLES.issuperset(roles)
        for number, (left, right) in enumerate(itertools.pairwise(way)):
            x = (numbers[parent] + number) * pitch
            start, end = (x + BOX_WIDTH, centres[left]), (x + pitch, centres[right])
            title = ", ".join(roles) if right == way[-1] else ""
            shared = wires.get((start, end))
            wires[start, end] = Wire(start, end, title, is_compared and (shared is None or shared.is_compared))
            if right != way[-1]:  # straight through the column, where nothing else stands
                through = (end, (end[0] + BOX_WIDTH, end[1]))
                shared = wires.get(through)
                wires[through] = Wire(*through, "", is_compared and (shared is None or shared.is_compared))
    headings = tuple(_head(graph, column, number * pitch) for number, column in enumerate(slots))
    height = max(centre + _height_of(slot) / 2 for slot, centre in centres.items())
    return Layout(boxes, tuple(wires.values()), headings, len(slots) * pitch - COLUMN_GAP, height)


def _head(graph: _Graph, column: list[_Slot], x: float) -> Heading:
    kinds = Counter(graph.members[found].kind for found, passing in column if passing is None)
    return Heading(tuple(kind for kind, _ in kinds.most_common()), x)
