"""Scorers that are trained on a labelled file: TF-IDF of words and pairs of words, and logistic regression.

Fitting is scikit-learn's. What is kept of it is JSON (vocabulary, idf, coefficients), and what it says of a text is computed
here from that, so that using a scorer needs neither scikit-learn nor any pickle. How good it is was measured by
cross-validation in which a group (a conversation, an author) is never on both sides.
"""

import json
import math
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from trainwright.core.errors import (
    InvalidValue,
    LabelsTooFew,
    ObjectDamaged,
    PackageMissing,
)
from trainwright.core.hashing import canonical_json, digest_bytes
from trainwright.core.records import Estimate, Frozen, ItemScore, TrainedScorer
from trainwright.evaluate.figures import measure
from trainwright.evaluate.labelled_files import read_labelled_rows
from trainwright.evaluate.matchers import render_share

MAX_TERMS = 20_000
NUM_FOLDS = 5
POSITIVE = ("1", "true", "yes")
"""Labels that mean yes, where nobody names one."""
_WORD = re.compile(r"\b\w\w+\b")


@dataclass(frozen=True)
class Labelled:
    """A labelled file as it was read: texts, labels and groups, row by row. `classes`: the lowest level first."""

    name: str
    digest: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    classes: tuple[str, ...]


class ScorerModel(Frozen):
    """What was learnt. One row of `coefficients` for each class, or a single one for the second of two."""

    format: Literal[1] = 1
    classes: tuple[str, ...]
    vocabulary: tuple[str, ...]
    idf: tuple[float, ...]
    coefficients: tuple[tuple[float, ...], ...]
    intercepts: tuple[float, ...]

    @cached_property
    def _places(self) -> dict[str, int]:
        return {term: place for place, term in enumerate(self.vocabulary)}

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        return np.array(self.coefficients)

    def weigh(self, text: str) -> NDArray[np.float64]:
        """The probability of each class [class]; 1 + ln of counts, times idf, at length 1."""
        counts = Counter(term for term in list_terms(text) if term in self._places)
        logits = np.array(self.intercepts)
        if counts:
            places = [self._places[term] for term in counts]
            values = np.array(
                [(1 + math.log(count)) * self.idf[place] for place, count in zip(places, counts.values(), strict=True)]
            )
            logits = logits + self._weights[:, places] @ (values / np.linalg.norm(values))
        if len(logits) == 1:
            positive = 1 / (1 + math.exp(-logits[0])) if logits[0] > -700 else 0.0
            return np.array([1 - positive, positive])
        exponentials = np.exp(logits - logits.max())
        return np.asarray(exponentials / exponentials.sum())

    def measure_level(self, text: str) -> float:
        """Where it lies between the lowest class (0) and the highest (1): of two classes the probability of the second."""
        probabilities = self.weigh(text)
        return float(probabilities @ np.linspace(0, 1, len(self.classes)))


@dataclass(frozen=True)
class OpenedScorer:
    """A trained scorer, verified and ready."""

    record: TrainedScorer
    model: ScorerModel

    @property
    def note(self) -> str:
        """What stands beside everything it says: how good it was on texts that it had not seen."""
        record = self.record
        top = record.classes[-1]
        return (
            f"by the scorer {record.name} {record.id[:12]}: kappa {render_share(record.kappa)}, precision "
            f"{render_share(record.precision[top])}, recall {render_share(record.recall[top])} of {top!r}, on "
            f"{record.num_rows:,} labelled texts, cross-validated"
        )


def list_terms(text: str) -> list[str]:
    """Words of two letters or more, and pairs of neighbours, lower case."""
    words = _WORD.findall(_plain(text))
    return [*words, *(f"{first} {second}" for first, second in pairwise(words))]


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).lower()


# ── the labelled file ─────────────────────────────────────────────────────────────────────────────────────────────────
def read_labelled_file(path: Path, text: str, label: str, group: str | None, positive: str | None) -> Labelled:
    """Rows of a CSV file with a header. Without a column of groups, rows of one text are a group.

    Raises SourceNotFound, SourceUnreadable, InvalidEncoding; InvalidValue for a column that is not there, or labels without
    an order; InvalidRow with the line of an empty or overlong one; LabelsTooFew.
    """
    digest, rows = read_labelled_rows(path, [column for column in (text, label, group) if column is not None])
    texts, labels = tuple(row[text] for _, row in rows), tuple(row[label].strip() for _, row in rows)
    groups = tuple(row[group].strip() if group else digest_bytes(_plain(row[text]).encode()) for _, row in rows)
    if len(set(labels)) < 2:
        raise LabelsTooFew(
            f"{path.name} has {len(rows)} rows, and {len(set(labels))} different labels in the column {label}.",
            why="A scorer learns to tell at least two apart.",
            next_step="Add rows with another label.",
        )
    return Labelled(path.name, digest, texts, labels, groups, _order_classes(set(labels), label, positive))


def _order_classes(labels: set[str], column: str, positive: str | None) -> tuple[str, ...]:
    """Numbers by size; of two words, the one that means yes last."""
    if positive is not None:
        if positive not in labels or len(labels) != 2:
            raise InvalidValue(
                f"The label {positive!r} cannot be the positive one of two.",
                why=f"The labels in the column {column} are {', '.join(sorted(labels))}.",
                next_step="Name one of two labels with --positive.",
            )
        return (*(labels - {positive}), positive)
    try:
        return tuple(sorted(labels, key=float))
    except ValueError:
        pass
    yes = [label for label in labels if label.casefold() in POSITIVE]
    if len(labels) == 2 and len(yes) == 1:
        return (*(labels - set(yes)), yes[0])
    raise InvalidValue(
        f"It cannot be told which way the labels in the column {column} go.",
        why=f"They are {', '.join(sorted(labels))}: neither numbers nor yes and no.",
        next_step="Name the one that counts with --positive, or write levels as numbers.",
    )


# ── fitting ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def fit_scorer(name: str, labelled: Labelled, columns: dict[str, str], seed: int) -> tuple[TrainedScorer, bytes]:
    """A scorer on all rows, measured by cross-validation over groups; its record, and the model's bytes that it names.

    Raises PackageMissing; LabelsTooFew where a class occurs in fewer groups than there are folds.
    """
    _require_sklearn()
    _require_enough(labelled)
    rows = _cross_validate(labelled, seed)
    data = canonical_json(_fit(labelled.texts, labelled.labels, labelled.classes, seed).model_dump(mode="json"))
    record = TrainedScorer(
        name=name,
        model=digest_bytes(data),
        labelled=labelled.digest,
        columns=columns,
        classes=labelled.classes,
        num_rows=len(labelled.texts),
        num_groups=len(set(labelled.groups)),
        num_folds=NUM_FOLDS,
        seed=seed,
        packages={"scikit-learn": version("scikit-learn")},
        kappa=measure("kappa", rows, seed=seed),
        precision={label: _measure_share([row for row in rows if row.answer == label]) for label in labelled.classes},
        recall={label: _measure_share([row for row in rows if row.target == label]) for label in labelled.classes},
    )
    return record, data


def _measure_share(rows: Sequence[ItemScore]) -> Estimate:
    """How many of these were right."""
    return measure("answer_correct", rows)


def parse_scorer_model(data: bytes, record: TrainedScorer) -> ScorerModel:
    """The model of a record. Raises ObjectDamaged where the bytes are none."""
    try:
        model = ScorerModel.model_validate(json.loads(data))
    except (ValueError, ValidationError) as error:
        raise ObjectDamaged(
            f"The model of the scorer {record.name} cannot be read.",
            why=" ".join(str(error).split())[:300],
            next_step="Fit it again: trainwright scorers fit",
        ) from error
    return model


def _require_sklearn() -> None:
    try:
        import sklearn  # noqa: F401
    except ImportError:
        raise PackageMissing(
            "scikit-learn is not installed, and scorers are fitted with it.",
            next_step="pip install 'trainwright[scorers]'",
        ) from None


def _require_enough(labelled: Labelled) -> None:
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for label, group in zip(labelled.labels, labelled.groups, strict=True):
        groups[label].add(group)
    for label in labelled.classes:
        if len(groups[label]) < NUM_FOLDS:
            raise LabelsTooFew(
                f"The label {label!r} occurs in {len(groups[label])} groups of {labelled.name}.",
                why=f"Cross-validation in {NUM_FOLDS} folds needs it in {NUM_FOLDS} groups; rows of one text are one group.",
                next_step="Label more texts, or name a column of smaller groups with --group.",
            )


def _cross_validate(labelled: Labelled, seed: int) -> list[ItemScore]:
    """What was said of each text by a model that had seen neither it nor its group, as rows of an item table."""
    from sklearn.model_selection import StratifiedGroupKFold

    folds = StratifiedGroupKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    said = [""] * len(labelled.texts)
    for seen, held_out in folds.split(labelled.texts, labelled.labels, labelled.groups):
        labels = [labelled.labels[place] for place in seen]
        if len(set(labels)) < 2:
            raise LabelsTooFew(
                f"Without one of {NUM_FOLDS} parts, {labelled.name} has one label alone.",
                why="Almost all rows of a label are in one group.",
                next_step="Label more groups.",
            )
        classes = tuple(label for label in labelled.classes if label in set(labels))
        model = _fit([labelled.texts[place] for place in seen], labels, classes, seed)
        for place in held_out:
            said[place] = model.classes[int(np.argmax(model.weigh(labelled.texts[place])))]
    return [
        ItemScore(
            item_id=str(place),
            cluster_id=group,
            slices={},
            metric="answer_correct",
            score=float(answer == label),
            output=None,
            answer=answer,
            target=label,
            status="scored",
        )
        for place, (answer, label, group) in enumerate(zip(said, labelled.labels, labelled.groups, strict=True))
    ]


def _fit(texts: Sequence[str], labels: Sequence[str], classes: tuple[str, ...], seed: int) -> ScorerModel:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectorizer = TfidfVectorizer(analyzer=list_terms, sublinear_tf=True, max_features=MAX_TERMS)
    try:
        terms = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise LabelsTooFew(
            "The labelled texts hold no word of two letters or more.",
            why=f"scikit-learn said: {error}.",
            next_step="Name the column of the texts with --text.",
        ) from error
    regression = LogisticRegression(class_weight="balanced", max_iter=2_000, random_state=seed)
    regression.fit(terms, [classes.index(label) for label in labels])
    return ScorerModel(
        classes=classes,
        vocabulary=tuple(vectorizer.get_feature_names_out().tolist()),
        idf=tuple(vectorizer.idf_.tolist()),
        coefficients=tuple(tuple(row) for row in regression.coef_.tolist()),
        intercepts=tuple(regression.intercept_.tolist()),
    )
