"""`trainwright release`: what stands at a stage, and what proves it."""

import typer

from trainwright.cli import release_trust

app = typer.Typer(add_completion=False, no_args_is_help=True)
release_trust.register(app)
