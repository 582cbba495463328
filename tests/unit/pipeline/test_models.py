"""Models by name, and the card: what is on record, and "not recorded" where nothing is."""

import pytest

from trainwright.core.errors import InvalidValue, OutputExists, UnknownRef
from trainwright.core.records import Override
from trainwright.pipeline.models import build_model_card, gather_facts, list_models, show_model, write_card
from trainwright.release.document import render_html, render_markdown
from trainwright.release.limits import list_limits


def test_every_place_of_a_model_is_a_row(signed):
    released, _ = signed
    ledger = released.workspace.ledger
    ledger.move_ref("ours@latest", released.checkpoint.id, expected=None, who="trainwright run", why="completed")
    ledger.move_ref("texts@v1", ledger.find("dataset")[0].record.id, expected=None, who="someone", why="")
    rows = list_models(released.workspace)
    assert [(row["name"], row["stage"], row["outcome"], row["signed"]) for row in rows] == [
        ("ours", "latest", "not released", None),
        ("ours", "staging", "pass", True),
    ]
    assert rows[1]["release"] == released.release.id
    assert rows[1]["who"] == "someone"


def test_unsigned_and_overridden_releases_are_seen(released):
    override = Override(who="someone", why="a demonstration")
    release = released.release.model_copy(update={"decision": None, "override": override, "stage": "production"})
    released.workspace.ledger.put(release)
    released.workspace.ledger.move_ref("ours@production", release.id, expected=None, who="someone", why="")
    rows = {row["stage"]: row for row in list_models(released.workspace)}
    assert rows["production"]["outcome"] == "override"
    assert rows["production"]["signed"] is rows["staging"]["signed"] is False


def test_a_model_is_shown_with_gates_signer_and_moves(signed):
    released, attestation = signed
    document = show_model("ours", released.workspace)
    (place,) = document["places"]
    assert place["weights"] == released.release.weights
    assert place["decision"]["decision_id"] == released.decision.id
    assert place["attestation"]["attestation_id"] == attestation.id
    assert [(move["ref"], move["number"], move["to"]) for move in document["history"]] == [
        ("ours@staging", 1, released.release.id)
    ]
    assert show_model("ours@staging", released.workspace) == document
    with pytest.raises(UnknownRef, match="theirs"):
        show_model("theirs", released.workspace)
    with pytest.raises(UnknownRef):
        show_model("ours@production", released.workspace)


# ── cards ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_card_says_what_is_on_record(signed):
    released, _ = signed
    card = render_markdown(build_model_card("ours@staging", released.workspace))
    headings = [line.removeprefix("## ") for line in card.splitlines() if line.startswith("## ")]
    assert headings == [
        *("Model", "Intended use", "Training data", "Training", "Held-out text", "Evaluation", "Gates", "Limits"),
        *("Trust", "Lineage"),
    ]
    for line in (
        f"| weights (SHA-256) | {released.release.weights} |",
        "| hello.txt | 5 |",
        "| bits per byte | 1.5 bits/byte |",
        "| model file | 20 MB | 10 MB | not met |",
        "answer_correct of sums at least 0.1",
        "- Budget not met: model file is 20 MB, the limit 10 MB.",
        "- Not measured: latency. it was not asked for",
        "- Not measured on sums: repetition. no output has 4 words",
        "| signed | by someone (",
        "| computed again | never |",
        "| time spent | 1:00:00 |",
    ):
        assert line in card, line
    (row,) = [line for line in card.splitlines() if line.startswith("| sums (") and "answer correct" in line]
    assert "| 0.75 |" in row
    assert " to " in row


def test_what_nobody_recorded_says_so(released):
    card = render_markdown(build_model_card(released.release.id, released.workspace))
    assert "| licence | not recorded |" in card
    assert "| uses and users | not recorded |" in card
    assert "| GPU | not recorded |" in card
    assert "| code | not recorded |" in card
    assert "| signed | unsigned: nobody attested this release |" in card


def test_card_of_a_model_that_stands_nowhere_says_that_no_gate_was_passed(released):
    card = render_markdown(build_model_card(released.checkpoint.id, released.workspace))
    assert "not released" in card
    assert "It is not released: no gate was passed for it." in card
    assert "No decision is on record." in card


def test_equal_records_give_an_equal_card(signed):
    released, _ = signed
    cards = {render_html(build_model_card("ours@staging", released.workspace)) for _ in range(2)}
    assert len(cards) == 1


def test_a_card_cannot_be_broken_by_what_records_hold(released):
    facts = gather_facts("ours@staging", released.workspace)
    why = "<script>alert(1)</script> | a | b\n## heading"
    decision = facts.decision.model_copy(update={"who": why})
    from dataclasses import replace

    from trainwright.release.model_card import build_card

    card = build_card(replace(facts, decision=decision, signer=why))
    assert "<script>" not in render_html(card)
    assert "<script>" not in render_markdown(card)
    assert "\n## heading" not in render_markdown(card)


def test_page_asks_for_nothing(released):
    page = render_html(build_model_card("ours@staging", released.workspace))
    assert "src=" not in page
    assert "href=" not in page
    assert "url(" not in page


def test_card_is_written_by_its_suffix(released, tmp_path):
    card = build_model_card("ours@staging", released.workspace)
    write_card(card, tmp_path / "card.html", overwrite=False)
    assert (tmp_path / "card.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(OutputExists):
        write_card(card, tmp_path / "card.html", overwrite=False)
    with pytest.raises(InvalidValue, match=r"card\.pdf"):
        write_card(card, tmp_path / "card.pdf", overwrite=False)


def test_limits_name_gates_that_did_not_pass_and_overrides(released):
    gate = released.decision.gates[0].model_copy(
        update={"outcome": "inconclusive", "part": "category=sums", "why": "few items"}
    )
    decision = released.decision.model_copy(update={"gates": (gate,), "all_evaluations": ("a" * 64, "b" * 64)})
    override = Override(who="someone", why="a demonstration")
    release = released.release.model_copy(update={"override": override})
    limits = list_limits(release, decision, None, [])
    assert limits == [
        "It passed by override of someone, not by its gates: a demonstration",
        "Gate answer_correct of sums at least 0.1 (category=sums): inconclusive. few items",
        "2 more evaluations of it were made than were judged.",
        "There is no report on held-out text.",
        "No evalset was put to it.",
    ]
