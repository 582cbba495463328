"""What a person sees while a run goes on: a live display on a terminal, plain lines in a log, on standard error.

    with ConsoleProgress(make_console()) as progress:
        progress.start_phase("data"); …; progress.finish_phase("data", "reused", elapsed_s=0.1)
        with EventLog.open(path, keep, sinks=[progress]) as log: …

The display has no thread of its own: it is redrawn while events arrive, at most four times a second, so it takes
nothing from the training beside it. When standard error goes away (a closed terminal, a pipe that ended) the display
falls silent, and the run goes on.
"""

import contextlib
import itertools
import math
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TextIO

from trainwright.watch.events import Event, is_finite_number

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.text import Text

REDRAW_EVERY_S = 0.25
LOG_EVERY_S = 5.0
SPARKLINE_WIDTH = 40
PHASE_WIDTH = 14

SPARK_BLOCKS = "▁▂▃▄▅▆▇█"
SPARK_LETTERS = "_.-~=+*#"
"""The same eight heights for a terminal whose encoding is not Unicode."""

PHASE_MARKS = {
    "completed": ("✓", "ok", "green"),
    "reused": ("↺", "reused", "cyan"),
    "skipped": ("–", "skipped", "dim"),
    "failed": ("✗", "FAILED", "red"),
    "interrupted": ("!", "stopped", "yellow"),
}
"""Status → (mark, word where marks cannot be shown, style)."""


ALWAYS_SAID = frozenset({"run-started", "skip", "rollback", "anatomy", "early-stop", "run-finished"})
"""Kinds whose line stays above the live display too."""


def make_console(file: TextIO | None = None) -> "Console":
    """A Rich console on `file` (standard error by default). NO_COLOR, FORCE_COLOR and TERM=dumb are respected.

    It is interactive only where `file` really is a terminal: FORCE_COLOR asks for colours in a log, not for a display
    that redraws itself there.
    """
    from rich.console import Console

    class EnduringConsole(Console):
        """Rich ends the process when its pipe breaks; a training run must not end for that."""

        def on_broken_pipe(self) -> None:
            self.quiet = True

    target = sys.stderr if file is None else file
    return EnduringConsole(
        file=target, force_interactive=None if target.isatty() else False, highlight=False, emoji=False, markup=False
    )


def render_sparkline(values: Sequence[float], width: int, blocks: str = SPARK_BLOCKS) -> str:
    """`values` as at most `width` characters, lowest to highest of `blocks`; each character is the mean of its share.

    A value that is not finite makes its character "×"; equal values are drawn at the lowest height; nothing gives "".
    """
    num_columns = min(width, len(values))
    if num_columns < 1:
        return ""
    edges = [index * len(values) // num_columns for index in range(num_columns + 1)]
    columns = [sum(values[start:stop]) / (stop - start) for start, stop in itertools.pairwise(edges)]
    finite = [column for column in columns if math.isfinite(column)]
    low = min(finite, default=0.0)
    span = max(finite, default=0.0) - low
    return "".join(_block(column, low, span, blocks) for column in columns)


def _block(value: float, low: float, span: float, blocks: str) -> str:
    if not math.isfinite(value):
        return "×"
    return blocks[min(len(blocks) - 1, int((value - low) / span * len(blocks)))] if span > 0 else blocks[0]


def render_duration(seconds: float) -> str:
    """Seconds as people read them: 0.4 s, 12 s, 3:05, 1:02:03."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes == 0:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def strip_controls(text: str) -> str:
    """`text` on one line, with control characters made visible: what a model writes must not steer the terminal."""
    return "".join(_shown(character) for character in " ".join(text.split()))


def _shown(character: str) -> str:
    code = ord(character)
    return "�" if code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000 else character


@dataclass
class _LossHistory:
    """The whole run's losses in bounded memory: when full, neighbours are merged into their mean."""

    capacity: int = 512
    means: list[float] = field(default_factory=list)
    _last_steps: list[int] = field(default_factory=list)
    _stride: int = 1
    _pending: list[float] = field(default_factory=list)

    def add(self, step: int, loss: float) -> None:
        self._pending.append(loss)
        if len(self._pending) < self._stride:
            return
        self.means.append(sum(self._pending) / len(self._pending))
        self._last_steps.append(step)
        self._pending.clear()
        if len(self.means) >= self.capacity:
            self.means = [(left + right) / 2 for left, right in zip(self.means[::2], self.means[1::2], strict=True)]
            self._last_steps = self._last_steps[1::2]
            self._stride *= 2

    def go_back(self, to_step: int) -> None:
        """Forget what a rollback undid."""
        self._pending.clear()
        while self._last_steps and self._last_steps[-1] > to_step:
            self._last_steps.pop()
            self.means.pop()


@dataclass
class _Pace:
    """How long is left, judged by the steps this process has seen: compilation and earlier processes do not count."""

    clock: Callable[[], float]
    _first: tuple[int, float] | None = None

    def see(self, step: int) -> None:
        if self._first is None:
            self._first = (step, self.clock())

    def left_s(self, step: int, num_steps: int) -> float | None:
        """Seconds until `num_steps`, or None before a second step was seen."""
        if self._first is None or step <= self._first[0]:
            return None
        first_step, first_s = self._first
        return (self.clock() - first_s) / (step - first_step) * (num_steps - step)

    def go_back(self) -> None:
        """After a rollback, the pace is that of the steps from there on."""
        self._first = None


class ConsoleProgress:
    """A sink that shows a run, and the voice of the pipeline's phases. A context manager: leaving it ends the display.

    `quiet` says nothing at all; without `live` it is plain lines even on a terminal. `every_s` is the pause between two
    step lines in a log. `clock` is monotonic seconds.
    """

    def __init__(
        self,
        console: "Console",
        *,
        quiet: bool = False,
        live: bool = True,
        every_s: float = LOG_EVERY_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console = console
        self._is_quiet = quiet
        self._is_live = live and console.is_interactive and not quiet
        self._every_s = every_s
        self._clock = clock
        self._live: Live | None = None
        self._is_unicode = not console.options.ascii_only
        self._next_s = -math.inf
        self._phase = ""
        self._num_steps: int | None = None
        self._pace = _Pace(clock)
        self._losses = _LossHistory()
        self._step: Event | None = None
        self._validation: Event | None = None
        self._sample: Event | None = None
        self._counted = ""

    def __enter__(self) -> Self:
        if self._is_live:
            from rich.live import Live

            # Standard output is left alone: it may carry JSON for a program.
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._guarded(self._live.start)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._guarded(self._live.stop)
            self._live = None

    def announce(self, text: str) -> None:
        """Say one line, above the live display where there is one."""
        self._say(strip_controls(text))

    def start_phase(self, name: str) -> None:
        """A phase begins: named in the live display, or as a line of a log."""
        self._phase, self._counted = name, ""
        if self._live is None:
            self._say(f"{name} …" if self._is_unicode else f"{name} ...")
        self._redraw(force=True)

    def finish_phase(self, name: str, status: str, elapsed_s: float | None, detail: str = "") -> None:
        """A phase ended: its mark, name, status, time, and `detail` (what came of it) on one line that stays."""
        from rich.text import Text

        mark, word, style = PHASE_MARKS.get(status, ("?", status, "yellow"))
        text = Text(f"{mark} " if self._is_unicode else f"{word:<8}", style=style)
        text.append(f"{name:<{PHASE_WIDTH}}", style="bold")
        text.append(f"{'' if elapsed_s is None else render_duration(elapsed_s):>8}", style="dim")
        words = ", ".join(filter(None, ["" if status == "completed" else status, strip_controls(detail)]))
        text.append(f"  {words}" if words else "")
        self._phase = "" if self._phase == name else self._phase
        self._say(text)
        self._redraw(force=True)

    def show_progress(self, what: str, done: int, total: int | None) -> None:
        """Something countable inside a phase went on: shown in the live display, and now and then in a log."""
        share = f" of {total:,}" if total else ""
        self._counted = f"{what} {done:,}{share}"
        if self._live is None and self._clock() >= self._next_s:
            self._next_s = self._clock() + self._every_s
            self._say(strip_controls(self._counted))
        self._redraw(force=False)

    def catch_up(self, events: Iterable[Event]) -> None:
        """Take in what an earlier process did, silently: the display of a resumed run starts where that one stopped."""
        for event in events:
            self._remember(event)

    def emit(self, event: Event) -> None:
        """Show one event of the run."""
        if self._is_quiet:
            return
        self._remember(event)
        if event["kind"] == "step":
            self._pace.see(event["step"])
            self._show_step()
        elif event["kind"] == "phase":
            self._show_phase(event)
        elif self._live is None or event["kind"] in ALWAYS_SAID:
            self._say_event(event)
        self._redraw(force=event["kind"] != "step")

    def _remember(self, event: Event) -> None:
        kind = event["kind"]
        if kind == "run-started":
            self._num_steps = event["num_steps"]
            # Another run may have been shown before this one.
            self._pace, self._losses = _Pace(self._clock), _LossHistory()
            self._step = self._validation = self._sample = None
        elif kind == "step":
            self._step = event
            self._losses.add(event["step"], event["loss"])
        elif kind == "rollback":
            self._losses.go_back(event["to_step"])
            self._pace.go_back()
        elif kind == "validation":
            self._validation = event
        elif kind == "sample":
            self._sample = event

    def _show_step(self) -> None:
        now_s = self._clock()
        if self._live is None and now_s >= self._next_s and self._step is not None:
            self._next_s = now_s + self._every_s
            self._say("  ".join(self._describe_step(self._step)))

    def _show_phase(self, event: Event) -> None:
        if event["status"] == "started":
            self.start_phase(event["name"])
        else:
            self.finish_phase(event["name"], event["status"], event["timing"].get("elapsed_s"))

    def _say_event(self, event: Event) -> None:
        line = _describe(event)
        if event["kind"] == "run-finished":
            line += self._describe_end()
        if line:
            self._say(line)
        if event["kind"] == "run-finished" and self._live is not None:
            self._say(self._describe_sample())
            self._step = None  # the live panel has nothing more to tell

    def _describe_step(self, step: Event) -> list[str]:
        left_s = None if self._num_steps is None else self._pace.left_s(step["step"], self._num_steps)
        total = "" if self._num_steps is None else f"/{self._num_steps:,}"
        return [
            f"step {step['step']:,}{total}",
            f"epoch {step['epoch']:.2f}",
            f"loss {step['loss']:.3f}",
            f"lr {step['learning_rate']:.1e}",
            f"gradient {step['gradient_norm']:.2f}",
            *_describe_speed(step),
            *([] if left_s is None else [f"{render_duration(left_s)} left"]),
        ]

    def _describe_end(self) -> str:
        spark = render_sparkline(self._losses.means, SPARKLINE_WIDTH, self._blocks)
        losses = [] if self._step is None else [f"loss {self._step['loss']:.3f}"]
        return "".join(f"  {part}" for part in [*losses, *_describe_validation(self._validation), spark] if part)

    def _describe_sample(self) -> str:
        return _describe(self._sample) if self._sample is not None else "no sample was written"

    @property
    def _blocks(self) -> str:
        return SPARK_BLOCKS if self._is_unicode else SPARK_LETTERS

    def _say(self, line: "str | Text") -> None:
        if not self._is_quiet:
            self._guarded(lambda: self._console.print(line, soft_wrap=True))

    def _redraw(self, *, force: bool) -> None:
        live = self._live
        if live is None or (not force and self._clock() < self._next_s):
            return
        self._next_s = self._clock() + REDRAW_EVERY_S
        self._guarded(lambda: live.update(self._render(), refresh=True))

    def _guarded(self, write: Callable[[], Any]) -> None:
        """Write to the terminal; where it is gone, fall silent for good."""
        try:
            write()
        except (OSError, UnicodeError) as error:
            self._fall_silent(error)
        except ValueError as error:
            if "closed file" not in str(error):  # the only word Python gives for a stream that someone closed
                raise
            self._fall_silent(error)

    def _fall_silent(self, error: Exception) -> None:
        self._is_quiet = True
        self._console.quiet = True
        self._live = None
        with contextlib.suppress(OSError, ValueError):
            print(f"warning: the progress display stopped ({error}); the run goes on", file=sys.stderr)

    def _render(self) -> "RenderableType":
        """The live display: what phase it is, and below it the training, as far as it is known."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = []
        if self._phase:
            parts.append(Text.assemble(("· ", "cyan"), (self._phase, "bold"), f"  {strip_controls(self._counted)}"))
        if self._step is not None and self._num_steps is not None:
            parts += self._render_training(self._step, self._num_steps)
        return Group(*parts)

    def _render_training(self, step: Event, num_steps: int) -> "list[RenderableType]":
        from rich.text import Text

        spark = render_sparkline(self._losses.means, SPARKLINE_WIDTH, self._blocks)
        numbers = [f"loss {step['loss']:.3f}", *_describe_validation(self._validation)]
        numbers += [f"lr {step['learning_rate']:.1e}", *_describe_speed(step)]
        parts: list[RenderableType] = [
            self._render_bar(step, num_steps),
            Text("  " + "  ".join(numbers)),
            Text.assemble("  ", (spark, "blue"), ("  training loss", "dim")),
        ]
        if self._sample is not None:
            written = strip_controls(self._sample["prompt"] + self._sample["text"])
            sample = Text.assemble("  ", (written, "italic dim"))
            sample.truncate(2 * self._console.width - 4, overflow="ellipsis")
            parts.append(sample)
        return parts

    def _render_bar(self, step: Event, num_steps: int) -> "RenderableType":
        from rich.progress_bar import ProgressBar
        from rich.table import Table

        left_s = self._pace.left_s(step["step"], num_steps)
        row = Table.grid(padding=(0, 1))
        row.add_row(
            " ",
            ProgressBar(
                total=num_steps,
                completed=step["step"],
                width=max(10, min(40, self._console.width - 48)),
                complete_style="cyan",
                finished_style="green",
            ),
            f"{step['step'] / num_steps:.0%}",
            f"step {step['step']:,}/{num_steps:,}",
            f"epoch {step['epoch']:.2f}",
            "" if left_s is None else f"{render_duration(left_s)} left",
        )
        return row


def _describe(event: Event) -> str:
    """A line of the log for an event that is no step; "" for a kind that says nothing there."""
    kind = event["kind"]
    if kind == "run-started":
        return f"plan {event['plan'][:12]}: {event['num_parameters']:,} weights, {event['num_steps']:,} steps"
    if kind == "validation":
        parts = [f"validation at step {event['step']:,}", *_describe_validation(event)]
        return "  ".join([*parts, f"perplexity {event['perplexity']:.2f}", f"accuracy {event['accuracy']:.1%}"])
    if kind == "checkpoint":
        best = ", best so far" if event["best"] else ""
        return f"checkpoint at step {event['step']:,}{best}"
    if kind == "sample":
        return f"sample at step {event['step']:,}: {strip_controls(event['prompt'] + event['text'])}"
    if kind in ("skip", "rollback"):
        return describe_trouble(event)
    if kind == "anatomy" and event["flags"]:
        return f"gradients at step {event['step']:,}: {', '.join(event['flags'])}"
    if kind == "early-stop":
        return f"stopped early at step {event['step']:,}: {event['metric']} no longer improves"
    if kind == "run-finished":
        return f"run {event['status']} at step {event['step']:,}"
    return ""


SKIP_REASONS = {
    "not-finite": "its loss or gradient is not finite",
    "loss-outlier": "its loss is an outlier",
    "gradient-outlier": "its gradient is an outlier",
    "barred": "a rollback barred it",
}


def describe_trouble(event: Event) -> str:
    """A skip or a rollback in one line."""
    if event["kind"] == "rollback":
        factor = f"{event['rate_factor']:g} of the planned rates"
        return f"rolled back from step {event['step']:,} to {event['to_step']:,}; going on with {factor}"
    line = f"step {event['step']:,} skipped: {SKIP_REASONS.get(event['reason'], event['reason'])}"
    if event["loss"] is None:
        return line
    limit = "" if event["limit"] is None else f", limit {event['limit']:.4g}"
    return f"{line} (loss {event['loss']:.4g}, gradient {event['gradient_norm']:.4g}{limit})"


def _describe_validation(validation: Event | None) -> list[str]:
    if validation is None:
        return []
    return [f"val loss {validation['val_loss']:.3f}", f"{validation['bits_per_byte']:.3f} bits/byte"]


def _describe_speed(step: Event) -> list[str]:
    tokens_per_s = step["timing"].get("tokens_per_s")
    return [f"{tokens_per_s:,.0f} tokens/s"] if is_finite_number(tokens_per_s) else []
