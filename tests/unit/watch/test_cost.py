import json

import pytest

from trainwright.core.errors import InvalidValue, ManifestNotFound, RunDamaged, UnknownKey
from trainwright.core.manifest import LimitsSection
from trainwright.watch.budgets import list_budgets, measure_standing
from trainwright.watch.cost import Prices, add_amounts, price_storage, project, sum_up
from trainwright.watch.energy import EnergyCounter
from trainwright.watch.settings_file import parse_settings, read_settings
from trainwright.watch.usage import Meter, Usage, begin_usage, read_usages

PRICES = Prices(currency="EUR", devices={"cpu": 0.5, "cuda": 2.0, "NVIDIA A100": 3.0})


def usage(**changes):
    base = {"attempt": "a", "who": "ada", "device": "cpu", "begun_at": "2026-01-01", "at": "2026-01-01"}
    return Usage(**base | {"wall_s": 3600.0, "cpu_s": 7200.0, "num_tokens": 100} | changes)


def step(number, **timing):
    base = {"at": "2026", "step_s": 1.0, "tokens_per_s": 10.0, "validation_s": 0.0, "checkpoint_s": 0.0}
    return {"seq": number, "kind": "step", "step": number, "timing": base | timing}


def test_processor_hours_are_what_a_run_on_the_processor_costs():
    amounts = sum_up([usage(), usage(attempt="b")], PRICES)
    assert amounts.wall_hours.value == 2
    assert amounts.cpu_hours.value == 4
    assert (amounts.money.value, amounts.money.unit) == (2.0, "EUR")


@pytest.mark.parametrize(("gpu", "money"), [("NVIDIA A100", 3.5), ("another", 2.5)])
def test_a_gpu_has_the_price_of_its_name_or_else_of_its_kind(gpu, money):
    on_gpu = usage(device="cuda:0", gpu=gpu, gpu_s=3600.0, cpu_s=3600.0)
    assert sum_up([on_gpu], PRICES).money.value == money


def test_without_a_price_nothing_is_priced_and_it_is_not_zero():
    assert sum_up([usage()], None).money.value is None
    no_price = sum_up([usage()], Prices(currency="EUR", devices={"cuda": 1.0})).money
    assert no_price.value is None
    assert "no price for cpu" in no_price.why_not


def test_energy_with_a_price_that_was_not_measured_leaves_the_cost_open():
    prices = PRICES.model_copy(update={"energy_kwh": 0.3})
    assert sum_up([usage(energy_j=3.6e6)], prices).money.value == pytest.approx(1.3)
    assert "energy has a price" in sum_up([usage(why_not="no counter")], prices).money.why_not


def test_a_process_of_unknown_processor_time_is_not_counted_as_none():
    amounts = sum_up([usage(), usage(cpu_s=None)], PRICES)
    assert amounts.cpu_hours.value is None
    assert amounts.money.value is None


def test_what_remains_is_projected_at_the_pace_so_far():
    so_far = sum_up([usage(wall_s=20.0, cpu_s=40.0, num_tokens=20)], PRICES)
    projected = project(so_far, [step(1), step(2)], num_steps=22)
    assert projected.wall_hours.value == pytest.approx(40 / 3600)
    assert projected.cpu_hours.value == pytest.approx(80 / 3600)
    assert projected.tokens.value == 220
    assert project(so_far, [], num_steps=22).money.value is None


def test_money_in_several_currencies_is_not_added_up():
    parts = [sum_up([usage()], PRICES), sum_up([usage()], PRICES.model_copy(update={"currency": "USD"}))]
    assert add_amounts(parts).money.value is None
    assert add_amounts(parts).cpu_hours.value == 4


def test_storage_has_a_price_by_the_month_or_none():
    assert price_storage(2_000_000_000, PRICES).value is None
    assert price_storage(2_000_000_000, PRICES.model_copy(update={"storage_gb_month": 0.02})).value == 0.04


# ── price files ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_wrong_key_in_a_price_file_is_named_with_the_nearest():
    with pytest.raises(UnknownKey, match="curency") as caught:
        parse_settings("curency: EUR\ndevices: {cpu: 1}\n", Prices, "The price file p")
    assert "currency" in caught.value.why


@pytest.mark.parametrize(
    "text", ["currency: euro\ndevices: {cpu: 1}", "currency: EUR\ndevices: {cpu: -1}", "currency: EUR"]
)
def test_a_price_file_that_cannot_be_meant_is_refused(text):
    with pytest.raises(InvalidValue):
        parse_settings(text, Prices, "The price file p")


def test_a_price_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ManifestNotFound, match="nowhere"):
        read_settings(tmp_path / "nowhere.yaml", Prices, "price file")


# ── meters ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_meter_writes_what_its_process_used(tmp_path):
    path = tmp_path / "usage.jsonl"
    with Meter(path, begin_usage("ada", "cpu", None), EnergyCounter(tmp_path)) as meter:
        meter.emit(step(1))
        meter.emit(step(2, step_s=0.5))
        assert read_usages(path)[0].num_tokens == 0  # of the line at the beginning
    (used,) = read_usages(path)
    assert used.is_over
    assert used.num_tokens == 15
    assert used.wall_s > 0
    assert used.energy_j is None
    assert "no energy counter" in used.why_not


def test_a_torn_last_line_is_no_damage_and_goes_when_the_next_process_begins(tmp_path):
    path = tmp_path / "usage.jsonl"
    for _ in range(2):
        with Meter(path, begin_usage("ada", "cpu", None), EnergyCounter(tmp_path)):
            pass
        with path.open("ab") as file:
            file.write(b'{"half')
    assert len(read_usages(path)) == 2
    path.write_bytes(b"{}\n" + path.read_bytes())
    with pytest.raises(RunDamaged, match="Line 1"):
        read_usages(path)


def test_energy_is_read_from_the_counters_of_the_packages_across_their_coming_round(tmp_path):
    for name, now in (("intel-rapl:0", 900), ("intel-rapl:1", 100), ("intel-rapl:0:0", 5)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{now}\n")
        (tmp_path / name / "max_energy_range_uj").write_text("1000\n")
    counter = EnergyCounter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("50\n")
    (tmp_path / "intel-rapl:1" / "energy_uj").write_text("160\n")
    assert counter.read_j() == pytest.approx(210e-6)
    assert EnergyCounter(tmp_path, has_gpu=True).read_j() is None
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert counter.read_j() is None
    assert "cannot be read" in counter.why_not


# ── budgets ───────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("hours", "band"), [(0.49, 0.0), (0.5, 0.5), (0.8, 0.75), (0.95, 0.9), (1.0, 1.0), (3.0, 1.0)])
def test_marks_are_passed_at_half_three_quarters_nine_tenths_and_the_whole(hours, band):
    (budget,) = list_budgets(LimitsSection(hours=1.0), "run")
    standing = measure_standing(budget, sum_up([usage(wall_s=hours * 3600)], None))
    assert standing.band == band
    assert standing.is_reached == (hours >= 1)


def test_a_budget_of_what_is_not_known_is_never_reached_and_says_why():
    (budget,) = list_budgets(LimitsSection(money=1.0), "run")
    standing = measure_standing(budget, sum_up([usage()], None))
    assert standing.share is None
    assert not standing.is_reached
    assert "no price file" in json.dumps(standing.as_document())
