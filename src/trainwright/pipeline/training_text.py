"""What a checkpoint was trained on, as far as it is on record: every text of every training split behind it."""

from collections.abc import Iterator
from dataclasses import dataclass

from trainwright.core.records import Checkpoint, DatasetVersion, ImportedModel, Plan, Record, TokenSet
from trainwright.data.dataset import TRAIN, read_documents
from trainwright.data.trace_dataset import iter_traces
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class TrainingText:
    """The dataset versions, and the models made elsewhere, whose training text is not on record here."""

    datasets: tuple[DatasetVersion, ...]
    imported: tuple[ImportedModel, ...]

    def iter_texts(self, workspace: Workspace) -> Iterator[str]:
        """Every text of the training splits; a trace with its prompt, steps and answer. Raises as the readers do."""
        for dataset in self.datasets:
            if dataset.holds_traces:
                yield from (trace.text for trace in iter_traces(dataset, TRAIN, workspace.objects))
            else:
                yield from read_documents(dataset, TRAIN, workspace.objects)


def find_training_text(checkpoint: Checkpoint, workspace: Workspace) -> TrainingText:
    """What this run, and every run that it went on from, was trained on."""
    datasets: dict[str, DatasetVersion] = {}
    imported: dict[str, ImportedModel] = {}
    pending = [checkpoint.id]
    while pending:
        record = workspace.ledger.get(pending.pop())
        if isinstance(record, DatasetVersion):
            datasets[record.id] = record
        elif isinstance(record, ImportedModel):
            imported[record.id] = record
        else:
            pending += _list_sources(record)
    return TrainingText(tuple(datasets.values()), tuple(imported.values()))


def _list_sources(record: Record) -> list[str]:
    """The parents by way of which text comes in: not the corpus that only a tokenizer was made from."""
    if isinstance(record, TokenSet):
        return [record.dataset]
    if isinstance(record, Plan):
        return list(record.parents().values())
    return [parent for role, parent in record.parents().items() if role in ("run", "plan")]
