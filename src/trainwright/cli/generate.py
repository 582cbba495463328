"""`trainwright generate`: let a trained model write."""

import sys
import time
from typing import Annotated

import typer

from trainwright.cli.options import Json, WorkspacePath, print_json, workspace_root

app = typer.Typer(add_completion=False)


@app.command()
def generate(
    ref: Annotated[str, typer.Argument(help="name@latest, a run's id, RUN@STEP, or a checkpoint's id.")],
    prompt: Annotated[str, typer.Argument(help="The text to go on from.")] = "",
    max_tokens: Annotated[int, typer.Option("--max-tokens", min=1, max=100_000, help="Tokens at most.")] = 200,
    temperature: Annotated[
        float, typer.Option("--temperature", min=0, max=10, help="0 takes the likeliest token.")
    ] = 0.8,
    top_k: Annotated[int, typer.Option("--top-k", min=0, help="Draw among the k likeliest; 0: among all.")] = 0,
    top_p: Annotated[
        float, typer.Option("--top-p", min=0.0, max=1.0, help="Draw within this much probability.")
    ] = 0.95,
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Equal seeds give equal text. Default: by the plan.", show_default=False),
    ] = None,
    workspace: WorkspacePath = None,
    as_json: Json = False,
) -> None:
    """Stream what the model writes after the prompt."""
    from trainwright.evaluate.generation import Decoding
    from trainwright.pipeline.use import default_seed, find_model
    from trainwright.pipeline.use import generate as iter_text
    from trainwright.store.workspace import open_workspace

    opened = open_workspace(workspace_root(workspace))
    model = find_model(ref, opened)
    decoding = Decoding(max_tokens, temperature, top_k, top_p, default_seed(model) if seed is None else seed)
    begun = time.perf_counter()
    pieces = []
    if not as_json:
        sys.stdout.write(prompt)
    for piece in iter_text(model, prompt, decoding, opened):
        pieces.append(piece)
        if not as_json:
            sys.stdout.write(piece)
            sys.stdout.flush()
    if as_json:
        print_json(
            {
                "run_id": model.run.id,
                "step": model.step,
                "prompt": prompt,
                "text": "".join(pieces),
                "seed": decoding.seed,
                "elapsed_s": time.perf_counter() - begun,
            }
        )
    else:
        sys.stdout.write("\n")
