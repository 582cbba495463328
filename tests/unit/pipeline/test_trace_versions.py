"""Importing, building, merging, comparing, exporting and forgetting, as the command line does it, in one process."""

import json

import pytest

from trainwright.core.errors import (
    ImmutableRecord,
    InvalidTrace,
    InvalidValue,
    NothingSelected,
    NotTrainable,
    ObjectDamaged,
    OutputExists,
    TraceForgotten,
    UnknownRef,
)
from trainwright.core.hashing import digest_bytes
from trainwright.core.records import Checkpoint, Forgotten, Run, Shard, TokenSet, TokenSplit
from trainwright.core.traces import parse_trace
from trainwright.data.selection import Selection, parse_filter
from trainwright.data.trace_dataset import iter_ids, iter_traces
from trainwright.data.trace_export import FORMATS
from trainwright.pipeline import datasets, forget
from trainwright.pipeline.lineage import check_everything, find_lineage, summarise_use
from trainwright.pipeline.soundness import check_workspace
from trainwright.pipeline.traces import import_traces, list_traces, measure_traces
from trainwright.store.lineage import check_lineage
from trainwright.store.reindex import reindex
from trainwright.store.traces import import_batch
from trainwright.store.workspace import open_workspace

A = "a" * 64


class Screen:
    def show_progress(self, what, done, total):
        pass


def document(number, **changes):
    return {
        "trace_version": "1.0",
        "prompt": f'What is {number} + 1? ☃, "quoted"\nand a line',
        "final_answer": str(number + 1),
        "steps": [{"i": 0, "type": "sum", "content": f"{number} + 1 = {number + 1}"}],
        "meta": {"number": number, "kind": "even" if number % 2 == 0 else "odd"},
    } | changes


@pytest.fixture
def workspace(tmp_path):
    with open_workspace(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture
def filled(workspace):
    import_batch(workspace.traces, [parse_trace(document(number)) for number in range(40)])
    return workspace


def build(workspace, key="dev@v1", share=0.25, **settings):
    return datasets.build_version(key, Selection(**settings), workspace, share=share, screen=Screen())


def load(workspace, *files, **settings):
    bad = []
    result = import_traces(
        [str(file) for file in files],
        workspace.traces,
        on_progress=lambda *_: None,
        on_bad=lambda one: bad.append(str(one)),
        **settings,
    )
    return result, bad


def write_lines(path, documents):
    path.write_text("".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in documents))
    return path


# ── importing ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_import_counts_what_is_new_known_and_repeated(workspace, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [document(1), document(2), document(1)])
    result, _ = load(workspace, path)
    assert dict(result.states) == {"new": 2, "repeated": 1}
    again, _ = load(workspace, path)
    assert dict(again.states) == {"known": 3}
    assert result.adapters == {str(path): "trace"}


def test_one_bad_line_is_enough_for_nothing_and_all_bad_ones_are_told(workspace, tmp_path):
    lines = [document(1), "not json", document(2), document(3, prompt=""), document(4)]
    path = write_lines(tmp_path / "a.jsonl", lines)
    with pytest.raises(InvalidTrace, match="2 of 5 records cannot be imported; nothing was imported") as caught:
        load(workspace, path)
    assert f"{path}:2: This is not a JSON record" in caught.value.why
    assert f"{path}:4: This is not a trace: prompt has 0 characters" in caught.value.why
    assert workspace.traces.count().num_traces == 0


def test_bad_lines_can_be_skipped_and_are_counted(workspace, tmp_path):
    lines = [document(1), "not json", document(2), document(3, steps=document(3)["steps"] * 2)]
    path = write_lines(tmp_path / "a.jsonl", lines)
    result, bad = load(workspace, path, on_error="skip")
    assert dict(result.states) == {"new": 2}
    assert [(one.number, one.name) for one in result.bad] == [(2, "invalid-trace"), (4, "invalid-trace")]
    assert "step number 0 stands there more than once" in bad[1]
    assert result.num_bad == 2


def test_a_meta_of_null_is_no_meta(workspace, tmp_path):
    result, _ = load(workspace, write_lines(tmp_path / "a.jsonl", [document(1, meta=None)]))
    assert result.states["new"] == 1
    assert measure_traces(workspace.traces)["meta"] == {}
    with pytest.raises(NothingSelected):
        build(workspace, filters=(parse_filter("meta.kind=odd"),))


def test_a_file_of_many_batches_keeps_its_order(workspace, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [document(number) for number in range(1203)])
    load(workspace, path)
    found, following = list_traces(workspace.traces, 2)
    assert [one.trace.meta["number"] for one in found] == [1202, 1201]
    found, _ = list_traces(workspace.traces, 1, following)
    assert found[0].trace.meta["number"] == 1200


def test_an_adapter_that_is_named_is_taken(workspace, tmp_path):
    path = write_lines(tmp_path / "a.jsonl", [{"question": "q", "answer": "#### 1"}])
    with pytest.raises(InvalidTrace, match="1 of 1"):
        load(workspace, path, adapter="alpaca")
    with pytest.raises(InvalidValue):
        load(workspace, path, adapter="nothing")


# ── building ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_version_holds_its_traces_in_manifest_order(filled):
    dataset = build(filled, strategy="random", seed=3, limit=20).dataset
    pairs = list(iter_ids(dataset, filled.objects))
    assert [trace.id for trace in iter_traces(dataset, None, filled.objects)] == [trace_id for trace_id, _ in pairs]
    assert [split for _, split in pairs] == ["train"] * 15 + ["validation"] * 5
    held_out = [trace.id for trace in iter_traces(dataset, "validation", filled.objects)]
    assert held_out == [trace_id for trace_id, split in pairs if split == "validation"]
    assert filled.ledger.resolve("dev@v1") == dataset.id
    assert dataset.statistics["num_traces"] == 20
    assert dataset.statistics["selection"]["num_seen"] == 40
    with pytest.raises(InvalidValue, match="no split 'test'"):
        iter_traces(dataset, "test", filled.objects)


def test_the_same_traces_and_recipe_give_the_same_version_elsewhere(filled, tmp_path):
    first = build(filled, strategy="random", limit=20).dataset
    with open_workspace(tmp_path / "elsewhere") as other:
        import_batch(other.traces, [parse_trace(document(number)) for number in reversed(range(40))])
        assert build(other, strategy="random", limit=20).dataset.id == first.id


def test_the_same_content_is_the_same_version_and_other_content_is_refused(filled):
    first = build(filled, strategy="random", limit=20)
    again = build(filled, strategy="random", limit=20)
    assert (first.is_new, again.is_new) == (True, False)
    assert again.dataset == first.dataset
    before = set(filled.objects.iterate()), filled.ledger.find(), filled.ledger.refs()
    with pytest.raises(ImmutableRecord, match=r"dev@v1 exists with other content") as caught:
        build(filled, strategy="random", limit=21)
    assert "dev@v2" in caught.value.next_step
    assert before == (set(filled.objects.iterate()), filled.ledger.find(), filled.ledger.refs())


def test_a_filter_that_matches_nothing_builds_nothing(filled):
    with pytest.raises(NothingSelected, match="nothing was built"):
        build(filled, filters=(parse_filter("meta.kind=none"),))
    assert filled.ledger.find() == []
    assert list(filled.objects.iterate()) == []


@pytest.mark.parametrize("key", ["dev", "dev@", "@v1", "dev@latest", "a b@v1", "dev@v1@v2", "dev@../x"])
def test_a_version_needs_a_name_that_stays(filled, key):
    with pytest.raises(InvalidValue, match="cannot be the name of a dataset version"):
        build(filled, key)


def test_the_next_version_that_is_free_is_suggested(filled):
    build(filled, "dev@v1", limit=2)
    build(filled, "dev@v2", limit=3)
    assert datasets.suggest_key("dev@v1", filled) == "dev@v3"
    assert datasets.suggest_key("dev@final", filled) == "dev@final-2"
    assert datasets.suggest_key("dev@1.9", filled) == "dev@1.10"


def test_nothing_is_held_out_where_nothing_was_asked_for(filled):
    assert list(build(filled, share=0).dataset.splits) == ["train"]


def test_versions_are_listed_page_by_page(filled):
    made = [build(filled, f"dev@v{number}", limit=number).dataset for number in (1, 2, 3)]
    first, following = datasets.list_versions(filled, 2)
    second, end = datasets.list_versions(filled, 2, following)
    assert [*first, *second] == made[::-1]
    assert end is None


# ── merging and comparing ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_merge_has_each_trace_once_and_holds_out_what_any_held_out(filled):
    first = build(filled, "a@v1", strategy="random", seed=1, limit=30).dataset
    second = build(filled, "b@v1", strategy="random", seed=2, limit=30).dataset
    merged = datasets.merge_versions("both@v1", ["a@v1", "b@v1"], filled, screen=Screen()).dataset
    splits = {key: dict(iter_ids(one, filled.objects)) for key, one in (("a", first), ("b", second), ("m", merged))}
    assert set(splits["m"]) == set(splits["a"]) | set(splits["b"])
    for trace_id, split in splits["m"].items():
        was = {splits["a"].get(trace_id), splits["b"].get(trace_id)}
        assert split == ("validation" if "validation" in was else "train")
    assert merged.parents() == {"dataset 1": first.id, "dataset 2": second.id}
    assert merged.statistics["selection"]["num_duplicates"] == 60 - len(splits["m"])
    with pytest.raises(InvalidValue, match="at least two"):
        datasets.merge_versions("one@v1", ["a@v1"], filled, screen=Screen())


def test_a_comparison_names_what_came_went_and_moved(filled):
    first = build(filled, "a@v1", limit=10, share=0).dataset
    second = build(filled, "b@v1", limit=12, share=0.5).dataset
    found = datasets.diff_versions(first, second, filled)
    assert (found["num_common"], found["num_added"], found["num_removed"]) == (10, 2, 0)
    assert found["num_moved"] == len(found["moved"]) > 0
    assert found["recipe"]["limit"] == {"from": 10, "to": 12}
    back = datasets.diff_versions(second, first, filled)
    assert back["removed"] == found["added"]


def test_a_card_says_what_the_record_says(filled):
    dataset = build(filled, strategy="stratified", by="meta.kind", limit=10).dataset
    card = datasets.render_version_card(dataset, filled)
    assert card.startswith("# dev@v1\n")
    assert dataset.id in card
    assert "| kind | even: 5, odd: 5 |" in card
    assert "not counted: no tokenizer was given" in card


# ── checking and exporting ────────────────────────────────────────────────────────────────────────────────────────────
def test_verifying_reads_every_byte(filled):
    dataset = build(filled).dataset
    assert datasets.verify_version(dataset, filled)["num_records"] == 40
    digest = dataset.splits["train"].documents
    path = filled.objects.open_local(digest)
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"What", b"That", 1))
    with pytest.raises(ObjectDamaged):
        datasets.verify_version(dataset, filled)


def test_a_manifest_that_does_not_fit_its_documents_is_found(filled):
    dataset = build(filled, share=0).dataset
    lines = filled.objects.get(dataset.records).splitlines(keepends=True)
    forged = dataset.model_copy(update={"records": filled.objects.put(b"".join(lines[::-1]))})
    with pytest.raises(ObjectDamaged, match="line 1 of dev@v1"):
        datasets.verify_version(forged, filled)


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_version_gives_the_same_bytes(filled, tmp_path, form):
    dataset = build(filled, strategy="random").dataset
    paths = [tmp_path / f"{number}.out" for number in range(2)]
    digests = {datasets.export_version(dataset, form, path, filled)["digest"] for path in paths}
    assert digests == {digest_bytes(paths[0].read_bytes())} == {digest_bytes(paths[1].read_bytes())}


def test_an_export_of_traces_is_the_documents_and_imports_again(filled, tmp_path):
    dataset = build(filled).dataset
    for form, name in (("trace", "a.jsonl"), ("parquet", "a.parquet")):
        datasets.export_version(dataset, form, tmp_path / name, filled)
        with open_workspace(tmp_path / form) as other:
            result, _ = load(other, tmp_path / name)
            assert result.states["new"] == 40
            assert {one.id for one in other.traces.iter_all()} == {one for one, _ in iter_ids(dataset, filled.objects)}
    held_out = datasets.export_version(dataset, "trace", tmp_path / "b.jsonl", filled, split="validation")
    assert held_out["digest"] == dataset.splits["validation"].documents
    assert held_out["num_records"] == 10


def test_csv_keeps_quotes_and_line_ends(filled, tmp_path):
    import csv

    dataset = build(filled, limit=2, share=0).dataset
    datasets.export_version(dataset, "csv", tmp_path / "a.csv", filled)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["prompt"] for row in rows] == [document(39)["prompt"], document(38)["prompt"]]
    assert json.loads(rows[0]["steps"]) == document(39)["steps"]
    assert rows[0]["messages"] == ""


def test_an_export_replaces_nothing_unasked(filled, tmp_path):
    dataset = build(filled).dataset
    (tmp_path / "a").write_text("mine")
    with pytest.raises(OutputExists):
        datasets.export_version(dataset, "trace", tmp_path / "a", filled)
    assert (tmp_path / "a").read_text() == "mine"
    datasets.export_version(dataset, "trace", tmp_path / "a", filled, overwrite=True)


def test_what_has_no_form_stops_the_export_by_id_and_leaves_no_file(filled, tmp_path):
    asked = parse_trace({"messages": [{"role": "user", "content": "hi"}]})
    import_batch(filled.traces, [asked])
    dataset = build(filled).dataset
    with pytest.raises(NotTrainable, match=asked.id[:12]):
        datasets.export_version(dataset, "tunix_sft", tmp_path / "a", filled)
    assert [path.name for path in tmp_path.iterdir()] == ["workspace"]
    assert datasets.export_version(dataset, "messages", tmp_path / "b", filled)["num_records"] == 41


# ── forgetting ────────────────────────────────────────────────────────────────────────────────────────────────────────
def use_for_training(workspace, dataset):
    """The records of a run that was trained on a version, with the token shards of both splits."""
    splits = {
        split: TokenSplit(
            shards=(Shard(digest=workspace.objects.put(f"tokens of {split}".encode()), num_tokens=1),),
            boundaries=workspace.objects.put(b"boundaries"),
            num_tokens=1,
            num_documents=1,
            num_bytes=1,
        )
        for split in dataset.splits
    }
    token_set = TokenSet(
        dataset=dataset.id, tokenizer=A, tokenizer_fingerprint=A, vocab_size=300, dtype="uint16", splits=splits
    )
    # A run names a plan; here the token set stands in for it, since only what names what matters.
    run = Run(plan=token_set.id, name="sft", started_at="2025-01-31T12:00:00+00:00", nonce="n", environment=A)
    checkpoint = Checkpoint(run=run.id, step=5, num_tokens=1, weights=A, files={})
    for record in (token_set, run, checkpoint):
        workspace.ledger.put(record)
    return token_set, run, checkpoint


def test_forgetting_lists_what_used_the_trace_and_erases_its_content(filled):
    dataset = build(filled).dataset
    other = build(filled, "other@v1", filters=(parse_filter("meta.number=0..3"),), share=0).dataset
    token_set, run, checkpoint = use_for_training(filled, dataset)
    trace_id = next(
        one
        for one, split in iter_ids(dataset, filled.objects)
        if split == "train" and one not in dict(iter_ids(other, filled.objects))
    )
    prompt = filled.traces.get(trace_id).trace.prompt.splitlines()[0].encode()

    result = forget.forget_trace(trace_id[:16], filled, who="someone", why="she asked for it")

    assert result.datasets == (dataset,)
    assert {one.id for one in result.affected} == {token_set.id, run.id, checkpoint.id}
    assert result.rebuild == ("trainwright data build dev@v2 --from dev@v1",)
    assert set(result.receipt.erased) == {dataset.splits["train"].documents, token_set.splits["train"].shards[0].digest}
    assert filled.ledger.get(result.receipt.id) == result.receipt
    files = [path for path in filled.root.rglob("*") if path.is_file()]
    assert not [path for path in files if prompt in path.read_bytes()]
    assert filled.objects.has(dataset.splits["validation"].documents)
    for read in (
        lambda: datasets.export_version(dataset, "trace", filled.root / "x", filled),
        lambda: datasets.verify_version(dataset, filled),
        lambda: datasets.merge_versions("m@v1", ["dev@v1", "other@v1"], filled, screen=Screen()),
        lambda: datasets.require_usable(dataset, filled),
    ):
        with pytest.raises(TraceForgotten, match="dev@v1 can no longer be used") as caught:
            read()
        assert "data build dev@v2 --from dev@v1" in caught.value.next_step
    with pytest.raises(TraceForgotten):
        list(iter_traces(dataset, "train", filled.objects))
    datasets.require_usable(other, filled)
    found = check_lineage(filled.ledger, filled.objects, filled.runs, dataset.id)
    assert [one.problem for one in found] == ["forgotten"]
    problems = check_workspace(filled).findings
    assert not [one for one in problems if one.name in ("documents of train", "shard 1 of train", "records")]


def test_a_rebuilt_version_differs_in_that_trace_alone(filled):
    dataset = build(filled, strategy="random", limit=30).dataset
    trace_id = next(one for one, split in iter_ids(dataset, filled.objects) if split == "train")
    forget.forget_trace(trace_id, filled, who="someone", why="x")
    rebuilt = datasets.rebuild_version("dev@v2", "dev@v1", filled, screen=Screen()).dataset
    found = datasets.diff_versions(dataset, rebuilt, filled)
    assert (found["removed"], found["num_added"], found["num_moved"]) == ([trace_id], 0, 0)
    assert found["same_order"]
    assert rebuilt.splits["validation"] == dataset.splits["validation"]
    assert rebuilt.parents() == {"dataset 1": dataset.id}
    assert datasets.verify_version(rebuilt, filled)["num_records"] == 29
    assert [one["usable"] for one in (datasets.summarise_version(d, filled) for d in (dataset, rebuilt))] == [
        False,
        True,
    ]
    assert "**Withdrawn:**" in datasets.render_version_card(dataset, filled)


def test_nothing_is_left_of_a_version_of_one(filled):
    dataset = build(filled, limit=1).dataset
    ((trace_id, _),) = iter_ids(dataset, filled.objects)
    forget.forget_trace(trace_id, filled, who="someone", why="x")
    with pytest.raises(NothingSelected, match="Nothing is left"):
        datasets.rebuild_version("dev@v2", "dev@v1", filled, screen=Screen())


def test_forgetting_again_gives_the_same_receipt(filled):
    dataset = build(filled).dataset
    trace_id = next(iter_ids(dataset, filled.objects))[0]
    first = forget.forget_trace(trace_id, filled, who="someone", why="once")
    assert forget.forget_trace(trace_id, filled, who="another", why="twice") == first
    assert len(filled.ledger.find("receipt")) == 1


def test_a_trace_that_no_version_holds_is_simply_forgotten(filled):
    trace_id = filled.traces.find(1)[0].id
    result = forget.forget_trace(trace_id, filled, who="someone", why="x")
    assert (result.datasets, result.affected, result.receipt.erased) == ((), (), ())
    assert isinstance(filled.ledger.get(result.receipt.id), Forgotten)


@pytest.mark.parametrize("stop_at", ["erase", "put"])
def test_forgetting_that_was_cut_short_holds_already_and_is_finished_by_a_second_call(filled, monkeypatch, stop_at):
    dataset = build(filled).dataset
    trace_id = next(iter_ids(dataset, filled.objects))[0]
    target = filled.objects if stop_at == "erase" else filled.ledger
    with monkeypatch.context() as patched:
        patched.setattr(target, stop_at, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            forget.forget_trace(trace_id, filled, who="someone", why="x")
    with pytest.raises(TraceForgotten):
        datasets.require_usable(dataset, filled)
    with pytest.raises(TraceForgotten):
        datasets.export_version(dataset, "trace", filled.root / "x", filled)
    result = forget.forget_trace(trace_id, filled, who="someone", why="x")
    assert not filled.objects.has(dataset.splits["train"].documents)
    assert filled.ledger.find("receipt")[0].record == result.receipt


def test_bytes_that_a_killed_erasing_left_are_found(filled):
    dataset = build(filled).dataset
    digest = dataset.splits["train"].documents
    reason = filled.objects.root / "erased" / digest
    reason.parent.mkdir()
    reason.write_text("A trace in it was forgotten.")
    (found,) = check_workspace(filled).findings
    assert found.name == "documents of train"
    assert "data forget` again" in found.why


@pytest.mark.parametrize("moment", ["before the record", "before the objects", "after the objects"])
def test_a_trace_that_is_forgotten_while_a_version_is_built_is_noticed(filled, monkeypatch, moment):
    victim = filled.traces.get(filled.traces.find(1)[0].id)

    def forget_first(target, name, at_call):
        calls = []
        genuine = getattr(target, name)

        def wrapped(*arguments, **settings):
            calls.append(arguments)
            if len(calls) == at_call:
                monkeypatch.setattr(target, name, genuine)
                forget.forget_trace(victim.id, filled, who="someone", why="meanwhile")
            return genuine(*arguments, **settings)

        monkeypatch.setattr(target, name, wrapped)

    if moment == "before the record":
        forget_first(filled.ledger, "put", 1)
    elif moment == "before the objects":
        forget_first(filled.objects, "put_file", 1)
    else:
        forget_first(filled.objects, "put_file", 3)
    with pytest.raises(TraceForgotten):
        build(filled)
    assert filled.ledger.read_ref("dev@v1") is None
    assert datasets.list_versions(filled, 10) == ([], None)
    stored = [path for path in filled.root.rglob("*") if path.is_file()]
    assert not [path for path in stored if victim.canonical in path.read_bytes()]
    assert build(filled).is_new


def test_forgotten_traces_are_not_imported_again(filled, tmp_path):
    trace_id = filled.traces.find(1)[0].id
    forget.forget_trace(trace_id, filled, who="someone", why="x")
    path = write_lines(tmp_path / "a.jsonl", [document(39), document(99)])
    with pytest.raises(InvalidTrace, match="1 of 2 records"):
        load(filled, path)
    result, bad = load(filled, path, on_error="skip")
    assert (result.states["new"], result.bad[0].name) == (1, "trace-forgotten")
    assert f"{path}:1: The trace {trace_id[:12]} was forgotten" in bad[0]


# ── from a trace to every model ───────────────────────────────────────────────────────────────────────────────────────
def ask(workspace, text):
    return find_lineage(text, workspace)


def test_a_trace_is_followed_to_every_model_that_it_came_into(filled):
    dataset = build(filled).dataset
    other = build(filled, "other@v1", filters=(parse_filter("meta.number=0..3"),), share=0).dataset
    token_set, run, checkpoint = use_for_training(filled, dataset)
    inside = set(dict(iter_ids(other, filled.objects)))
    in_both = sorted(inside)[0]
    in_one = next(one for one, _ in iter_ids(dataset, filled.objects) if one not in inside)
    found = ask(filled, in_one[:16])
    assert found.record_id == in_one
    assert set(found.nodes) == {in_one, dataset.id, token_set.id, run.id, checkpoint.id}
    assert summarise_use(found) == "it is in, or came into: 1 dataset, 1 run, 1 checkpoint, 0 releases"
    assert found.nodes[in_one].label == "trace, in 1 dataset version"
    assert set(ask(filled, in_both).nodes) == set(found.nodes) - {in_one} | {in_both, other.id}
    assert summarise_use(ask(filled, dataset.id)) is None
    assert check_everything(found, filled) == []


def test_a_version_without_the_trace_is_not_among_those_that_hold_it(filled):
    dataset = build(filled).dataset
    kept, gone = [one for one, _ in iter_ids(dataset, filled.objects)][:2]
    forget.forget_trace(gone, filled, who="someone", why="x")
    rebuilt = datasets.rebuild_version("dev@v2", "dev@v1", filled, screen=Screen()).dataset
    found = ask(filled, gone)
    assert rebuilt.id not in found.nodes
    assert [node.kind for node in found.nodes.values()] == ["trace", "dataset", "receipt"]
    assert found.nodes[gone].label == "forgotten, was in 1 dataset version"
    assert {one.problem for one in check_everything(found, filled)} == {"forgotten"}
    assert {node.kind for node in ask(filled, kept).nodes.values()} == {"trace", "dataset"}
    assert {dataset.id, rebuilt.id} <= set(ask(filled, kept).nodes)


def test_versions_that_the_index_has_not_heard_of_are_taken_in(filled):
    dataset = build(filled).dataset
    trace_id = next(iter_ids(dataset, filled.objects))[0]
    filled.close()
    (filled.root / "members.sqlite").unlink()
    with open_workspace(filled.root) as again:
        assert dataset.id in ask(again, trace_id).nodes


def test_a_trace_that_no_version_holds_has_come_into_nothing(filled):
    build(filled, limit=3)
    outside = filled.traces.find(40)[-1].id
    found = ask(filled, outside)
    assert [node.label for node in found.nodes.values()] == ["trace, in 0 dataset versions"]
    for unknown in ("0" * 64, "0" * 65, "not an id", "dev@v7"):
        with pytest.raises(UnknownRef):
            ask(filled, unknown)


def test_the_index_of_traces_is_made_again_and_names_what_is_damaged(filled):
    first = build(filled).dataset
    second = build(filled, "other@v1", limit=7).dataset
    trace_id = next(iter_ids(second, filled.objects))[0]
    filled.close()
    (filled.root / "members.sqlite").write_bytes(b"damaged" * 1000)
    assert reindex(filled.root).num_members == 47
    with open_workspace(filled.root) as again:
        assert again.members.find(trace_id) == [first.id, second.id]
    path = filled.root / "objects" / second.records[:2] / second.records[2:]
    path.chmod(0o644)
    path.write_bytes(b"x")
    done = reindex(filled.root)
    assert done.num_members == 40
    assert [(one.file, one.recovered) for one in done.unreadable] == [
        (f"objects/{second.records[:2]}/{second.records[2:]}", False)
    ]
