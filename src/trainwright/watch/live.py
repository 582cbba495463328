"""Watching a run from another terminal: what is known of it so far, and the display that shows it."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from trainwright.watch.curves import Chart, find_newest_anatomy
from trainwright.watch.events import Event, is_finite_number, leave_out_undone
from trainwright.watch.plots import read_curve, smooth_curve
from trainwright.watch.progress import REDRAW_EVERY_S, ConsoleProgress, render_duration, strip_controls
from trainwright.watch.views import describe_setback, draw_chart, render_layers

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

PACE_STEPS = 50
"""How many of the last steps tell how long the rest will take."""

FRAME_LINES = 22
"""Lines that are not the chart, where everything is shown."""


class Viewer(Protocol):
    """Someone who is shown a run while it is read."""

    so_far: "RunSoFar"

    def take(self, events: list[Event]) -> None:
        """Show what came."""

    def start_over(self) -> None:
        """The stream was cut back by a resume: forget it, it comes again from its beginning."""


@dataclass
class RunSoFar:
    """What a run has said, with what a rollback undid left out."""

    events: list[Event] = field(default_factory=list)
    num_steps: int | None = None
    num_skips: int = 0
    num_rollbacks: int = 0
    status: str = ""
    _newest: dict[str, Event] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Take one event."""
        kind = event["kind"]
        self.events.append(event)
        self._newest[kind] = event
        if kind == "run-started":
            self.num_steps = event["num_steps"]
        elif kind == "skip":
            self.num_skips += 1
        elif kind == "rollback":
            self.num_rollbacks += 1
            self.events = leave_out_undone(self.events)
        elif kind == "run-finished":
            self.status = event["status"]

    def newest(self, kind: str) -> Event | None:
        """The last event of a kind."""
        return self._newest.get(kind)

    def left_s(self) -> float | None:
        """Seconds until the last step, by the pace of the last steps on the run's own clock; None where that is unknown."""
        steps = [event for event in self.events[-4 * PACE_STEPS :] if event["kind"] == "step"][-PACE_STEPS:]
        if self.num_steps is None or len(steps) < 2:
            return None
        first, last = steps[0], steps[-1]
        passed_s: float = last["timing"].get("elapsed_s", math.nan) - first["timing"].get("elapsed_s", math.nan)
        num_done = last["step"] - first["step"]
        if not passed_s > 0 or num_done <= 0:  # a resume began the clock anew between the two
            return None
        return float(passed_s / num_done * (self.num_steps - last["step"]))

    def as_document(self) -> dict[str, Any]:
        """The newest numbers, None where there is none yet."""
        step, validation = self.newest("step") or {}, self.newest("validation") or {}
        numbers = {key: step.get(key) for key in ("epoch", "loss", "learning_rate", "gradient_norm")}
        timing = step.get("timing", {})
        return {
            **numbers,
            "tokens_per_s": timing.get("tokens_per_s"),
            "val_loss": validation.get("val_loss"),
            "num_skips": self.num_skips,
            "num_rollbacks": self.num_rollbacks,
        }


class LineViewer:
    """Plain lines, as a log has them."""

    def __init__(self, console: "Console") -> None:
        self.so_far = RunSoFar()
        self._progress = ConsoleProgress(console, live=False)

    def take(self, events: list[Event]) -> None:
        """Say what the log of the run would say."""
        for event in events:
            self.so_far.add(event)
            self._progress.emit(event)

    def start_over(self) -> None:
        """Say that the run was resumed."""
        self.so_far = RunSoFar()
        self._progress.announce("the run was resumed from an earlier checkpoint")


class LiveViewer:
    """A display that redraws itself: progress, numbers, the loss, the layers, the last sample."""

    def __init__(self, console: "Console", title: str, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.live import Live

        self.so_far = RunSoFar()
        self._console, self._title, self._clock = console, title, clock
        self._live = Live(console=console, auto_refresh=False)
        self._next_s, self._is_stale = -math.inf, True

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def take(self, events: list[Event]) -> None:
        """Draw the run as it is now."""
        for event in events:
            self.so_far.add(event)
        self._is_stale = self._is_stale or bool(events)
        # While it catches up there is more to read than to see; nothing new to read is when there is time to draw.
        if self._is_stale and (not events or self._clock() >= self._next_s):
            self._next_s, self._is_stale = self._clock() + REDRAW_EVERY_S, False
            self._live.update(render_run(self.so_far, self._title, self._console), refresh=True)

    def start_over(self) -> None:
        """Forget what was read."""
        self.so_far = RunSoFar()


def render_run(so_far: RunSoFar, title: str, console: "Console") -> "RenderableType":
    """The whole display, cut to the height of the console: the chart takes what the rest leaves."""
    from rich.console import Group
    from rich.text import Text

    head = Text.assemble((title, "bold"), f"  {so_far.status or 'no event yet'}" if not so_far.events else "")
    parts: list[RenderableType] = [head]
    if so_far.newest("step") is not None:
        parts += [_render_bar(so_far, console), _render_numbers(so_far)]
    is_tall = console.height >= FRAME_LINES + 8
    parts.append(draw_chart(_loss_chart(so_far.events), console, min(14, max(5, console.height - FRAME_LINES))))
    if is_tall and find_newest_anatomy(so_far.events[-2000:]) is not None:
        parts += [render_layers(so_far.events[-20000:], console), Text("")]
    parts += [_render_sample(so_far, console), *_render_setbacks(so_far)]
    return Group(*parts)


def _loss_chart(events: Iterable[Event]) -> Chart:
    events = list(events)
    train = read_curve([event for event in events if event["kind"] == "step"], "loss")
    validation = read_curve([event for event in events if event["kind"] == "validation"], "val_loss")
    curves = {"training": train, "smoothed": smooth_curve(train), "validation": validation}
    return Chart("loss", "loss, nats per token", curves)


def _render_bar(so_far: RunSoFar, console: "Console") -> "RenderableType":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    step = so_far.newest("step") or {"step": 0, "epoch": 0.0}
    total = so_far.num_steps or step["step"]
    left_s = so_far.left_s()
    row = Table.grid(padding=(0, 1))
    row.add_row(
        ProgressBar(total=total, completed=step["step"], width=max(10, min(40, console.width - 48))),
        f"{step['step'] / max(1, total):.0%}",
        f"step {step['step']:,}/{total:,}",
        f"epoch {step['epoch']:.2f}",
        so_far.status or ("" if left_s is None else f"{render_duration(left_s)} left"),
    )
    return row


def _render_numbers(so_far: RunSoFar) -> "RenderableType":
    from rich.table import Table

    step, validation = so_far.newest("step") or {}, so_far.newest("validation") or {}
    numbers = {
        "loss": (step.get("loss"), ".3f"),
        "val loss": (validation.get("val_loss"), ".3f"),
        "bits/byte": (validation.get("bits_per_byte"), ".3f"),
        "gradient": (step.get("gradient_norm"), ".2f"),
        "rate": (step.get("learning_rate"), ".1e"),
        "tokens/s": (step.get("timing", {}).get("tokens_per_s"), ",.0f"),
    }
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    for name in numbers:
        table.add_column(name, justify="right")
    table.add_row(*(format(value, form) if is_finite_number(value) else "–" for value, form in numbers.values()))
    return table


def _render_sample(so_far: RunSoFar, console: "Console") -> "RenderableType":
    from rich.text import Text

    sample = so_far.newest("sample")
    if sample is None:
        return Text("")
    text = Text(strip_controls(sample["prompt"] + sample["text"]), style="italic dim")
    text.truncate(2 * console.width - 4, overflow="ellipsis")
    return text


def _render_setbacks(so_far: RunSoFar) -> "list[RenderableType]":
    from rich.text import Text

    setbacks = [event for event in so_far.events if event["kind"] in ("skip", "rollback")]
    if not setbacks:
        return []
    counts = f"{so_far.num_skips} skipped, {so_far.num_rollbacks} rolled back; last: "
    return [Text(counts + describe_setback(setbacks[-1]), style="yellow")]
