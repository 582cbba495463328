"""Trained scorers and judges: fitted or calibrated on a person's labels, kept as records, found again by name or id."""

from dataclasses import dataclass
from pathlib import Path

from trainwright.core.errors import InvalidValue, RefMoved, UnknownRef
from trainwright.core.records import TrainedScorer
from trainwright.evaluate.judge import Judge
from trainwright.evaluate.table_scorers import Parts
from trainwright.evaluate.trained_scorers import OpenedScorer, fit_scorer, parse_scorer_model, read_labelled_file
from trainwright.store.ledger import require_ref_name
from trainwright.store.workspace import Workspace

SUFFIX = "@scorer"
"""The ref `name@scorer` is the last scorer that was fitted under that name."""


@dataclass(frozen=True)
class Columns:
    """Which columns of a labelled file hold what."""

    text: str
    label: str
    group: str | None = None

    def as_document(self) -> dict[str, str]:
        """{what: column}."""
        named = {"text": self.text, "label": self.label}
        return named if self.group is None else named | {"group": self.group}


def fit(
    name: str, labelled_file: Path, columns: Columns, workspace: Workspace, *, positive: str | None, seed: int
) -> OpenedScorer:
    """Fit a scorer on a labelled file, keep it, and let `name@scorer` point to it.

    Raises what `read_labelled_file` and `fit_scorer` raise; InvalidValue for a name that no ref can have.
    """
    if "@" in name:
        raise InvalidValue(f"{name!r} cannot be the name of a scorer.", why="It has an @.", next_step="Leave it out.")
    require_ref_name(name + SUFFIX)
    labelled = read_labelled_file(labelled_file, columns.text, columns.label, columns.group, positive)
    record, data = fit_scorer(name, labelled, columns.as_document(), seed)
    workspace.objects.put(data)
    workspace.ledger.put(record)
    _point_to(record, workspace)
    return OpenedScorer(record, parse_scorer_model(data, record))


def find_scorer(name_or_id: str, workspace: Workspace) -> OpenedScorer:
    """A scorer by its name or its id, its model verified.

    Raises UnknownRef, AmbiguousRef, InvalidValue (something else goes by that id), ObjectMissing, ObjectDamaged.
    """
    known = workspace.ledger.read_ref(name_or_id.removesuffix(SUFFIX) + SUFFIX)
    record = workspace.ledger.get(known if known is not None else _resolve(name_or_id, workspace))
    if not isinstance(record, TrainedScorer):
        raise InvalidValue(
            f"{name_or_id} is no scorer.",
            why=f"It is a {record.kind}.",
            next_step="See the scorers there are: trainwright scorers list",
        )
    return OpenedScorer(record, parse_scorer_model(workspace.objects.get(record.model), record))


def list_scorers(workspace: Workspace) -> list[TrainedScorer]:
    """All scorers, the last fitted first."""
    found: list[TrainedScorer] = []
    after = None
    while page := workspace.ledger.find("scorer", after=after):
        found += [row.record for row in page if isinstance(row.record, TrainedScorer)]
        after = page[-1].record.id
    return found


def open_parts(workspace: Workspace, judge: Judge | None = None) -> Parts:
    """What the scorers of a suite may need: those that were trained here, and a judge (`judging.open_judge`)."""
    return Parts(find_scorer=lambda name: find_scorer(name, workspace), judge=judge)


def _resolve(text: str, workspace: Workspace) -> str:
    try:
        return workspace.ledger.resolve(text)
    except UnknownRef as error:
        raise UnknownRef(
            f"There is no scorer {text}.",
            why=error.why,
            next_step="See the scorers there are: trainwright scorers list",
        ) from error


def _point_to(record: TrainedScorer, workspace: Workspace) -> None:
    ref = record.name + SUFFIX
    while (before := workspace.ledger.read_ref(ref)) != record.id:
        try:
            workspace.ledger.move_ref(ref, record.id, before, who="trainwright scorers", why="fitted")
        except RefMoved:  # another process fitted one under this name just now
            continue
