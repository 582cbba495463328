"""A suite: what is asked, how, and how the answers are scored, in one file. Read strictly, and named by what it means.

    name: sums
    version: 1
    description: Sums of two numbers.
    items: sums.jsonl                      # or {format: bbq, path: Religion.jsonl}
    by: generation                         # generation, likelihood, text
    template: "Question: {prompt}\\nAnswer:"
    decoding: {max_tokens: 40, temperature: 0, top_k: 0, top_p: 1, seed: 0}
    scorers: [ground-truth]
    slices: [category, difficulty]
    clusters: cluster_id

Only `name`, `version` and `items` are needed. What is left open is what the form of the items says (`loaders/formats.py`).
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError
from pydantic_core import ErrorDetails

from trainwright.core.errors import InvalidValue, OutOfRange, SuiteNotFound, SuiteUnreadable, UnknownKey, UsageError
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.manifest import Section, iter_manifest_keys
from trainwright.evaluate.answer_likelihood import is_sentence_pair
from trainwright.evaluate.items import SLICES, EvalItem
from trainwright.evaluate.loaders.formats import FORMATS, By, read_format
from trainwright.evaluate.rows import render_rows
from trainwright.evaluate.table_scorers import TABLE_SCORERS

PLACE = "{prompt}"
GROUND_TRUTH = "ground-truth"


class ItemsSection(Section):
    """Where the items are: a file beside the suite's own, or anywhere, in one of the forms that can be read."""

    path: Annotated[str, Field(min_length=1)]
    format: str = "items"


class DecodingSection(Section):
    """How answers are written. `temperature` 0 takes the likeliest token; `top_k` 0 and `top_p` 1 cut nothing off."""

    max_tokens: Annotated[int, Field(ge=1, le=100_000)] = 200
    temperature: Annotated[float, Field(ge=0, le=10)] = 0.0
    top_k: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0


class Suite(Section):
    """What a suite's file says, with what it leaves open filled in. `slices` None: those of the form of its items."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    version: Annotated[int, Field(ge=1, le=1_000_000)]
    description: str = ""
    items: ItemsSection
    by: By
    template: str
    decoding: DecodingSection = DecodingSection()
    scorers: tuple[str, ...]
    slices: tuple[str, ...] | None = None
    clusters: Annotated[str, Field(min_length=1)] | None = None


@dataclass(frozen=True)
class OpenedSuite:
    """A suite with its items, which are sliced and clustered as it says."""

    suite: Suite
    path: Path
    items: tuple[EvalItem, ...]

    @property
    def slices(self) -> tuple[str, ...]:
        """What its results are broken down by."""
        return self.suite.slices if self.suite.slices is not None else FORMATS[self.suite.items.format].slices

    @cached_property
    def document(self) -> dict[str, Any]:
        """The suite as it is kept: everything it says, and its items by digest instead of by the place of their file."""
        said = self.suite.model_dump(mode="json")
        items = {"format": self.suite.items.format, "sha256": digest_bytes(render_rows(self.items))}
        return said | {"items": items | {"num_items": len(self.items)}, "slices": list(self.slices)}

    @property
    def content(self) -> bytes:
        """The same as canonical JSON. Its digest names the suite."""
        return canonical_json(self.document)

    @property
    def digest(self) -> str:
        """SHA-256 of `content`."""
        return digest_bytes(self.content)


def list_builtin_suites() -> list[str]:
    """Names of the suites that come along."""
    return sorted(path.stem for path in _builtin_folder().glob("*.yaml"))


def open_suite(name_or_path: str) -> OpenedSuite:
    """A suite that comes along, by its name, or one of a file, with its items.

    Raises SuiteNotFound, what `parse_suite` raises, and what reading its items raises; InvalidValue for a slice or cluster
    that its items do not have.
    """
    path = find_suite(name_or_path)
    suite = parse_suite(path)
    items = read_format(suite.items.format, path.parent / suite.items.path)
    _require_answers(items, suite, path)
    return OpenedSuite(suite, path, tuple(_arrange(items, suite, path)))


def find_suite(name_or_path: str) -> Path:
    """The file of a suite. Raises SuiteNotFound, naming those that come along."""
    builtin = list_builtin_suites()
    if name_or_path in builtin:
        return _builtin_folder() / f"{name_or_path}.yaml"
    path = Path(name_or_path)
    if path.is_file():
        return path
    near = difflib.get_close_matches(name_or_path, builtin, n=1)
    raise SuiteNotFound(
        f"There is no suite {name_or_path}.",
        why=f"Did you mean {near[0]}?" if near else f"These come along: {', '.join(builtin)}.",
        next_step="Name one of these, or the file of a suite of your own.",
    )


def parse_suite(path: Path) -> Suite:
    """What a suite's file says. Raises SuiteUnreadable, UnknownKey, InvalidValue, OutOfRange."""
    document = _read_yaml(path)
    if isinstance(document.get("items"), str):
        document["items"] = {"path": document["items"]}
    document = _fill_in(document, path)
    try:
        suite = Suite.model_validate(document)
    except ValidationError as error:
        raise _translate(error.errors(include_url=False), path) from None
    _require_consistent(suite, document, path)
    return suite


def _fill_in(document: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the form of the items says about keys that are left open."""
    items = document.get("items")
    name = items.get("format", "items") if isinstance(items, dict) else "items"
    if name not in FORMATS:
        near = difflib.get_close_matches(str(name), FORMATS, n=1)
        why = f"Did you mean {near[0]}" if near else f"There are {', '.join(FORMATS)}"
        raise _invalid(path, "items.format", name, why)
    form = FORMATS[name]
    usual: dict[str, Any] = {"by": form.by, "template": form.template, "scorers": form.scorers}
    if document.get("by", form.by) != form.by:
        usual["template"] = PLACE  # the form's is meant for its own way of asking
    if document.get("by", form.by) == "text":
        usual["scorers"] = ()
    return usual | document


# ── its items ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _require_answers(items: Sequence[EvalItem], suite: Suite, path: Path) -> None:
    """Raises InvalidValue where the suite holds answers against expected ones, and an item has none."""
    needs = suite.by == "likelihood" or (suite.by == "generation" and GROUND_TRUTH in suite.scorers)
    lacking = [item.id for item in items if item.expected_answer is None and not is_sentence_pair(item)]
    if needs and lacking:
        raise InvalidValue(
            f"{path.name}: {len(lacking)} of its items have no expected answer: {', '.join(lacking[:5])}.",
            why=f"It measures by {suite.by}"
            + (f" and scores by {', '.join(suite.scorers)}." if suite.by == "generation" else "."),
            next_step="Give them an expected_answer, or name scorers that need none.",
        )


def _arrange(items: list[EvalItem], suite: Suite, path: Path) -> Iterator[EvalItem]:
    """The items with the slices and clusters that the suite wants. Raises InvalidValue for those that nothing has."""
    slices = suite.slices if suite.slices is not None else FORMATS[suite.items.format].slices
    for name in suite.slices or ():
        if all(item.find_label(name) is None for item in items):
            raise _no_label(path, "slices", name, items)
    for item in items:
        changes: dict[str, Any] = {} if slices == SLICES else {"sliced_by": slices}
        if suite.clusters is not None:
            changes["cluster_id"] = item.find_label(suite.clusters)
            if changes["cluster_id"] is None:
                raise _no_label(path, "clusters", suite.clusters, [item])
        yield item.model_copy(update=changes) if changes else item


def _no_label(path: Path, key: str, name: str, items: Sequence[EvalItem]) -> InvalidValue:
    names = (*SLICES, "cluster_id", *dict.fromkeys(key for item in items for key in item.meta or {}))
    known = [known for known in names if any(item.find_label(known) is not None for item in items)]
    which = f"item {items[0].id} has no such text" if len(items) == 1 else "no item has a text of that name"
    return InvalidValue(
        f"{path.name}: {key} names {name!r}, and {which}.",
        why=f"There {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}.",
        next_step=f"Mend {key}, or give the items what it names.",
    )


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def _builtin_folder() -> Path:
    return Path(str(resources.files("trainwright.evaluate"))) / "builtin_suites"


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or a date such as 2025-13-01
        raise SuiteUnreadable(
            f"{path} is not YAML.", why=" ".join(str(error).split())[:300], next_step="Mend what is named."
        ) from error
    except RecursionError:
        raise SuiteUnreadable(f"{path} is nested too deeply.", next_step="Mend the file.") from None
    except OSError as error:
        raise SuiteUnreadable(
            f"{path} cannot be read.", why=f"The operating system said: {error.strerror}.", next_step="Check the file."
        ) from error
    if not isinstance(document, dict) or not all(isinstance(key, str) for key in document):
        raise SuiteUnreadable(
            f"{path} does not hold a mapping.",
            why="A suite is a set of `key: value` lines.",
            next_step="See docs/files.md for what a suite's file holds.",
        )
    return document


def _require_consistent(suite: Suite, document: dict[str, Any], path: Path) -> None:
    """What each key allows by itself, and not together. Raises InvalidValue."""
    require_template(suite.template)
    if suite.by == "text" and suite.template != PLACE:
        raise _invalid(path, "template", suite.template, "A text is measured as it stands: nothing is put around it")
    if suite.by != "generation" and "decoding" in document:
        raise _invalid(
            path, "decoding", document["decoding"], f"Nothing is written where a suite measures by {suite.by}"
        )
    if bool(suite.scorers) == (suite.by == "text"):
        why = (
            "A text is measured, and nothing is said that they could score"
            if suite.scorers
            else "Something has to score what is said"
        )
        raise _invalid(path, "scorers", list(suite.scorers), why)
    for scorer in suite.scorers:
        if scorer.partition(":")[0] not in TABLE_SCORERS:
            raise _invalid(path, "scorers", scorer, f"There is no such scorer; there are {', '.join(TABLE_SCORERS)}")
    for key, names in (("scorers", suite.scorers), ("slices", suite.slices or ())):
        if len(set(names)) < len(names):
            raise _invalid(path, key, list(names), "One is there twice")


def require_template(template: str) -> None:
    """Raises InvalidValue for a template that does not say, once, where the prompt goes."""
    if template.count(PLACE) != 1:
        raise InvalidValue(
            f"The template {template!r} does not say where the prompt goes.",
            why=f"{PLACE} stands in it {template.count(PLACE)} times.",
            next_step=f"Write it once, for example: 'Question: {PLACE}\\n'",
        )


def _invalid(path: Path, key: str, given: Any, why: str) -> InvalidValue:
    return InvalidValue(f"{path.name}: {key} is {given!r}.", why=f"{why}.", next_step=f"Mend {key}, or leave it out.")


_RANGE_COMPLAINTS = {"greater_than", "greater_than_equal", "less_than", "less_than_equal"}


def _translate(details: Sequence[ErrorDetails], path: Path) -> UsageError:
    """pydantic's first complaint as one of our errors, with the nearest key named where there is no such one."""
    first = details[0]
    dotted = ".".join(str(part) for part in first["loc"])
    known = list(iter_manifest_keys(Suite))
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(dotted, known, n=1)
        why = f"Did you mean {near[0]}?" if near else f"The keys are {', '.join(known)}."
        return UnknownKey(f"{path.name}: there is no key {dotted}.", why=why, next_step="Mend the key.")
    if first["type"] == "missing":
        return InvalidValue(
            f"{path.name}: {dotted} is missing.",
            why="A suite says name, version and items.",
            next_step=f"Add {dotted}.",
        )
    kind = OutOfRange if first["type"] in _RANGE_COMPLAINTS else InvalidValue
    return kind(
        f"{path.name}: {dotted} is {first['input']!r}.",
        why=f"{first['msg']}.",
        next_step="See docs/files.md for this key.",
    )
