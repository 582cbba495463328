"""TensorBoard: one event file per run, written with TensorBoard's own record writer (no TensorFlow, no torch).

The file is ours alone, so a process that goes on cuts it back to the size that was safe when the one before it ended, and
appends. After a rollback a session marker tells TensorBoard to forget the steps that were undone.
"""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event as TensorBoardEvent
from tensorboard.compat.proto.event_pb2 import SessionLog
from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from trainwright.core.durable import sync_folder
from trainwright.watch.trackers.points import describe_plan
from trainwright.watch.trackers.protocol import Histogram, Point, Subject, TrackerSettings

FILE = "events.out.tfevents.trainwright"


class TensorBoard:
    """An open event file."""

    def __init__(self, path: Path, num_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.is_new = num_bytes == 0
        self._file = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(num_bytes)
        self._file.seek(num_bytes)
        self._writer = RecordWriter(self._file)
        sync_folder(path.parent)

    @property
    def where(self) -> str:
        """The folder to give to `tensorboard --logdir`."""
        return str(self._path.parent)

    def greet(self, subject: Subject, at_s: float) -> None:
        """Begin a new file: the format's version, then the plan as text."""
        self._append(TensorBoardEvent(wall_time=at_s, file_version="brain.Event:2"))
        self._append(
            TensorBoardEvent(wall_time=at_s, summary=Summary(value=[_text("plan", describe_plan(subject.plan))]))
        )

    def write(self, points: Sequence[Point]) -> None:
        """Append the points and bring them to the disk."""
        for point in points:
            if point.undone_from is not None:
                marker = SessionLog(status=SessionLog.START)
                self._append(TensorBoardEvent(wall_time=point.at_s, step=point.undone_from, session_log=marker))
            if values := _summarise(point):
                event = TensorBoardEvent(wall_time=point.at_s, step=point.step, summary=Summary(value=values))
                self._append(event)
        self._sync()

    def mark(self) -> dict[str, Any]:
        """The size of the file, all of which is safe."""
        return {"num_bytes": self._file.tell()}

    def close(self, *, completed: bool) -> dict[str, Any]:  # noqa: ARG002 - TensorBoard has no word for how a run ended
        """Close the file."""
        self._sync()
        mark = self.mark()
        self._file.close()
        return mark

    def _append(self, event: TensorBoardEvent) -> None:
        self._writer.write(event.SerializeToString())

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())


def open_tracker(subject: Subject, settings: TrackerSettings, mark: dict[str, Any] | None) -> TensorBoard:
    """The run's file below `settings.folder`, in a folder named after the run, or else inside the run folder."""
    folder = subject.folder / "tensorboard" if settings.folder is None else Path(settings.folder) / subject.title
    path = folder / FILE
    num_bytes = 0 if mark is None or not path.exists() else int(mark["num_bytes"])
    board = TensorBoard(path, num_bytes)
    if board.is_new:
        board.greet(subject, datetime.fromisoformat(subject.started_at).timestamp())
    return board


def _summarise(point: Point) -> list[Summary.Value]:
    scalars = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
    histograms = [Summary.Value(tag=name, histo=_histogram(drawn)) for name, drawn in point.histograms.items()]
    return scalars + histograms + [_text(name, text) for name, text in point.texts.items()]


def _histogram(drawn: Histogram) -> HistogramProto:
    """TensorBoard asks for moments that buckets do not tell; they are taken from the middles of the buckets."""
    middles = [(low + high) / 2 for low, high in zip(drawn.edges, drawn.edges[1:], strict=False)]
    pairs = list(zip(middles, drawn.counts, strict=True))
    return HistogramProto(
        min=drawn.edges[0],
        max=drawn.edges[-1],
        num=sum(drawn.counts),
        sum=sum(middle * count for middle, count in pairs),
        sum_squares=sum(middle * middle * count for middle, count in pairs),
        bucket_limit=drawn.edges[1:],
        bucket=drawn.counts,
    )


def _text(tag: str, text: str) -> Summary.Value:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[text.encode("utf-8", "replace")],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    return Summary.Value(tag=tag, metadata=metadata, tensor=tensor)
