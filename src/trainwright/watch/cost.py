"""What a run costs: what its processes used, and what that is worth by a price file. Pure functions.

    currency: EUR
    region: eu-central
    devices: {cpu: 0.04, cuda: 1.80, "NVIDIA H100 80GB HBM3": 2.49}    # per core-hour, per GPU-hour
    energy_kwh: 0.31
    storage_gb_month: 0.02

Nothing is made up: what no price is given for is "not priced" and what was not measured is "not measured", never 0.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from pydantic import Field

from trainwright.core.records import Frozen, Measure
from trainwright.watch.events import Event, leave_out_undone
from trainwright.watch.usage import Usage, count_tokens, is_processor

JOULES_PER_KWH = 3.6e6
BETWEEN = ("validation_s", "checkpoint_s")
"""What lies between two steps, in the timing of the later one."""
Price = Annotated[float, Field(ge=0)]


class Prices(Frozen):
    """A price file. `devices`: per core-hour under `cpu`; per GPU-hour under a GPU's own name, or under `cuda` for the rest."""

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    region: str | None = None
    devices: Annotated[dict[str, Price], Field(min_length=1)]
    energy_kwh: Price | None = None
    storage_gb_month: Price | None = None


@dataclass(frozen=True)
class Amounts:
    """What was used, or will have been: hours, memory, energy, tokens, and the money that it is worth."""

    wall_hours: Measure
    cpu_hours: Measure
    gpu_hours: Measure
    peak_memory: Measure
    energy: Measure
    tokens: Measure
    money: Measure

    def as_document(self) -> dict[str, Any]:
        """{amount: {value, unit, why_not}}."""
        return {field.name: getattr(self, field.name).model_dump() for field in fields(self)}


def sum_up(usages: Sequence[Usage], prices: Prices | None) -> Amounts:
    """What several processes used together."""
    return Amounts(
        wall_hours=Measure(value=sum(usage.wall_s for usage in usages) / 3600, unit="hours"),
        cpu_hours=add(
            [_measure(_per(usage.cpu_s, 3600), "hours", "a process ran before usage was measured") for usage in usages],
            "hours",
        ),
        gpu_hours=Measure(value=sum(usage.gpu_s for usage in usages) / 3600, unit="hours"),
        peak_memory=_largest(usages),
        energy=add([_energy_of(usage) for usage in usages], "kWh"),
        tokens=Measure(value=sum(usage.num_tokens for usage in usages), unit="tokens"),
        money=add([price_usage(usage, prices) for usage in usages], _currency(prices)),
    )


def price_usage(usage: Usage, prices: Prices | None) -> Measure:
    """What one process cost: its device's hours, and its energy where that has a price."""
    if prices is None:
        return Measure(value=None, unit="", why_not="not priced: there is no price file")
    on_processor = is_processor(usage.device)
    device = "cpu" if on_processor else usage.device.partition(":")[0]
    device_price = prices.devices.get(usage.gpu or device, prices.devices.get(device))
    if device_price is None:
        return _not_priced(prices, f"not priced: the price file has no price for {usage.gpu or device}")
    parts = [] if on_processor else [Measure(value=usage.gpu_s / 3600 * device_price, unit=prices.currency)]
    if (core_price := prices.devices.get("cpu")) is not None:
        if usage.cpu_s is None:
            return _not_priced(prices, "not priced: processor time was not measured")
        parts.append(Measure(value=usage.cpu_s / 3600 * core_price, unit=prices.currency))
    if prices.energy_kwh is not None:
        energy = _energy_of(usage)
        if energy.value is None:
            return _not_priced(prices, f"not priced: energy has a price and was not measured ({energy.why_not})")
        parts.append(Measure(value=energy.value * prices.energy_kwh, unit=prices.currency))
    return add(parts, prices.currency)


def price_storage(num_bytes: int, prices: Prices | None) -> Measure:
    """What it costs to keep so many bytes for a month."""
    if prices is None or prices.storage_gb_month is None:
        return Measure(value=None, unit="", why_not="not priced: the price file has no price for storage")
    return Measure(value=num_bytes / 1e9 * prices.storage_gb_month, unit=f"{prices.currency} a month")


def project(so_far: Amounts, events: Iterable[Event], num_steps: int) -> Amounts:
    """What a run will have used once it has done all its steps, at the pace of those that it has done.

    The remaining steps take the mean time of a step, with the validations and checkpoints that came between them; everything
    else grows with the time as it did so far. Validation and report at the end are not in it.
    """
    steps = [event for event in leave_out_undone(events) if event["kind"] == "step"]
    if not steps or not so_far.wall_hours.value:
        return _each(so_far, lambda measure: _unknown(measure, "not projected: no step is done yet"))
    remaining = max(0, num_steps - steps[-1]["step"])
    step_s = sum(sum(step["timing"].get(part, 0.0) for part in ("step_s", *BETWEEN)) for step in steps)
    growth = 1 + remaining * step_s / len(steps) / 3600 / so_far.wall_hours.value
    per_step = sum(count_tokens(step) for step in steps) / len(steps)
    projected = _each(so_far, lambda measure: _times(measure, growth))
    return Amounts(
        **{field.name: getattr(projected, field.name) for field in fields(projected)}
        | {
            "peak_memory": so_far.peak_memory,
            "tokens": Measure(value=round((so_far.tokens.value or 0) + remaining * per_step), unit="tokens"),
        }
    )


def add_amounts(parts: Sequence[Amounts]) -> Amounts:
    """The sum of what several runs used; of memory the largest. Money in several currencies is not added up."""
    currencies = {part.money.unit for part in parts if part.money.value is not None}
    sums = {
        field.name: add([getattr(part, field.name) for part in parts], getattr(parts[0], field.name).unit)
        for field in fields(Amounts)
    }
    peaks = [part.peak_memory.value for part in parts if part.peak_memory.value is not None]
    sums["peak_memory"] = Measure(value=max(peaks), unit="bytes") if peaks else parts[0].peak_memory
    if len(currencies) > 1:
        why = f"not added up: the prices are in {', '.join(sorted(currencies))}"
        sums["money"] = Measure(value=None, unit="", why_not=why)
    return Amounts(**sums)


def add(measures: Sequence[Measure], unit: str) -> Measure:
    """The sum; where one of them is missing there is none, and its reason is the sum's."""
    missing = next((measure for measure in measures if measure.value is None), None)
    if missing is not None:
        return Measure(value=None, unit=unit, why_not=missing.why_not)
    return Measure(value=sum(measure.value or 0.0 for measure in measures), unit=unit)


def _largest(usages: Sequence[Usage]) -> Measure:
    peaks = [usage.peak_memory_bytes for usage in usages if usage.peak_memory_bytes is not None]
    return _measure(max(peaks, default=None), "bytes", "no process that measured it worked on the run")


def _energy_of(usage: Usage) -> Measure:
    why_not = usage.why_not or "a process ran before usage was measured"
    return _measure(_per(usage.energy_j, JOULES_PER_KWH), "kWh", why_not)


def _measure(value: float | None, unit: str, why_not: str) -> Measure:
    return Measure(value=value, unit=unit, why_not="" if value is not None else f"not measured: {why_not}")


def _per(value: float | None, divisor: float) -> float | None:
    return None if value is None else value / divisor


def _times(measure: Measure, factor: float) -> Measure:
    return measure if measure.value is None else Measure(value=measure.value * factor, unit=measure.unit)


def _unknown(measure: Measure, why_not: str) -> Measure:
    return Measure(value=None, unit=measure.unit, why_not=measure.why_not or why_not)


def _each(amounts: Amounts, change: Callable[[Measure], Measure]) -> Amounts:
    return Amounts(**{field.name: change(getattr(amounts, field.name)) for field in fields(amounts)})


def _not_priced(prices: Prices, why_not: str) -> Measure:
    return Measure(value=None, unit=prices.currency, why_not=why_not)


def _currency(prices: Prices | None) -> str:
    return "" if prices is None else prices.currency
