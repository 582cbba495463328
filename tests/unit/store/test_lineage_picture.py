"""A lineage as a picture: what is in it, where, what is folded, and that no text in it can be anything but text."""

import itertools
import re
from xml.etree import ElementTree as ET

import pytest

from trainwright.store.lineage import MISSING, Edge, Lineage, Node
from trainwright.store.lineage_layout import BOX_HEIGHT, BOX_WIDTH, lay_out
from trainwright.store.lineage_picture import render_html, render_svg

SVG = "{http://www.w3.org/2000/svg}"


class Drawing:
    """A lineage in the making; a record is named by a word, and `asked` is the one that was asked for."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []

    def add(self, name: str, kind: str, label: str = "", **parents: str) -> None:
        self.nodes[name] = Node(name, kind, label)
        self.edges += [Edge(name, role, parent) for role, parent in parents.items()]

    def ask(self, name: str) -> Lineage:
        return Lineage(name, self.nodes, tuple(self.edges))


@pytest.fixture
def drawing() -> Drawing:
    """Text to a release, and a run that starts from the first one's model."""
    made = Drawing()
    made.add("text", "dataset", "stories")
    made.add("pieces", "tokenizer", dataset="text")
    made.add("tokens", "token-set", dataset="text", tokenizer="pieces")
    made.add("plan", "plan", token_set="tokens")
    made.add("run", "run", plan="plan")
    made.add("model", "checkpoint", "step 10", run="run")
    made.add("release", "release", checkpoint="model")
    made.add("plan2", "plan", token_set="tokens", start="model")
    made.add("run2", "run", plan="plan2")
    return made


def boxes_of(layout):
    return {box.id: box for box in layout.boxes}


def require_readable(layout) -> None:
    """No two boxes on each other, every line from left to right, all of it inside of the picture."""
    boxes = sorted(layout.boxes, key=lambda box: (box.x, box.y))
    for first, second in itertools.pairwise(boxes):
        assert first.x != second.x or first.y + BOX_HEIGHT < second.y, (first.id, second.id)
    for wire in layout.wires:
        assert wire.start[0] < wire.end[0]
        for box in boxes:  # a line may touch a box at its ends alone
            if wire.start[1] == wire.end[1] and wire.start[0] == box.x:
                assert not box.y < wire.start[1] < box.y + BOX_HEIGHT, (box.id, wire)
    assert all(0 <= box.x <= layout.width - BOX_WIDTH and 0 <= box.y <= layout.height - BOX_HEIGHT for box in boxes)


def test_kinds_are_columns_and_every_line_goes_from_left_to_right(drawing) -> None:
    layout = lay_out(drawing.ask("plan"))
    require_readable(layout)
    boxes = boxes_of(layout)
    assert set(boxes) == set(drawing.nodes)
    for edge in drawing.edges:
        assert boxes[edge.parent].x < boxes[edge.child].x
    assert [heading.kinds for heading in layout.headings] == [
        *(("dataset",), ("tokenizer",), ("token-set",), ("plan",), ("run",), ("checkpoint",), ("release",)),
        *(("plan",), ("run",)),  # the one that started from the first one's model
    ]
    assert {wire.title for wire in layout.wires} >= {"start", "tokenizer", "checkpoint"}


def test_repeated_siblings_are_folded_with_what_hangs_on_them_alone(drawing) -> None:
    for number in range(17):
        drawing.add(f"more{number}", "checkpoint", run="run")
        drawing.add(f"report{number}", "report", checkpoint=f"more{number}", token_set="tokens")
    layout = lay_out(drawing.ask("run"))
    require_readable(layout)
    boxes = boxes_of(layout)
    (folded,) = (box for box in layout.boxes if box.num_folded)
    assert (folded.kind, folded.num_folded, folded.num_behind) == ("checkpoint", 15, 15)
    assert {"model", "release", "more0", "more1", "report0", "report1"} <= set(boxes)  # what led on is rather shown
    assert "more2" not in boxes
    assert "report2" not in boxes
    picture = render_svg(drawing.ask("run"))
    assert "… 15 more checkpoints" in picture
    assert "and 15 records behind them" in picture


def test_what_was_asked_for_is_never_folded_and_neither_is_its_way(drawing) -> None:
    for number in range(17):
        drawing.add(f"more{number}", "checkpoint", run="run")
        drawing.add(f"report{number}", "report", checkpoint=f"more{number}")
    # Of the lineage of one report, siblings would not be a part; here they are, to be in the way.
    boxes = boxes_of(lay_out(drawing.ask("report16")))
    assert {"report16", "more16", "run", "text"} <= set(boxes)


def test_many_ancestors_are_folded_too(drawing) -> None:
    drawing.add("decision", "decision", checkpoint="model")
    for number in range(30):
        drawing.add(f"asked{number}", "evaluation", checkpoint="model")
        drawing.edges.append(Edge("decision", f"evaluation {number}", f"asked{number}"))
    layout = lay_out(drawing.ask("decision"))
    require_readable(layout)
    assert [(box.kind, box.num_folded) for box in layout.boxes if box.num_folded] == [("evaluation", 27)]
    assert "model" in boxes_of(layout)


def test_hundreds_of_records_fit_on_a_picture(drawing) -> None:
    for run in range(40):
        drawing.add(f"run-{run}", "run", plan="plan")
        for step in range(6):
            drawing.add(f"model-{run}-{step}", "checkpoint", run=f"run-{run}")
        drawing.add(f"outcome-{run}", "outcome", run=f"run-{run}", checkpoint=f"model-{run}-5")
    layout = lay_out(drawing.ask("text"))
    require_readable(layout)
    assert len(drawing.nodes) > 300
    assert len(layout.boxes) < 40
    shown = len([box for box in layout.boxes if not box.num_folded])
    assert shown + sum(box.num_folded + box.num_behind for box in layout.boxes) == len(drawing.nodes)


def test_what_was_only_held_against_is_drawn_as_such(drawing) -> None:
    drawing.add("model2", "checkpoint", run="run2")
    drawing.add("release2", "release", checkpoint="model2", previous="release")
    layout = lay_out(drawing.ask("text"))
    require_readable(layout)
    assert {wire.is_compared for wire in layout.wires if wire.title == "previous"} == {True}
    assert {wire.is_compared for wire in layout.wires if wire.title == "checkpoint"} == {False}
    assert "held against, not made from" in render_svg(drawing.ask("text"))


def test_a_record_that_is_not_here_stands_before_what_names_it(drawing) -> None:
    drawing.nodes["pieces"] = Node("pieces", MISSING, "not in this ledger")
    drawing.edges = [edge for edge in drawing.edges if edge.child != "pieces"]
    boxes = boxes_of(lay_out(drawing.ask("plan")))
    assert boxes["pieces"].x < boxes["tokens"].x
    assert "named, but not in this ledger" in render_svg(drawing.ask("plan"))


@pytest.mark.parametrize("asked", ["text", "plan", "run2"])
def test_the_picture_is_the_same_every_time(drawing, asked) -> None:
    assert render_svg(drawing.ask(asked)) == render_svg(drawing.ask(asked))


def test_the_picture_is_one_document_that_marks_what_was_asked_for(drawing) -> None:
    root = ET.fromstring(render_svg(drawing.ask("model")))
    assert root.tag == f"{SVG}svg"
    assert {element.tag for element in root.iter()} <= {
        f"{SVG}{tag}" for tag in ("svg", "g", "rect", "path", "text", "tspan", "title", "style")
    }
    (asked,) = (element for element in root.iter() if element.get("class") == "node asked")
    assert [text for text in asked.itertext() if text.strip()][1:] == ["checkpoint", "model", "step 10"]
    assert "prefers-color-scheme: dark" in render_svg(drawing.ask("model"))


ATTACK = '</title></svg><script>alert("x")</script>\0\x1b\ud800 & \'{style}'


def test_a_label_is_text_and_nothing_else(drawing) -> None:
    drawing.add("evil", "run", ATTACK, plan="plan")
    for rendered in (render_svg(drawing.ask("evil")), render_html(drawing.ask("evil"))):
        assert "<script" not in rendered
        assert "&lt;script&gt;" in rendered
        rendered.encode("utf-8")
        assert "\0" not in rendered
    ET.fromstring(render_svg(drawing.ask("evil")))


def test_the_page_makes_no_request_and_lists_what_is_folded(drawing) -> None:
    for number in range(17):
        drawing.add(f"more{number}", "checkpoint", run="run")
    page = render_html(drawing.ask("run"))
    assert not re.findall(r"""(?:src|href)=|url\(|@import""", page)
    for number in range(17):
        assert f"<td>more{number}</td>" in page
    assert "Lineage of run run" in page


def test_labels_fit_into_their_boxes(drawing) -> None:
    drawing.add("wide", "run", "文" * 200, plan="plan")
    drawing.add("long", "run", "m" * 200, plan="plan")
    shown = re.findall(r'y="37">([^<]*)</text>', render_svg(drawing.ask("plan")))
    assert {"文" * 13 + "…", "m" * 28 + "…"} <= set(shown)
