"""What Prometheus is told: runs, jobs, budgets, alerts as they stand when it asks, and the requests that were answered.

A value that is not known has no sample: a metric that is missing is missing, and never 0.
"""

import time
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from trainwright.core.errors import EventsDamaged, RunDamaged, TrainwrightTooOld, UnknownRef
from trainwright.core.records import Outcome
from trainwright.pipeline.alerts import open_book
from trainwright.pipeline.costs import list_standings
from trainwright.pipeline.inspect import find_runs, status_of
from trainwright.store.run_folder import RunFolder
from trainwright.store.workspace import Workspace
from trainwright.watch.alert_rules import SEVERITIES
from trainwright.work.standing import RunReader

PAGE = 1000
CHANNEL_VALUES = {"well": 0, "failing": 1, "dead": 2}

RUN_GAUGES = {
    "step": ("trainwright_run_step", "Steps that a running run has done."),
    "loss": ("trainwright_run_loss", "Training loss of its last step, in nats per token."),
    "gradient_norm": ("trainwright_run_gradient_norm", "Gradient norm of its last step, before clipping."),
    "learning_rate": ("trainwright_run_learning_rate", "Learning rate of its last step."),
    "val_loss": ("trainwright_run_validation_loss", "Held-out loss, as last measured, in nats per token."),
    "tokens_per_s": ("trainwright_run_tokens_per_second", "Tokens a second in its last step."),
    "num_steps": ("trainwright_run_planned_steps", "Steps that it is to do."),
}
"""{what is known of a running run: (metric, what it is)}."""


class WorkspaceCollector(Collector):
    """How a workspace stands, read when it is asked for. What was read once and cannot change is not read again."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._ended: dict[str, Outcome] = {}
        self._readers: dict[Path, RunReader] = {}

    def collect(self) -> Iterable[Metric]:
        """All metrics but those of requests."""
        yield from self._collect_runs()
        yield from self._collect_jobs()
        yield from self._collect_budgets()
        yield from self._collect_alerts()

    def _collect_runs(self) -> Iterable[Metric]:
        self._read_outcomes()
        counts = dict.fromkeys(("running", "completed", "failed", "pruned", "interrupted", "budget-reached"), 0)
        gauges = {name: GaugeMetricFamily(*named, labels=("run", "name")) for name, named in RUN_GAUGES.items()}
        tokens = CounterMetricFamily(
            "trainwright_run_tokens", "Tokens that a running run has learnt from.", labels=("run", "name")
        )
        running: set[Path] = set()
        for run in find_runs(self._workspace):
            outcome = self._ended.get(run.id)
            if outcome is not None:
                counts[outcome.status] += 1
                continue
            try:
                folder = self._workspace.find_run_folder(run.id)
                status = status_of(None, folder)
            except (UnknownRef, RunDamaged, TrainwrightTooOld):  # nothing can be said about it
                continue
            counts[status] += 1
            if status == "running":
                running.add(folder.path)
                for name, value in self._read_figures(folder).items():
                    family = tokens if name == "num_tokens" else gauges[name]
                    family.add_metric((run.id[:12], run.name), value)
        self._readers = {path: reader for path, reader in self._readers.items() if path in running}
        total = GaugeMetricFamily("trainwright_runs", "Runs, by how they stand.", labels=("status",))
        for status_name, number in counts.items():
            total.add_metric((status_name,), number)
        yield total
        yield from gauges.values()
        yield tokens

    def _read_outcomes(self) -> None:
        """Outcomes that are new since the last time: the newest come first."""
        after = None
        while page := self._workspace.ledger.find("outcome", PAGE, after=after):
            for stored in page:
                outcome = stored.record
                if not isinstance(outcome, Outcome) or outcome.run in self._ended:
                    return
                after = outcome.id
            self._ended |= {one.record.run: one.record for one in page if isinstance(one.record, Outcome)}

    def _read_figures(self, folder: RunFolder) -> dict[str, float]:
        """What is known of a running run, by name."""
        reader = self._readers.setdefault(folder.path, RunReader(folder.events_path))
        try:
            while reader.read_new():
                pass
        except EventsDamaged:  # what was read before it still stands
            pass
        step = reader.so_far.newest("step") or {}
        validation = reader.so_far.newest("validation") or {}
        known = {
            **{name: step.get(name) for name in ("step", "loss", "gradient_norm", "learning_rate", "num_tokens")},
            "val_loss": validation.get("val_loss"),
            "tokens_per_s": (step.get("timing") or {}).get("tokens_per_s"),
            "num_steps": reader.so_far.num_steps,
        }
        return {name: float(value) for name, value in known.items() if value is not None}

    def _collect_jobs(self) -> Iterable[Metric]:
        jobs = GaugeMetricFamily("trainwright_jobs", "Jobs, by state.", labels=("state",))
        for state, number in self._workspace.jobs.count().items():
            jobs.add_metric((state,), number)
        yield jobs

    def _collect_budgets(self) -> Iterable[Metric]:
        share = GaugeMetricFamily(
            "trainwright_budget_spent_ratio", "Part of a budget that is spent.", labels=("of", "target", "what")
        )
        for target, standing in list_standings(self._workspace):
            if standing.share is not None:
                of = "run" if standing.budget.of == "run" else "project"
                share.add_metric(
                    (of, target[:64] if of == "project" else target[:12], standing.budget.what), standing.share
                )
        yield share

    def _collect_alerts(self) -> Iterable[Metric]:
        book = open_book(self._workspace)
        waiting = [alert.severity for alert in book.list_alerts() if alert.acknowledged_at is None]
        alerts = GaugeMetricFamily(
            "trainwright_alerts_open", "Alerts that nobody acknowledged, by severity.", labels=("severity",)
        )
        for severity in SEVERITIES:
            alerts.add_metric((severity,), waiting.count(severity))
        channels = GaugeMetricFamily(
            "trainwright_alert_channel_state", "0: well, 1: failing, 2: dead.", labels=("channel",)
        )
        for state in book.list_channels():
            channels.add_metric((state.name,), CHANNEL_VALUES[state.status])
        yield from (alerts, channels)


class Metrics:
    """The registry of one service: the workspace's metrics, those of its requests, and those of its process."""

    def __init__(self, workspace: Workspace) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(WorkspaceCollector(workspace))
        self.requests = Counter(
            "trainwright_http_requests",
            "Requests that were answered, by route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "trainwright_http_request_seconds",
            "Seconds until the answer began, by route.",
            ("method", "route"),
            registry=self.registry,
        )


class CountRequests:
    """Counts every request that is answered, those that the guard refuses included."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let it through, and count it when its answer begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                # The route's own path, with names for its parts: what people ask for has no end.
                route = getattr(scope.get("route"), "path", "none")
                method = scope["method"] if route != "none" else "none"
                self._metrics.requests.labels(method, route, str(message["status"])).inc()
                self._metrics.seconds.labels(method, route).observe(time.perf_counter() - begun)
            await send(message)

        await self._app(scope, receive, counting)
