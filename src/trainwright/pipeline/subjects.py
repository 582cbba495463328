"""Who is asked: a checkpoint of ours, what a run started from, or a model folder in the Hugging Face format as it came."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trainwright.backends.catalogue import choose_device
from trainwright.core.errors import InvalidValue
from trainwright.core.manifest import parse_manifest
from trainwright.core.records import Compute, ImportedShape, Rendering, Shape, Tokenizer
from trainwright.core.state import Weights
from trainwright.pipeline.imported import import_origin, is_model_folder, locate_base, read_model_weights
from trainwright.pipeline.prepare import Prepared
from trainwright.pipeline.rendering import TOKENIZERS_OWN, describe_rendering, open_template
from trainwright.pipeline.use import find_model
from trainwright.store.checkpoints import read_checkpoint
from trainwright.store.workspace import Workspace
from trainwright.tokens.tokenizer import open_tokenizer

MAX_WINDOW = 2048
"""Tokens of a text that a model made elsewhere reads at once, at most: its own limit is often far beyond any memory."""


@dataclass(frozen=True)
class Subject:
    """A model, how it is asked (`rendering` None: as a model of text), and where it computes.

    `checkpoint` names a checkpoint of ours, `base` a model that was made elsewhere, as it came. `window` is how many tokens of
    a text are measured at once.
    """

    shape: Shape
    tokenizer: Tokenizer
    rendering: Rendering | None
    compute: Compute
    window: int
    checkpoint: str | None
    base: str | None
    read_weights: Callable[[], Weights]


def find_subject(ref: str, workspace: Workspace, *, chat: bool = False) -> Subject:
    """The model that `ref` names; a folder is a model in the Hugging Face format, asked as text, or in its chat template.

    Raises what `find_model` and `open_model_folder` raise; InvalidValue for `chat` and a model of ours.
    """
    if is_model_folder(ref):
        return open_model_folder(Path(ref), workspace, chat=chat)
    if chat:
        raise InvalidValue(
            f"{ref} is a model of ours, and is asked as it was taught.",
            why="A chat template can be asked for where the model is a folder.",
            next_step="Leave out --chat.",
        )
    model = find_model(ref, workspace)
    shape, checkpoint = model.prepared.plan.model, read_checkpoint(model.path).record.id
    return _describe(model.prepared, shape, checkpoint, None, lambda: read_model_weights(shape, model.path, workspace))


def open_base(prepared: Prepared, workspace: Workspace) -> Subject | None:
    """The model made elsewhere that a plan starts from, without what was trained; None where it starts otherwise."""
    shape = prepared.plan.model
    if not isinstance(shape, ImportedShape) or prepared.plan.start is not None:
        return None
    bare = shape.model_copy(update={"adapter": None})
    return _describe(prepared, bare, None, shape.base, locate_base(shape, workspace).read)


def open_model_folder(folder: Path, workspace: Workspace, *, chat: bool = False) -> Subject:
    """A model folder, taken into the workspace as a run's start would be.

    It is asked as a model of text, or, with `chat`, in the template that its tokenizer carries. Raises what `import_origin`
    raises; TemplateUnreadable where it carries none.
    """
    origin = import_origin(parse_manifest(None, flags={"train.start": str(folder)}), workspace)
    shape = origin.shape
    if not isinstance(shape, ImportedShape):
        raise TypeError(f"a folder is taken in as an imported model, not as {type(shape).__name__}")
    device = choose_device("transformers", "auto")
    compute = Compute(framework="transformers", device=device, dtype="float32", compile=False, num_threads=1)
    longest = shape.config.get("max_position_embeddings")
    window = min(longest, MAX_WINDOW) if isinstance(longest, int) else MAX_WINDOW
    read = locate_base(shape, workspace).read
    rendering = _read_chat_rendering(origin.tokenizer, window, workspace) if chat else None
    return Subject(shape, origin.tokenizer, rendering, compute, window, None, shape.base, read)


def _read_chat_rendering(tokenizer: Tokenizer, max_tokens: int, workspace: Workspace) -> Rendering:
    opened = open_tokenizer(tokenizer, workspace.objects)
    with open_template(TOKENIZERS_OWN, tokenizer, opened, workspace.objects) as template:
        return describe_rendering(template, None, max_tokens, "drop")


def _describe(
    prepared: Prepared, shape: Shape, checkpoint: str | None, base: str | None, read_weights: Callable[[], Weights]
) -> Subject:
    plan = prepared.plan
    return Subject(
        shape=shape,
        tokenizer=prepared.tokenizer,
        rendering=prepared.token_set.rendering,
        compute=plan.compute.for_writing(),
        window=plan.training.max_seq_length,
        checkpoint=checkpoint,
        base=base,
        read_weights=read_weights,
    )
