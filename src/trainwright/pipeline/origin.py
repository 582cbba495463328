"""What a run starts from when it is not random weights: the model of a checkpoint, and that checkpoint's tokenizer."""

from dataclasses import dataclass

from trainwright.backends.initial import build_initial_weights
from trainwright.core.errors import NoGoodCheckpoint, TokenizerMismatch, UnknownRef
from trainwright.core.records import Checkpoint, ModelShape, Plan, Run, Start, Tokenizer, TokenSet
from trainwright.core.state import Weights
from trainwright.store.checkpoints import checkpoint_path, read_weights
from trainwright.store.workspace import Workspace


@dataclass(frozen=True)
class Origin:
    """The checkpoint a run starts from, with what has to stay as it was: the model's shape and the tokenizer."""

    checkpoint: Checkpoint
    shape: ModelShape
    tokenizer: Tokenizer

    def as_start(self) -> Start:
        """As it stands in a plan: its weights alone, at step 0."""
        return Start(source=self.checkpoint.id, mode="weights")


def require_same_tokenizer(origin: Origin, token_set: TokenSet) -> None:
    """Raises TokenizerMismatch where the tokens mean something else to the model that is started from."""
    if token_set.tokenizer_fingerprint != origin.tokenizer.fingerprint:
        raise TokenizerMismatch(
            f"The tokens were made with the tokenizer {token_set.tokenizer_fingerprint[:12]}; the model that the run "
            f"starts from reads {origin.tokenizer.fingerprint[:12]}.",
            why="The same ids stand for other text in another tokenizer, so the weights would be worth nothing.",
            next_step="Leave the tokenizer section out: a run that starts from a model uses that model's tokenizer.",
        )


def read_initial_weights(plan: Plan, workspace: Workspace) -> Weights:
    """The weights before the first step: those of the plan's start, verified, or random ones from the plan's seed.

    Raises NoGoodCheckpoint where the start's checkpoint is no longer kept, CheckpointDamaged, UnknownRef.
    """
    if plan.start is None:
        return build_initial_weights(plan.model, plan.seed, plan.training.init_scale)
    checkpoint = workspace.ledger.get(plan.start.source)
    run = workspace.ledger.get(checkpoint.run) if isinstance(checkpoint, Checkpoint) else None
    if not isinstance(checkpoint, Checkpoint) or not isinstance(run, Run):
        raise UnknownRef(
            f"The plan starts from {plan.start.source[:12]}, which is not a checkpoint of a run.",
            why=f"It is a {checkpoint.kind}.",
            next_step="Name a model: name@latest, a run's id, or RUN@STEP.",
        )
    path = checkpoint_path(workspace.find_run_folder(run.id).checkpoints_path, checkpoint.step)
    if not path.exists():
        raise NoGoodCheckpoint(
            f"The plan starts from step {checkpoint.step} of run {run.id[:12]}, which is no longer kept.",
            why=f"There is no {path}.",
            next_step="Start from a checkpoint that is there: trainwright runs show " + run.id[:12],
        )
    return read_weights(path, expected=checkpoint)
