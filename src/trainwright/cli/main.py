"""The door: every command comes in here, and every error goes out here, in one shape with its exit code.

Verbs are imported when they are used, so that `trainwright --help` answers at once.
"""

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from trainwright import __version__
from trainwright.core.errors import InternalError, Interrupted, TrainwrightError, UsageError

VERBS = {
    "run": "Text to a trained, validated, reported model, in one command.",
    "plan": "Settle every number of a run and print it, without training.",
    "resume": "Go on with an interrupted run, exactly where it stood.",
    "train": "Go on from a checkpoint of another run, with other settings if wanted.",
    "sweep": "Try values of a manifest's keys, and rank what comes of them.",
    "runs": "List runs; show, watch, compare or track them.",
    "traces": "Import reasoning traces and conversations, and look at them.",
    "data": "Build dataset versions of traces, compare, export, check and forget.",
    "tokens": "Look at what a model is shown, token by token.",
    "generate": "Let a trained model write.",
    "evaluate": "Ask a model the items of a suite or an evalset, and score its answers.",
    "suites": "List the suites that come along; show what one asks.",
    "harness": "Put a task of lm-evaluation-harness to a model.",
    "scorers": "Train scorers on labelled texts, and look at them.",
    "compare": "Hold two evaluations against each other, item by item.",
    "release": "Ask the gates, promote, sign, verify, roll back, and see what stood where.",
    "models": "List models by name; show one, write its card.",
    "keys": "Make and show the keys that releases are signed with; trust others'.",
    "lineage": "Show what a record came from and what came of it.",
    "verify": "Compute a run, or a part of it, again, and compare.",
    "store": "Check everything in the workspace, or make its ledger again.",
    "export": "Write a model as a folder that other tools open.",
    "jobs": "Put manifests in line, and see how they stand.",
    "work": "Work off the jobs in line.",
    "serve": "Serve this workspace over HTTP.",
    "access": "Say who may use the service, and as what.",
    "audit": "Look at what was changed through the service, and check that nobody changed the log.",
    "costs": "Show what runs used and what that costs, so far and projected.",
    "budgets": "List what runs and projects may spend; set it.",
    "alerts": "List and acknowledge alerts, test a channel, watch the workspace.",
    "smoke": "Try a framework for real: train, kill, resume, verify, write.",
    "doctor": "Check whether this machine has what training needs.",
}


# typer carries its own copy of click in newer versions; these are the classes of the copy that it really uses.
_ClickUsageError: type[Exception] = typer.BadParameter.__bases__[0]


class LazyVerbs(TyperGroup):
    """Finds a verb's module when it is asked for; lists names and one-line helps without importing any."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class calls it so
        """Verbs in the order in which a person meets them."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base class calls it so
        """The verb, imported only where it is about to run (help on the group shows its one line without it)."""
        if cmd_name not in VERBS:
            return None
        if _is_listing():
            return TyperCommand(cmd_name, help=VERBS[cmd_name])
        command = typer.main.get_command(importlib.import_module(f"trainwright.cli.{cmd_name}").app)
        command.name, command.help = cmd_name, VERBS[cmd_name]
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line (and print the help where it asks for that)."""
        with _own_endings():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb."""
        with _own_endings():
            return super().invoke(ctx)


class _ReaderGoneError(Exception):
    """Nobody reads standard output any more."""


@contextmanager
def _own_endings() -> Iterator[None]:
    """Let Ctrl-C and a reader that went away leave as exceptions of ours: typer would end both in its own way."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped.",
            why="A stop was asked for.",
            next_step="Run the same command again (run with --resume): what was finished is reused.",
        ) from None
    except BrokenPipeError:
        raise _ReaderGoneError from None
    except SystemExit as left:
        if isinstance(left.__context__, BrokenPipeError):  # how Rich ends a process that nobody reads
            raise _ReaderGoneError from None
        raise


def _is_listing() -> bool:
    return len(sys.argv) < 2 or sys.argv[1] in ("--help", "-h")


app = typer.Typer(cls=LazyVerbs, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"trainwright {__version__}\n")
        raise typer.Exit


@app.callback()
def trainwright(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    """Text to a language model that can be re-derived and checked."""


def main() -> None:
    """Run one command and leave with its exit code. Every failure is one of ours by the time it gets here, or becomes one."""
    # Asked to end, leave as on Ctrl-C: temporary files removed, the run resumable. Training has handlers of its own.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = _answer("--json" in sys.argv)
        sys.stdout.flush()
    except (_ReaderGoneError, BrokenPipeError):
        _silence_stdout()
        code = 128 + signal.SIGPIPE
    sys.exit(code)


def _answer(as_json: bool) -> int:
    try:
        result = app(prog_name="trainwright", standalone_mode=False)
        code = result if isinstance(result, int) else 0
    except typer.Exit as error:
        code = error.exit_code
    except _ClickUsageError as error:
        code = _fail(_translate_usage(error), as_json)
    except KeyboardInterrupt:  # before a verb was reached
        code = _fail(Interrupted("Stopped."), as_json)
    except _ReaderGoneError:
        raise
    except TrainwrightError as error:
        code = _fail(error, as_json)
    except Exception as error:  # noqa: BLE001 - the one door where every fault becomes one of ours
        traceback.print_exc()
        code = _fail(
            InternalError(
                f"{type(error).__name__}: {error}",
                why="This is a fault of ours.",
                next_step="Please report the lines above.",
            ),
            as_json,
        )
    return code


def _translate_usage(error: Any) -> UsageError:
    command = error.ctx.command_path if error.ctx else "trainwright"
    return UsageError(error.format_message() or "A command is missing.", next_step=f"{command} --help")


def _fail(error: TrainwrightError, as_json: bool) -> int:
    """Say what went wrong: a person reads standard error, a program the JSON document on standard output."""
    if as_json:
        sys.stdout.write(json.dumps({"error": error.as_document()}, indent=2, ensure_ascii=False) + "\n")
    sys.stderr.write(_render(error))
    return error.exit_code


def _render(error: TrainwrightError) -> str:
    lines = [f"error[{error.name}]: {error.message}"]
    if error.why:
        lines.append(f"  why:  {error.why}")
    if error.next_step:
        lines.append(f"  next: {error.next_step}")
    return "\n".join(lines) + "\n"


def _silence_stdout() -> None:
    """A reader that went away (`| head`) is no fault; keep Python from complaining about it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
