"""MLflow: a run on a tracking server, its metrics sent in batches.

The server keeps what it is sent, so a process that goes on asks it first what the one before it had sent last. After a
rollback a step has two values; the later one has the later time.
"""

import os
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# A server that is away for half a minute is waited for. After that this tracker ends, and says so.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

from trainwright.watch.trackers.protocol import Point, Subject, TrackerSettings, flatten

DEFAULT_URI = "http://127.0.0.1:5000"
MAX_METRICS = 1000
MAX_PARAMS = 100
MAX_PARAM_CHARACTERS = 6000
"""What MLflow takes in one request, and as one value."""

RUN_TAG = "trainwright.run_id"


class MLflow:
    """A run on a server."""

    def __init__(self, client: MlflowClient, uri: str, experiment_id: str, run_id: str, *, is_new: bool) -> None:
        self._client = client
        self._run_id = run_id
        self.is_new = is_new
        self._may_be_there = not is_new
        self.where = f"{uri.rstrip('/')}/#/experiments/{experiment_id}/runs/{run_id}"

    def write(self, points: Sequence[Point]) -> None:
        """Send numbers in batches and texts as artefacts."""
        metrics = list(_iter_metrics(points))
        if self._may_be_there:
            metrics = self._leave_out_known(metrics)
            self._may_be_there = False
        for batch in _iter_batches(metrics, MAX_METRICS):
            self._client.log_batch(self._run_id, metrics=batch)
        for point in points:
            for name, text in point.texts.items():
                self._client.log_text(self._run_id, text, f"{name.partition('/')[0]}/{point.step:08}-{point.seq}.txt")

    def mark(self) -> dict[str, Any]:
        """The run on the server; what was sent is there."""
        return {"mlflow_run_id": self._run_id}

    def close(self, *, completed: bool) -> dict[str, Any]:
        """Say how the run ended."""
        self._client.set_terminated(self._run_id, status="FINISHED" if completed else "KILLED")
        return self.mark()

    def _leave_out_known(self, metrics: list[Metric]) -> list[Metric]:
        """The first points may have arrived just before the process that sent them was killed."""
        known = {
            (metric.key, metric.step, metric.timestamp)
            for key in {metric.key for metric in metrics}
            for metric in self._client.get_metric_history(self._run_id, key)
        }
        return [metric for metric in metrics if (metric.key, metric.step, metric.timestamp) not in known]


def open_tracker(subject: Subject, settings: TrackerSettings, mark: dict[str, Any] | None) -> MLflow:  # noqa: ARG001 - the server itself knows
    """The run on the server at `settings.uri` (or MLFLOW_TRACKING_URI), in the experiment named as the project."""
    uri = settings.uri or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(settings.project)
    experiment_id = client.create_experiment(settings.project) if experiment is None else experiment.experiment_id
    known = _find_run(client, experiment_id, subject)
    if known is not None:
        client.update_run(known, status="RUNNING")
        return MLflow(client, uri, experiment_id, known, is_new=False)
    run_id = _create_run(client, experiment_id, subject)
    return MLflow(client, uri, experiment_id, run_id, is_new=True)


def _find_run(client: MlflowClient, experiment_id: str, subject: Subject) -> str | None:
    found = client.search_runs([experiment_id], f"tags.`{RUN_TAG}` = '{subject.run_id}'", max_results=1)
    return str(found[0].info.run_id) if found else None


def _create_run(client: MlflowClient, experiment_id: str, subject: Subject) -> str:
    start_ms = int(datetime.fromisoformat(subject.started_at).timestamp() * 1000)
    run = client.create_run(experiment_id, start_time=start_ms, run_name=subject.title)
    params = [Param(key, str(value)[:MAX_PARAM_CHARACTERS]) for key, value in flatten(subject.plan).items()]
    for batch in _iter_batches(params, MAX_PARAMS):
        client.log_batch(run.info.run_id, params=batch)
    client.log_batch(run.info.run_id, tags=[RunTag(RUN_TAG, subject.run_id)])  # last: a run without it is begun anew
    return str(run.info.run_id)


def _iter_metrics(points: Sequence[Point]) -> Iterator[Metric]:
    for point in points:
        for name, value in point.values.items():
            yield Metric(name, value, int(point.at_s * 1000), point.step)


def _iter_batches(items: Sequence[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield list(items[start : start + size])
