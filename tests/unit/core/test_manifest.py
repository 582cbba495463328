"""The manifest: layers, ranges, and what is said to a person who mistyped."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainwright.cli.manifest_options import parse_duration
from trainwright.core.errors import InvalidValue, ManifestNotFound, ManifestUnreadable, OutOfRange, UnknownKey
from trainwright.core.manifest import (
    Manifest,
    iter_manifest_keys,
    list_override_keys,
    parse_manifest,
    schema_of_keys,
)
from trainwright.core.presets import PRESETS


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "manifest.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


# ── layers ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_anything_it_is_the_balanced_preset():
    manifest = parse_manifest(None)
    assert manifest.preset == "balanced"
    assert manifest.data.corpus == "builtin:stories"
    assert manifest.seed == 1337
    assert (manifest.train.batch_size, manifest.train.max_seq_length) == (32, 128)
    assert (manifest.train.epochs, manifest.train.steps, manifest.train.time_budget_s) == (None, 200, None)


def test_later_layers_win_and_leave_their_neighbours(write):
    file = write("preset: quick\ntrain:\n  batch_size: 8\n  dropout: 0.1\n  optimizer:\n    beta1: 0.8\n")
    manifest = parse_manifest(file, ["train.dropout=0.3"], {"train.batch_size": 16, "train.dropout": 0.2})
    assert manifest.model.hidden_size == PRESETS["quick"]["model"]["hidden_size"]  # preset over default
    assert manifest.train.optimizer.beta1 == 0.8  # file over preset
    assert manifest.train.batch_size == 16  # flag over file
    assert manifest.train.dropout == 0.3  # override over flag
    assert manifest.train.optimizer.beta2 == 0.95  # untouched neighbour


def test_value_of_the_file_beats_the_preset_it_names(write):
    manifest = parse_manifest(write("preset: low-memory\nbudgets: {model_file_mb: 3}\n"))
    assert manifest.budgets.model_file_mb == 3
    assert manifest.budgets.inference_rss_mb == 350


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_manifest_and_stays_as_it_was(preset):
    before = repr(PRESETS)
    first = parse_manifest(None, [f"preset={preset}", "model.hidden_size=48"])
    assert first.model.hidden_size == 48
    assert parse_manifest(None, [f"preset={preset}"]).model.hidden_size != 48
    assert repr(PRESETS) == before


def test_presets_are_the_ones_that_can_be_named():
    assert set(PRESETS) == set(schema_of_keys(Manifest)["preset"]["enum"])


def test_empty_file_is_a_manifest_of_defaults(write):
    assert parse_manifest(write("# nothing yet\n")) == parse_manifest(None)


# ── length ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("key", "value"), [("epochs", 2.0), ("steps", 7), ("time_budget_s", 90.0)])
def test_length_that_is_set_replaces_the_presets(key, value):
    train = parse_manifest(None, ["preset=quick", f"train.{key}={value}"]).train
    assert getattr(train, key) == value
    assert [train.epochs, train.steps, train.time_budget_s].count(None) == 2


def test_length_on_the_command_line_replaces_the_files(write):
    train = parse_manifest(write("train: {epochs: 2, dropout: 0.1}\n"), ["train.steps=5"]).train
    assert (train.epochs, train.steps, train.dropout) == (None, 5, 0.1)


def test_two_lengths_from_one_place_are_refused(write):
    with pytest.raises(InvalidValue, match="train sets epochs and steps"):
        parse_manifest(None, ["train.steps=5", "train.epochs=2"])
    with pytest.raises(InvalidValue, match="train sets steps and time_budget_s"):
        parse_manifest(write("train: {steps: 2, time_budget_s: 9}\n"))


def test_run_without_a_length_is_refused():
    with pytest.raises(InvalidValue, match="train sets no length"):
        parse_manifest(None, ["train.steps=null"])


# ── values ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("text", ["3e-4", "3E-4", "0.0003", "+3.0e-4", "30e-5"])
def test_number_with_an_exponent_is_a_number(text, write):
    assert parse_manifest(None, [f"train.optimizer.learning_rate={text}"]).train.optimizer.learning_rate == 3e-4
    file = write(f"train:\n  optimizer:\n    learning_rate: {text}\n")
    assert parse_manifest(file).train.optimizer.learning_rate == 3e-4


def test_exponent_makes_a_whole_number_too():
    assert parse_manifest(None, ["train.steps=1e3"]).train.steps == 1000


@pytest.mark.parametrize("word", ["nan", "inf", "infinity", "1_0e"])
def test_word_that_python_would_take_for_a_number_stays_a_word(word):
    assert parse_manifest(None, [f"name={word}"]).name == word


def test_quoted_number_is_text():
    assert parse_manifest(None, ["name='123'"]).name == "123"


def test_value_may_hold_an_equals_sign_and_lists():
    assert parse_manifest(None, ["data.corpus=https://example.org/?a=b"]).data.corpus == "https://example.org/?a=b"
    assert parse_manifest(None, ["train.sample_prompts=[One, Two]"]).train.sample_prompts == ("One", "Two")


def test_null_switches_a_budget_off():
    assert parse_manifest(None, ["budgets.latency_p95_ms=null"]).budgets.latency_p95_ms is None


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("2M", 120), ("0.5", 0.5)]
)
def test_duration_has_a_unit_or_is_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "five", "5 minutes", "5d"])
def test_duration_that_is_none_is_refused_by_name(text):
    with pytest.raises(InvalidValue, match="--time-budget") as raised:
        parse_duration(text)
    assert raised.value.next_step


# ── ranges ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("train.batch_size=0", "train.batch_size is 0; its range is 1–4096"),
        ("train.batch_size=5000", "train.batch_size is 5000; its range is 1–4096"),
        ("tokenizer.vocab_size=255", "tokenizer.vocab_size is 255; its range is 256–65535"),
        ("train.optimizer.learning_rate=2", "train.optimizer.learning_rate is 2; its range is 1e-06–1"),
        ("train.max_seq_length=31", "train.max_seq_length is 31; its range is 32–8192"),
        ("train.epochs=0", "train.epochs is 0; its range is more than 0 and at most 1000"),
        ("train.dropout=1", "train.dropout is 1; its range is at least 0 and less than 1"),
        ("data.split.validation_share=0", "its range is more than 0 and at most 0.5"),
        ("train.early_stopping.patience=-1", "its range is at least 0"),
        ("seed=-1", "seed is -1; its range is at least 0 and less than 9223372036854775808"),
        ("train.validate_every=0", "train.validate_every is 0; its range is at least 1"),
    ],
)
def test_number_outside_its_range_names_the_range(override, said):
    with pytest.raises(OutOfRange) as raised:
        parse_manifest(None, [override])
    assert said in raised.value.message
    assert raised.value.exit_code == 64


def test_number_outside_its_range_in_a_file_names_the_range(write):
    with pytest.raises(OutOfRange, match="1e-06–1"):
        parse_manifest(write("train:\n  optimizer:\n    learning_rate: 5e0\n"))


def test_number_of_the_wrong_kind_is_not_called_out_of_range():
    with pytest.raises(InvalidValue, match=r"train\.batch_size is 1\.5") as raised:
        parse_manifest(None, ["train.batch_size=1.5"])
    assert "integer" in raised.value.why


@pytest.mark.parametrize("number", [".nan", ".inf"])
def test_number_that_is_none_is_refused(number):
    with pytest.raises(InvalidValue, match=r"train\.time_budget_s"):
        parse_manifest(None, [f"train.time_budget_s={number}"])


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("override", "nearest"),
    [
        ("lerning_rate=1", "train.optimizer.learning_rate"),
        ("train.lerning_rate=1", "train.optimizer.learning_rate"),
        ("train.batchsize=1", "train.batch_size"),
        ("train.optimizer.learning_rat=1", "train.optimizer.learning_rate"),
        ("sed=1", "seed"),
    ],
)
def test_unknown_key_names_the_nearest_one(override, nearest):
    with pytest.raises(UnknownKey) as raised:
        parse_manifest(None, [override])
    assert override.partition("=")[0] in raised.value.message
    assert raised.value.why == f"Did you mean {nearest}?"
    assert raised.value.exit_code == 64


def test_unknown_key_with_no_neighbour_names_none():
    with pytest.raises(UnknownKey) as raised:
        parse_manifest(None, ["xyzzy=1"])
    assert "Did you mean" not in raised.value.why


def test_dotted_key_in_a_file_is_told_how_levels_are_written(write):
    with pytest.raises(UnknownKey) as raised:
        parse_manifest(write("train.batch_size: 4\n"))
    assert "indented" in raised.value.why


def test_key_that_is_no_text_is_refused(write):
    with pytest.raises(UnknownKey, match="no key 1"):
        parse_manifest(write("1: 2\n"))


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("preset=quik", "'quick', 'low-memory', 'balanced' or 'high'"),
        ("preset=[1]", "'quick'"),
        ("compute.framework=tensorflow", "'auto', 'torch', 'reference', 'transformers', 'tinygrad' or 'tunix'"),
        ("train.validate_every=abc", "'auto', or Input should be a valid integer"),
        ("train=5", "section"),
        ("name=../up", "pattern"),
        ("data.sha256=abc", "pattern"),
    ],
)
def test_value_that_cannot_be_meant_says_what_can(override, said):
    with pytest.raises(InvalidValue) as raised:
        parse_manifest(None, [override])
    assert said in raised.value.why
    assert raised.value.message.startswith(override.partition("=")[0])


@pytest.mark.parametrize("override", ["abc", "=3", ""])
def test_override_without_a_key_or_a_value_is_refused(override):
    with pytest.raises(InvalidValue, match="is not an override") as raised:
        parse_manifest(None, [override])
    assert "train.batch_size=64" in raised.value.next_step


@pytest.mark.parametrize("text", ["[1", "2025-13-01", "{a: b"])
def test_override_that_is_not_yaml_is_refused(text):
    with pytest.raises(InvalidValue, match=r"data\.corpus is not YAML"):
        parse_manifest(None, [f"data.corpus={text}"])


@pytest.mark.parametrize("text", ["a: [1\n", "a: b: c\n", "\tx: 1\n", b"name: \xff\n", "data: {corpus: 2025-13-01}\n"])
def test_file_that_is_not_yaml_is_refused_by_name(text, write):
    with pytest.raises(ManifestUnreadable, match=r"manifest\.yaml is not YAML") as raised:
        parse_manifest(write(text))
    assert raised.value.why


def test_yaml_error_names_the_line(write):
    with pytest.raises(ManifestUnreadable) as raised:
        parse_manifest(write("seed: 1\nname: [\n"))
    assert "line 3" in raised.value.why


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "7\n"])
def test_file_that_is_no_mapping_is_refused(text, write):
    with pytest.raises(ManifestUnreadable, match="mapping"):
        parse_manifest(write(text))


def test_file_that_is_not_there_is_refused_by_name(tmp_path):
    with pytest.raises(ManifestNotFound, match=r"nowhere\.yaml"):
        parse_manifest(tmp_path / "nowhere.yaml")
    with pytest.raises(ManifestNotFound):
        parse_manifest(tmp_path)


@given(st.text(max_size=30))
def test_whatever_is_typed_is_a_manifest_or_a_usage_error(text):
    try:
        parse_manifest(None, [text])
    except (InvalidValue, UnknownKey, OutOfRange) as error:
        assert error.message  # noqa: PT017


@given(st.sampled_from(sorted(iter_manifest_keys())), st.text(max_size=12))
def test_whatever_is_typed_after_a_key_is_a_manifest_or_a_usage_error(key, text):
    try:
        parse_manifest(None, [f"{key}={text}"])
    except (InvalidValue, UnknownKey, OutOfRange) as error:
        assert error.message  # noqa: PT017


# ── keys ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_keys_are_listed_with_their_sections():
    keys = list(iter_manifest_keys())
    assert len(keys) == len(set(keys))
    assert {"seed", "train", "train.batch_size", "train.optimizer", "train.optimizer.learning_rate"} <= set(keys)
    assert keys.index("train") < keys.index("train.batch_size")


def test_manifest_does_not_change():
    manifest = parse_manifest(None)
    with pytest.raises(ValueError, match="frozen"):
        manifest.seed = 2
    with pytest.raises(ValueError, match="frozen"):
        manifest.train.batch_size = 2


# ── learning from traces, and a fine-tuning that follows ──────────────────────────────────────────────────────────────
TUNED = """
name: sums
data: {corpus: builtin:arithmetic}
model: {layers: 2}
train: {steps: 40, batch_size: 8, optimizer: {learning_rate: 0.002}}
finetune:
  data: {traces: builtin:arithmetic}
  train: {epochs: 2, optimizer: {name: adamw}}
  evaluate: {items: 5}
"""


def test_finetuning_inherits_all_but_data_and_name(write):
    manifest = parse_manifest(write(TUNED), ["train.max_seq_length=64"])
    tuned = manifest.finetune
    assert manifest.data.traces is None
    assert (tuned.name, tuned.data.traces, tuned.data.template) == (None, "builtin:arithmetic", "auto")
    assert (tuned.train.steps, tuned.train.epochs) == (None, 2)
    assert (tuned.train.batch_size, tuned.train.max_seq_length) == (8, 64)
    assert (tuned.train.optimizer.name, tuned.train.optimizer.learning_rate) == ("adamw", 0.002)
    assert tuned.model == manifest.model
    assert (manifest.evaluate.items, tuned.evaluate.items) == (0, 5)
    assert tuned.finetune is None


def test_finetuning_without_a_length_has_the_first_runs(write):
    manifest = parse_manifest(write(TUNED.replace("epochs: 2, ", "")))
    assert manifest.finetune.train.steps == 40


def test_overrides_reach_the_finetuning(write):
    manifest = parse_manifest(write(TUNED), ["finetune.train.steps=3", "finetune.evaluate.items=0"])
    assert (manifest.finetune.train.steps, manifest.finetune.train.epochs) == (3, None)
    assert manifest.finetune.evaluate.items == 0
    assert manifest.train.steps == 40


def test_what_is_wrong_in_the_finetuning_is_named_with_its_whole_key(write):
    with pytest.raises(UnknownKey, match=r"finetune\.train\.stepz") as error:
        parse_manifest(write(TUNED), ["finetune.train.stepz=3"])
    assert error.value.why == "Did you mean finetune.train.steps?"
    with pytest.raises(OutOfRange, match=r"finetune\.train\.batch_size is 0"):
        parse_manifest(write(TUNED), ["finetune.train.batch_size=0"])


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("finetune.model.layers=2", "finetune.model"),
        ("finetune.tokenizer.vocab_size=300", "finetune.tokenizer"),
        ("finetune.train.start=sums@latest", "finetune.train.start"),
        ("finetune.preset=quick", "finetune.preset"),
        ("finetune=5", "finetune"),
        ("data={traces: builtin:arithmetic}", "data.traces"),
        ("finetune.data.corpus=books.txt", "finetune.data.corpus"),
    ],
)
def test_finetuning_that_cannot_be_meant_is_refused(write, override, named):
    with pytest.raises(InvalidValue, match=named):
        parse_manifest(write(TUNED), [override])


def test_run_that_starts_from_a_model_says_nothing_of_its_shape():
    assert parse_manifest(None, ["train.start=sums@latest"]).train.start == "sums@latest"
    for override in ("model.layers=2", "tokenizer.vocab_size=300"):
        with pytest.raises(InvalidValue, match=override.partition(".")[0]):
            parse_manifest(None, ["train.start=sums@latest", override])


def test_text_and_traces_are_not_learnt_from_at_once():
    with pytest.raises(InvalidValue, match=r"data\.corpus"):
        parse_manifest(None, ["data.traces=dev@v1", "data.corpus=books.txt"])


def test_manifest_can_be_written_down_and_read_back(write):
    manifest = parse_manifest(write(TUNED))
    assert Manifest.model_validate(manifest.model_dump(mode="json", exclude_unset=True)) == manifest


def test_keys_of_overrides_are_listed_whether_dotted_or_nested():
    overrides = ["train.steps=9", "train={optimizer: {beta1: 0.5}, dropout: 0}", "name=x", "model={}"]
    assert list_override_keys(overrides) == ["train.steps", "train.optimizer.beta1", "train.dropout", "name", "model"]
