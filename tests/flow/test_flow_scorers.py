"""Scorers trained on a person's labels, through the command line."""

import csv

import pytest

pytest.importorskip("sklearn", reason="the extra scorers is not installed")

RUDE, KIND = ("stupid fool", "shut up", "what trash"), ("thank you", "how nice", "well done")


@pytest.fixture
def labelled(tmp_path):
    path = tmp_path / "rude.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["said", "rude", "author"])
        for place in range(24):
            words = (RUDE if place % 2 else KIND)[place % 3]
            writer.writerow([f"{words}, number {place}", int(place % 2 == (place != 5)), f"author {place // 2}"])
    return path


def fit(command, labelled, *more, **options):
    columns = ("--text=said", "--label=rude", "--group=author")
    return command("scorers", "fit", "rude", labelled, *columns, *more, "--json", **options)


@pytest.mark.slow  # many processes, one after the other
def test_scorer_is_fitted_listed_shown_and_traced_to_its_labels(command, labelled):
    document = fit(command, labelled).document
    assert (document["name"], document["num_rows"], document["num_groups"]) == ("rude", 24, 12)
    for estimate in (document["kappa"], document["precision"]["1"], document["recall"]["1"]):
        assert estimate["low"] < estimate["value"] <= estimate["high"]
    assert fit(command, labelled).document["scorer_id"] == document["scorer_id"]
    assert [item["scorer_id"] for item in command("scorers", "list", "--json").document["items"]] == [
        document["scorer_id"]
    ]
    for name in ("rude", document["scorer_id"], document["scorer_id"][:12]):
        assert command("scorers", "show", name, "--json").document == document
    shown = command("scorers", "show", "rude").out
    assert "kappa" in shown
    assert document["labelled"][:12] in shown
    assert command("lineage", "rude@scorer", "--check", "--json").document["nodes"][0]["kind"] == "scorer"
    assert "every byte" in command("store", "check").out


@pytest.mark.slow  # many processes, one after the other
def test_damaged_scorer_is_not_used(command, labelled):
    digest = fit(command, labelled).document["model"]
    path = command.workspace / "objects" / digest[:2] / digest[2:]
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b'"intercepts":[', b'"intercepts":[1'))
    assert command("scorers", "show", "rude", "--json", expect=2).error["name"] == "object-damaged"
    fit(command, labelled)
    command("scorers", "show", "rude")


@pytest.mark.parametrize(
    ("arguments", "name", "code"),
    [
        (("fit", "rude", "none.csv"), "source-not-found", 2),
        (("fit", "rude", "rude.csv"), "invalid-value", 64),
        (("fit", "rude", "rude.csv", "--text=said", "--label=said"), "invalid-value", 64),
        (("fit", "r@de", "rude.csv", "--text=said", "--label=rude"), "invalid-value", 64),
        (("show", "nobody"), "unknown-ref", 64),
        (("calibrate", "none.yaml", "none.csv", "--judge-model=m"), "invalid-value", 64),
    ],
)
def test_what_cannot_be_meant_is_refused(command, labelled, arguments, name, code):
    assert command("scorers", *arguments, "--json", expect=code).error["name"] == name
