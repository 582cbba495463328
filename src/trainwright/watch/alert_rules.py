"""The rules of alerts: what is looked for, how serious it is, and how often it may be said. A file (YAML) sets them.

rules:
  loss-explosion: {factor: 5}          # all else stays as it is shipped
  plateau: {enabled: false}
  safety-bound: {bounds: {safety/refused: 0.95}}
delivery: {cooldown_s: 600, max_per_hour: 30, escalate_after_s: 1800}
channels:
  log: {kind: file, path: alerts.log}
  ops: {kind: webhook, url: "https://example.org/hook", secret_env: OPS_SECRET, at_least: high}
"""

from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trainwright.watch.settings_file import parse_settings, read_settings

Severity = Literal["low", "medium", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "medium", "high", "critical")
"""In the order of their weight."""
DEFAULT = "default"
Factor = Annotated[float, Field(gt=1)]
Share = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, le=100_000)]


class Settings(BaseModel):
    """A part of the file: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Rule(Settings):
    """What every rule has. `cooldown_s` None: that of `delivery`."""

    enabled: bool = True
    severity: Severity = "medium"
    cooldown_s: Seconds | None = None


class NonFiniteLoss(Rule):
    """A loss, a held-out loss or a gradient norm is NaN or infinite."""

    severity: Severity = "critical"


class LossExplosion(Rule):
    """The loss is more than `factor` times the median of the last `window` steps, once `window` steps were taken."""

    severity: Severity = "high"
    factor: Factor = 3.0
    window: Count = 50


class Plateau(Rule):
    """The best held-out loss of the last `validations` is not lower than that before them by the share `min_gain`."""

    severity: Severity = "low"
    validations: Count = 5
    min_gain: Annotated[float, Field(ge=0, lt=1)] = 0.001


class ExplodingGradients(Rule):
    """The gradient norm is more than `factor` times the median of the last `window` steps, or a layer's is more than 100."""

    severity: Severity = "high"
    factor: Factor = 10.0
    window: Count = 50


class VanishingGradients(Rule):
    """The gradient norm is below `limit`, or a layer's is below 1/10,000 of the largest layer's."""

    limit: Annotated[float, Field(gt=0)] = 1e-6


class Overfitting(Rule):
    """The held-out loss lies more than `gap` nats above the mean training loss of the last `window` steps."""

    gap: Annotated[float, Field(gt=0)] = 0.5
    window: Count = 50


class ThroughputDrop(Rule):
    """`patience` steps on end were slower than `share` of the median pace of the `window` before them."""

    share: Share = 0.5
    window: Count = 50
    patience: Count = 10


class Stalled(Rule):
    """A process works on the run, and it has said nothing for `after_s` seconds."""

    severity: Severity = "high"
    after_s: Annotated[float, Field(gt=0)] = 900.0


class FailedJob(Rule):
    """A run, or a job, ended in an error."""

    severity: Severity = "high"


class Disk(Rule):
    """Less than `free_bytes` is free where the workspace lies."""

    severity: Severity = "high"
    free_bytes: Annotated[int, Field(ge=1)] = 2_000_000_000


class Memory(Rule):
    """Less than `available_share` of the machine's memory can be had."""

    severity: Severity = "high"
    available_share: Share = 0.05


class BudgetBands(Rule):
    """A mark of a budget was passed: below 90 % it is low, from there on as serious as `severity`."""

    severity: Severity = "high"


class SafetyBound(Rule):
    """A metric of an evaluation lies below its bound: {"SUITE/METRIC": bound}. One that was not measured never fires."""

    severity: Severity = "critical"
    bounds: dict[str, float] = {}


class GateRefused(Rule):
    """A gate did not let a model pass."""


class Rules(Settings):
    """All rules, under the names that alerts carry."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, alias_generator=lambda name: name.replace("_", "-")
    )

    non_finite_loss: NonFiniteLoss = NonFiniteLoss()
    loss_explosion: LossExplosion = LossExplosion()
    plateau: Plateau = Plateau()
    exploding_gradients: ExplodingGradients = ExplodingGradients()
    vanishing_gradients: VanishingGradients = VanishingGradients()
    overfitting: Overfitting = Overfitting()
    throughput_drop: ThroughputDrop = ThroughputDrop()
    stalled: Stalled = Stalled()
    failed_job: FailedJob = FailedJob()
    disk: Disk = Disk()
    memory: Memory = Memory()
    budget: BudgetBands = BudgetBands()
    safety_bound: SafetyBound = SafetyBound()
    gate_refused: GateRefused = GateRefused()


class Delivery(Settings):
    """How often alerts may be said.

    One of the same rule about the same thing comes again after `cooldown_s` at the earliest; more than `max_per_hour` are put
    on record and not sent. One that nobody acknowledged is sent again after `escalate_after_s`, a degree more serious
    (0: never), and so on up to critical.
    """

    cooldown_s: Seconds = 600.0
    max_per_hour: Count = 30
    escalate_after_s: Seconds = 1800.0


class Channel(Settings):
    """What every channel has: it is sent alerts that are `at_least` so serious."""

    at_least: Severity = "low"


class Console(Channel):
    """Standard error of the process that watches."""

    kind: Literal["console"]


class File(Channel):
    """A line of JSON for each alert."""

    kind: Literal["file"]
    path: Annotated[str, Field(min_length=1)]


Url = Annotated[str, Field(pattern=r"^https?://.+")]
Variable = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Webhook(Channel):
    """A POST of the alert as JSON, signed with the secret in the environment variable `secret_env`."""

    kind: Literal["webhook"]
    url: Url
    secret_env: Variable


class Slack(Channel):
    """A POST in the format of Slack's incoming webhooks; the address, which is the secret, is in `url_env`, or is `url`."""

    kind: Literal["slack"]
    url: Url | None = None
    url_env: Variable | None = None


class Email(Channel):
    """A message through an SMTP server, over STARTTLS unless `tls` is off; its password is in `password_env`.

    A password goes over TLS alone, and is in the environment alone.
    """

    kind: Literal["email"]
    host: Annotated[str, Field(min_length=1)]
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    sender: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")]
    to: Annotated[tuple[Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$")], ...], Field(min_length=1)]
    tls: bool = True
    user: Annotated[str, Field(min_length=1)] | None = None
    password_env: Variable | None = None

    @model_validator(mode="after")
    def _require_safe_login(self) -> "Email":
        if (self.user is None) != (self.password_env is None):
            raise ValueError("user and password_env belong together")
        if self.user is not None and not self.tls:
            raise ValueError("a password is sent over TLS alone: leave tls on, or user and password_env out")
        return self


AnyChannel = Annotated[Console | File | Webhook | Slack | Email, Field(discriminator="kind")]
ChannelName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]


class AlertSettings(Settings):
    """The whole file."""

    rules: Rules = Rules()
    delivery: Delivery = Delivery()
    channels: dict[ChannelName, AnyChannel] = {}


def open_alert_settings(name_or_path: str) -> AlertSettings:
    """What comes along (`default`), or the file at a path.

    Raises ManifestNotFound, ManifestUnreadable, UnknownKey, InvalidValue.
    """
    if name_or_path == DEFAULT:
        text = (resources.files("trainwright.watch") / "alerts.yaml").read_text(encoding="utf-8")
        return parse_settings(text, AlertSettings, "The alert file that comes along")
    return read_settings(Path(name_or_path), AlertSettings, "alert file")


def raise_severity(severity: Severity) -> Severity:
    """One degree more serious, critical at most."""
    return SEVERITIES[min(SEVERITIES.index(severity) + 1, len(SEVERITIES) - 1)]


def is_at_least(severity: Severity, bound: Severity) -> bool:
    """Whether one is as serious as the other, or more."""
    return SEVERITIES.index(severity) >= SEVERITIES.index(bound)
