"""A checkpoint with all that was ever evaluated of it, and which of that a gate may rest on."""

from collections import Counter
from functools import cached_property

from trainwright.core.errors import EvaluationError
from trainwright.core.records import Checkpoint, Evaluation, Gate, Plan, Run
from trainwright.evaluate.answer_likelihood import is_sentence_pair
from trainwright.evaluate.as_asked import find_deviation, find_stranger
from trainwright.evaluate.figures import find_objection, list_needs
from trainwright.evaluate.items import EvalItem
from trainwright.evaluate.metrics import METRICS
from trainwright.evaluate.suites import PLACE
from trainwright.pipeline.asking import open_asking
from trainwright.pipeline.evaluate import Evaluated, read_evaluation
from trainwright.pipeline.prepare import load_prepared
from trainwright.pipeline.recall import typed
from trainwright.store.workspace import Workspace

NUM_NAMED = 3


class OnRecord:
    """One side of a decision. `who` is what errors call it ("the candidate")."""

    def __init__(self, checkpoint: Checkpoint, workspace: Workspace, who: str) -> None:
        self.checkpoint = checkpoint
        self._workspace = workspace
        self._who = who
        self._read: dict[str, Evaluated] = {}  # by id

    @cached_property
    def evaluations(self) -> list[Evaluation]:
        """All that were ever made of it, the oldest first."""
        ledger = self._workspace.ledger
        children = (ledger.get(child) for role, child in ledger.children(self.checkpoint.id) if role == "checkpoint")
        return [record for record in children if isinstance(record, Evaluation)]

    def require(self, gate: Gate) -> Evaluated:
        """The newest evaluation that the gate may rest on.

        Raises EvaluationError where there is none, with what is wrong with the newest that comes near; ObjectMissing,
        ObjectDamaged; ValueError for an unknown metric.
        """
        named = [record for record in reversed(self.evaluations) if record.evalset == gate.suite]
        if not named:
            raise self._refuse(f"it was not evaluated by {gate.suite}", gate)
        needed = set(list_needs(gate.metric))
        whole = [record for record in named if record.settings.sample is None and needed <= record.metrics.keys()]
        if not whole:
            raise self._refuse(f"its evaluations by {gate.suite} are samples, or have no {gate.metric}", gate)
        problems = []
        for record in whole:
            problem = self._find_problem(record, gate)
            if problem is None:
                return self._require_sound(record, gate)
            problems.append(problem)
        raise self._refuse(f"no evaluation by {gate.suite} can be used; of the newest, {problems[0]}", gate)

    def _find_problem(self, record: Evaluation, gate: Gate) -> str | None:
        """Why a gate may not rest on an evaluation, whatever its figures; None where it may."""
        older = [
            name for name, version in record.metrics.items() if name not in METRICS or METRICS[name].version != version
        ]
        if set(older) & set(list_needs(gate.metric) or record.metrics):
            return f"other versions of {', '.join(older)} scored it than there are now"
        if gate.digest is not None and gate.digest != (record.suite or record.items):
            return f"{(record.suite or record.items)[:12]} was asked, and the policy says {gate.digest[:12]}"
        stranger = find_stranger(gate.suite, record)
        if stranger is not None or record.suite is None:
            return stranger
        items = self.read(record).items
        plain = record.settings.by == "text" or all(map(is_sentence_pair, items))
        return find_deviation(record, self._workspace.objects.get(record.suite), PLACE if plain else self._form)

    def _require_sound(self, record: Evaluation, gate: Gate) -> Evaluated:
        evaluated = self.read(record)
        repeated = _find_repeated(evaluated.items)
        if repeated:
            named = ", ".join(repeated[:NUM_NAMED]) + (" …" if len(repeated) > NUM_NAMED else "")
            raise EvaluationError(
                f"{self._who}: {len(repeated)} items of {gate.suite} ask what another one asks ({named}).",
                why="Asked twice, an item counts twice, and the interval is narrower than what is known.",
            )
        objection = find_objection(gate.metric, record, evaluated.rows)
        if objection:
            raise EvaluationError(f"{self._who}: {objection}")
        return evaluated

    def read(self, record: Evaluation) -> Evaluated:
        """Its table, items and prompts. Raises ObjectMissing, ObjectDamaged."""
        if record.id not in self._read:
            self._read[record.id] = read_evaluation(record, self._workspace)
        return self._read[record.id]

    @cached_property
    def _form(self) -> str:
        """The text in which the model is asked, with `{prompt}` in it."""
        ledger = self._workspace.ledger
        run = typed(ledger.get(self.checkpoint.run), Run)
        prepared = load_prepared(self._workspace, typed(ledger.get(run.plan), Plan))
        return PLACE if prepared.token_set.rendering is None else open_asking(prepared, self._workspace).as_text

    def _refuse(self, what: str, gate: Gate) -> EvaluationError:
        return EvaluationError(
            f"{self._who}: {what}:", why=f"trainwright evaluate {self.checkpoint.id[:12]} --suite {gate.suite}"
        )


def _find_repeated(items: list[EvalItem]) -> list[str]:
    """Ids of the items that say what an earlier one says, whatever they are called."""
    asked = [item.model_copy(update={"id": ""}).model_dump_json() for item in items]
    seen: Counter[str] = Counter()
    repeated = []
    for item, text in zip(items, asked, strict=True):
        seen[text] += 1
        if seen[text] > 1:
            repeated.append(item.id)
    return repeated
