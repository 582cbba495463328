"""Weights & Biases, offline unless WANDB_MODE says otherwise: a folder that `wandb sync` sends when somebody wants that.

W&B's own step may only grow, while a run's steps go back in a rollback. So its step is the number of the event, and every
chart is drawn over our `step`, which each row carries. A row that comes twice (after a kill, in a second offline folder) has
the same number, and the server keeps one.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from trainwright.watch.trackers.protocol import Histogram, Point, Subject, TrackerSettings


class WeightsAndBiases:
    """An open W&B run."""

    def __init__(self, run: Any, *, is_new: bool) -> None:
        self._run = run
        self.is_new = is_new
        run.define_metric("*", step_metric="step")

    @property
    def where(self) -> str:
        """The run's address, or the folder of an offline run."""
        return str(self._run.url or Path(self._run.dir).parent)

    def write(self, points: Sequence[Point]) -> None:
        """Hand the points over; W&B writes them when it likes."""
        for point in points:
            row: dict[str, Any] = {"step": point.step, **point.values}
            row |= {name: _histogram(drawn) for name, drawn in point.histograms.items()}
            row |= dict(point.texts)
            self._run.log(row, step=point.seq)

    def mark(self) -> None:
        """Nothing is safe before the run was closed."""

    def close(self, *, completed: bool) -> dict[str, Any]:
        """Wait until everything is written."""
        self._run.finish(exit_code=0 if completed else 1)
        return {}


def open_tracker(subject: Subject, settings: TrackerSettings, mark: dict[str, Any] | None) -> WeightsAndBiases:
    """A W&B run of that id in the project; an earlier process's part of it is gone on with."""
    server: dict[str, Any] = {} if settings.uri is None else {"base_url": settings.uri}
    run = wandb.init(
        project=settings.project,
        id=subject.run_id[:32],
        name=subject.title,
        config=dict(subject.plan),
        dir=settings.folder or str(subject.folder),
        mode=_read_mode(),
        resume="allow",
        settings=wandb.Settings(
            **server,
            console="off",
            disable_code=True,
            disable_git=True,
            init_timeout=60,
            silent=True,
            x_disable_meta=True,
            x_disable_stats=True,
        ),
    )
    return WeightsAndBiases(run, is_new=mark is None)


def _read_mode() -> Any:
    return os.environ.get("WANDB_MODE", "offline")


def _histogram(drawn: Histogram) -> Any:
    return wandb.Histogram(np_histogram=(np.array(drawn.counts), np.array(drawn.edges)))
