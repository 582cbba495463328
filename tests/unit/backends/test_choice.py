"""How `auto` is settled: the faster way for a run of this length, measured once and remembered."""

from typing import ClassVar

import pytest

from trainwright.backends import catalogue, choice
from trainwright.backends.catalogue import choose_device
from trainwright.backends.choice import (
    LONGEST_WAIT_S,
    WORTH_COMPILING_S,
    Memory,
    choose_compute,
    choose_frameworks,
    count_cores,
)
from trainwright.backends.measure import Speed
from trainwright.backends.probing import Probed
from trainwright.backends.protocol import Capabilities, Probe
from trainwright.backends.reference import ReferenceBackend
from trainwright.core.errors import DeviceUnavailable, PackageMissing, UnsupportedPlan
from trainwright.core.manifest import parse_manifest
from trainwright.core.plan import resolve_training
from trainwright.core.records import ModelShape

SHAPE = ModelShape(
    vocab_size=40, hidden_size=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=4, intermediate_size=8
)
EAGER, COMPILED = ("float32", False), ("bfloat16", True)


class Framework:
    """A framework that compiles, without one."""

    capabilities = Capabilities(
        devices=("cuda", "cpu"), dtypes=("float32", "bfloat16"), compiles=True, optimizers=("adamw", "muon")
    )
    working = ("cpu",)
    peaks: ClassVar = {"float32": 1e11, "bfloat16": 2e11}

    def measure_peak(self, compute):
        return self.peaks[compute.dtype]

    def probe(self, device):
        return Probe(device in self.working, "1", f"a {device}", problem=f"no {device}", remedy="buy one")


def install(monkeypatch, backends):
    """Let these be the frameworks that are here, with a probe that needs no process of its own."""

    def probe_apart(name, device):
        chosen = choose_device(name, device)
        probe = backends[name]().probe(chosen)
        return Probed(framework=name, device=chosen, works=probe.works, problem=probe.problem, remedy=probe.remedy)

    for module in (catalogue, choice):
        monkeypatch.setattr(module, "open_backend", lambda name: backends[name]())
        monkeypatch.setattr(module, "is_installed", lambda name: name in backends)
    monkeypatch.setattr(choice, "require_working", lambda name, device: backends[name]().probe(device).device_name)
    monkeypatch.setattr(choice, "probe_apart", probe_apart)


@pytest.fixture
def figures(monkeypatch):
    """{(dtype, compiled): (start_s, step_s) or a problem}; `measured` is what was timed, in order."""
    figures = {EAGER: (0.1, 0.5), COMPILED: (20.0, 0.3)}
    measured = []

    def measure(request):
        key = (request.compute.dtype, request.compute.compile)
        measured.append(key)
        found = figures[key]
        if isinstance(found, str):
            return Speed(compute=request.compute, problem=found)
        return Speed(compute=request.compute, start_s=found[0], step_s=found[1], score_s=0.1)

    monkeypatch.setattr(choice, "measure_speed", measure)
    install(monkeypatch, {"torch": Framework, "reference": ReferenceBackend})
    figures["measured"] = measured
    return figures


class Plain(Framework):
    """A framework that can do the least."""

    capabilities = Capabilities(
        devices=("cpu",), dtypes=("float32",), compiles=False, optimizers=("adamw",), most_threads=1
    )


@pytest.fixture
def three(monkeypatch):
    """{(framework, dtype, compiled): (start_s, step_s), a problem, or None: never done}; `measured` has the waits too."""
    figures = {("torch", *EAGER): (0.1, 0.5), ("torch", *COMPILED): (20.0, 0.3), ("tinygrad", *EAGER): (1.0, 1.0)}
    measured = []

    def measure(request, timeout_s=300):
        compute = request.compute
        key = (compute.framework, compute.dtype, compute.compile)
        measured.append((*key, timeout_s))
        found = figures[key]
        if found is None:
            return Speed(compute=compute, problem="not finished", given_up_s=timeout_s)
        if isinstance(found, str):
            return Speed(compute=compute, problem=found)
        return Speed(compute=compute, start_s=found[0], step_s=found[1], score_s=0.1)

    monkeypatch.setattr(choice, "measure_speed", measure)
    monkeypatch.setattr(choice, "AUTOMATIC", ("torch", "tinygrad"))
    monkeypatch.setattr(choice, "read_version", lambda name: "1")
    install(monkeypatch, {"torch": Framework, "tinygrad": Plain, "reference": ReferenceBackend})
    figures["measured"] = measured
    return figures


class Remembered(dict):
    def memory(self):
        return Memory(self.get, self.__setitem__)


def choose(*overrides, num_steps=1000, time_budget_s=None, memory=None, shape=SHAPE, machine="m"):
    manifest = parse_manifest(None, ["train.optimizer.name=adamw", "train.dropout=0", *overrides])
    return choose_compute(
        manifest.compute,
        shape,
        resolve_training(manifest.train, 100, num_steps),
        machine=machine,
        memory=(Remembered() if memory is None else memory).memory(),
        time_budget_s=time_budget_s,
    )


def chosen(found):
    return (found.compute.dtype, found.compute.compile)


# ── length ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("start_s", "num_steps", "expected"),
    [
        (20.0, 400, COMPILED),  # 140 s against 200 s
        (90.0, 400, EAGER),  # 210 s against 200 s
        (50.0, 1000, COMPILED),  # 350 s against 500 s
    ],
)
def test_faster_way_for_a_run_of_this_length_is_taken(start_s, num_steps, expected, figures):
    figures[COMPILED] = (start_s, 0.3)
    found = choose(num_steps=num_steps)
    assert chosen(found) == expected
    assert figures["measured"] == [EAGER, COMPILED]
    assert [(speed.compute.dtype, speed.step_s) for speed in found.candidates] == [("float32", 0.5), ("bfloat16", 0.3)]
    assert found.speed.compute == found.compute
    assert found.speed.step_s == figures[expected][1]
    assert "fastest of 2" in found.reason


def test_short_run_is_not_compiled_and_compiling_is_not_even_tried(figures):
    num_steps = int(WORTH_COMPILING_S / 0.5) - 1
    found = choose(num_steps=num_steps)
    assert chosen(found) == EAGER
    assert figures["measured"] == [EAGER]
    assert "too short" in found.candidates[1].problem
    assert found.reason == "the only candidate that was measured"


def test_time_budget_wants_to_know_what_starting_costs_once_the_code_is_compiled(figures):
    memory = Remembered()
    choose(num_steps=1000, memory=memory)
    found = choose(memory=memory, time_budget_s=1000)
    assert figures["measured"] == [EAGER, COMPILED, COMPILED]
    assert found.speed.compilation_s == found.candidates[1].start_s
    assert choose(memory=memory, time_budget_s=1000) == found
    assert figures["measured"] == [EAGER, COMPILED, COMPILED]


def test_compiled_way_that_is_slower_is_not_taken(figures):
    figures[COMPILED] = (0.0, 0.6)
    assert chosen(choose(num_steps=10**6)) == EAGER


# ── memory ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_was_measured_is_remembered_and_not_measured_again(figures):
    memory = Remembered()
    first = choose(memory=memory)
    figures[EAGER] = (0.0, 0.01)  # the machine is idle today
    assert choose(memory=memory) == first
    assert figures["measured"] == [EAGER, COMPILED]


def test_run_of_another_length_uses_the_same_figures(figures):
    memory = Remembered()
    assert chosen(choose(memory=memory, num_steps=1000)) == COMPILED
    assert chosen(choose(memory=memory, num_steps=50)) == EAGER
    assert chosen(choose("train.optimizer.learning_rate=1e-3", "train.keep_last=9", memory=memory)) == COMPILED
    assert figures["measured"] == [EAGER, COMPILED]


@pytest.mark.parametrize(
    "other",
    [
        {"machine": "another"},
        {"shape": SHAPE.model_copy(update={"num_layers": 2})},
        {"overrides": ["train.batch_size=64"]},
        {"overrides": ["train.accumulation=2"]},
        {"overrides": ["train.max_seq_length=64"]},
        {"overrides": ["train.dropout=0.1"]},
        {"overrides": ["train.label_smoothing=0.1"]},
        {"overrides": ["train.optimizer.name=muon"]},
        {"overrides": ["compute.threads=7"]},
    ],
)
def test_whatever_costs_something_else_is_measured_for_itself(other, figures):
    memory = Remembered()
    choose(memory=memory)
    choose(*other.pop("overrides", []), memory=memory, **other)
    assert len(figures["measured"]) == 4


def test_failure_is_not_remembered(figures):
    memory = Remembered()
    figures[COMPILED] = "no compiler"
    choose(memory=memory)
    figures[COMPILED] = (20.0, 0.3)
    assert chosen(choose(memory=memory)) == COMPILED
    assert figures["measured"] == [EAGER, COMPILED, COMPILED]


# ── time budget ───────────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(("budget_s", "expected"), [(30.0, EAGER), (49.0, EAGER), (51.0, COMPILED), (300.0, COMPILED)])
def test_under_a_time_budget_the_way_with_the_most_steps_is_taken(budget_s, expected, figures):
    found = choose(num_steps=1, time_budget_s=budget_s)
    steps = {key: (budget_s - figures[key][0]) / figures[key][1] for key in (EAGER, COMPILED)}
    assert chosen(found) == expected == max(steps, key=steps.get)


def test_under_a_time_budget_the_only_candidate_is_measured_too(figures):
    found = choose("compute.dtype=float32", "compute.compile=false", num_steps=1, time_budget_s=10)
    assert figures["measured"] == [EAGER]
    assert found.speed.step_s == 0.5


def test_candidate_that_works_is_taken_over_one_that_does_not_however_small_the_budget(figures):
    figures[EAGER] = "out of memory"
    assert chosen(choose(num_steps=1, time_budget_s=5)) == COMPILED


# ── failures ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_candidate_that_fails_is_reported_with_its_problem(figures):
    figures[COMPILED] = "no C++ compiler found"
    found = choose()
    assert chosen(found) == EAGER
    assert found.candidates[1].problem == "no C++ compiler found"
    assert found.candidates[1].step_s is None


def test_where_nothing_works_every_problem_is_named(figures):
    figures[EAGER], figures[COMPILED] = "out of memory", "no compiler"
    with pytest.raises(UnsupportedPlan, match="could not train this plan in any way") as raised:
        choose()
    assert raised.value.why == "float32: out of memory; bfloat16 compiled: no compiler"
    assert raised.value.next_step


def test_device_that_does_not_work_ends_the_choice(figures, monkeypatch):
    def refuse(name, device):
        raise DeviceUnavailable(f"{name} cannot compute on {device}")

    monkeypatch.setattr(choice, "require_working", refuse)
    with pytest.raises(DeviceUnavailable, match="torch cannot compute on cpu"):
        choose()
    assert figures["measured"] == []


# ── what is pinned ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_is_pinned_is_taken_unmeasured(figures):
    found = choose("compute.dtype=bfloat16", "compute.compile=true", "compute.threads=3")
    assert chosen(found) == COMPILED
    assert found.compute.num_threads == 3
    assert figures["measured"] == []
    assert found.speed is None
    assert found.reason == "the only candidate"


@pytest.mark.parametrize(
    ("pinned", "tried"),
    [
        (["compute.dtype=float32"], [("float32", False), ("float32", True)]),
        (["compute.dtype=bfloat16"], [("bfloat16", False), ("bfloat16", True)]),
        (["compute.compile=false"], [("float32", False), ("bfloat16", False)]),
        (["compute.compile=true"], [("float32", True), ("bfloat16", True)]),
    ],
)
def test_what_is_pinned_is_kept_and_the_rest_is_measured(pinned, tried, figures):
    figures.update(dict.fromkeys(tried, (1.0, 0.5)))
    found = choose(*pinned)
    assert figures["measured"] == tried
    assert chosen(found) in tried


def test_short_run_that_is_to_be_compiled_measures_both_ways_of_it(figures):
    figures[("float32", True)] = (1.0, 0.5)
    choose("compute.compile=true", num_steps=5)
    assert figures["measured"] == [("float32", True), ("bfloat16", True)]


def test_dtype_that_the_processor_emulates_is_not_tried_and_float32_is_compiled_in_its_place(figures, monkeypatch):
    monkeypatch.setitem(Framework.peaks, "bfloat16", 3e9)
    figures[("float32", True)] = (20.0, 0.4)
    remembered = Remembered()
    found = choose(memory=remembered)
    assert figures["measured"] == [EAGER, ("float32", True)]
    assert chosen(found) == ("float32", True)
    monkeypatch.setitem(Framework.peaks, "bfloat16", 2e11)  # one look decides for good: a plan must not flicker
    assert choose(memory=remembered).compute == found.compute


def test_on_an_accelerator_every_way_is_tried(figures, monkeypatch):
    monkeypatch.setattr(Framework, "working", ("cuda", "cpu"))
    figures.update({("float32", True): (9.0, 0.4), ("bfloat16", False): (0.1, 0.2)})
    found = choose()
    assert found.compute.device == "cuda"
    assert found.device_name == "a cuda"
    assert len(figures["measured"]) == 4
    assert chosen(found) == ("bfloat16", False)


def test_reference_has_one_way_and_is_never_measured(figures):
    found = choose("compute.framework=reference", "compute.threads=2")
    assert found.compute.model_dump() == {
        "framework": "reference",
        "device": "cpu",
        "dtype": "float32",
        "compile": False,
        "num_threads": 2,
    }
    assert figures["measured"] == []


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("compute.dtype=bfloat16", "cannot train in bfloat16 with adamw on cpu"),
        ("compute.compile=true", "cannot train in float32 compiled with adamw on cpu"),
    ],
)
@pytest.mark.parametrize("time_budget_s", [None, 60])
def test_what_a_named_framework_cannot_do_is_refused_unmeasured_with_those_that_can(asked, said, time_budget_s, three):
    for framework in ("reference", "tinygrad"):
        with pytest.raises(UnsupportedPlan, match=said) as raised:
            choose(f"compute.framework={framework}", asked, time_budget_s=time_budget_s)
        assert raised.value.why == "Backends installed here that can: torch."
        assert raised.value.next_step == "Choose --framework torch."
    assert three["measured"] == []


# ── framework, device, threads ────────────────────────────────────────────────────────────────────────────────────────
def frameworks_for(wanted, *overrides, optimizer="adamw"):
    section = parse_manifest(None, [f"compute.framework={wanted}", *overrides]).compute
    names, passed_over = choose_frameworks(section, optimizer)
    return names, {other.framework: other.problem for other in passed_over}


def test_auto_is_never_the_reference_in_place_of_another_framework(figures, monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda name: name == "reference")
    with pytest.raises(PackageMissing, match="No training framework") as raised:
        frameworks_for("auto")
    assert raised.value.next_step.startswith("pip install 'trainwright[torch]'")
    assert frameworks_for("reference") == (("reference",), {})


def test_auto_is_every_framework_that_is_installed_works_and_can_do_it(three):
    assert frameworks_for("auto") == (("torch", "tinygrad"), {})
    assert frameworks_for("auto", "compute.dtype=bfloat16") == (("torch",), {"tinygrad": "it cannot do bfloat16"})
    names, why = frameworks_for("auto", "compute.compile=true", "compute.threads=2")
    assert (names, why) == (("torch",), {"tinygrad": "it cannot do compile, 2 threads"})


def test_auto_with_one_framework_installed_is_that_one_and_its_own_error_is_told(three, monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda name: name == "tinygrad")
    names, why = frameworks_for("auto", "compute.dtype=bfloat16")
    assert names == ("tinygrad",)
    assert why == {"torch": "the package torch is not installed (pip install 'trainwright[torch]')"}


def test_auto_names_what_is_not_installed_beside_what_it_measured(three, monkeypatch):
    monkeypatch.setattr(choice, "AUTOMATIC", ("transformers", "torch", "tinygrad"))
    found = choose(num_steps=20)
    assert [(other.framework, other.problem) for other in found.passed_over] == [
        ("transformers", "the package transformers is not installed (pip install 'trainwright[transformers]')")
    ]
    assert [speed.compute.framework for speed in found.candidates] == ["torch", "torch", "tinygrad"]


def test_framework_that_crashes_as_it_is_tried_is_never_opened_here(three, monkeypatch):
    opened = []
    crashed = Probed(framework="torch", device="auto", works=False, problem="signal 11", remedy="install it again")
    works = choice.probe_apart
    monkeypatch.setattr(choice, "probe_apart", lambda name, device: crashed if name == "torch" else works(name, device))
    real = choice.open_backend
    monkeypatch.setattr(choice, "open_backend", lambda name: opened.append(name) or real(name))
    found = choose(num_steps=20)
    assert found.compute.framework == "tinygrad"
    assert [other.problem for other in found.passed_over] == ["signal 11 (install it again)"]
    assert "torch" not in opened


def test_of_an_order_of_preference_the_first_that_works_is_taken_and_the_others_are_named(three, monkeypatch):
    assert frameworks_for("[tinygrad, torch]") == (("tinygrad",), {})
    monkeypatch.setattr(Plain, "working", ())
    assert frameworks_for("[tinygrad, torch]") == (("torch",), {"tinygrad": "no cpu (buy one)"})
    monkeypatch.setattr(choice, "is_installed", lambda name: name != "tinygrad")
    names, why = frameworks_for("[tinygrad, torch, reference]")
    assert names == ("torch",)
    assert why == {"tinygrad": "the package tinygrad is not installed (pip install 'trainwright[tinygrad]')"}
    found = choose("compute.framework=[tinygrad, reference]")
    assert found.compute.framework == "reference"
    assert [other.framework for other in found.passed_over] == ["tinygrad"]


def test_order_of_preference_of_which_none_works_is_refused_with_every_reason(three):
    with pytest.raises(UnsupportedPlan, match="None of the frameworks tinygrad, reference can") as raised:
        frameworks_for("[tinygrad, reference]", "compute.dtype=bfloat16")
    assert raised.value.why == "tinygrad: it cannot do bfloat16; reference: it cannot do bfloat16"


def test_auto_measures_every_framework_and_takes_the_fastest(three):
    three["torch", *EAGER] = (0.1, 0.5)
    three["torch", *COMPILED] = (20.0, 0.3)
    three["tinygrad", *EAGER] = (50.0, 0.1)
    found = choose(num_steps=1000)
    assert three["measured"] == [
        ("torch", *EAGER, 300),
        ("torch", *COMPILED, 300),
        ("tinygrad", *EAGER, LONGEST_WAIT_S),
    ]
    assert found.compute.framework == "tinygrad"
    assert found.compute.num_threads == 1
    assert found.reason == "the fastest of 3 measured for a run of this length"
    three["tinygrad", *EAGER] = (50.0, 2.0)
    assert choose(num_steps=1000).compute.framework == "torch"


def test_slower_framework_is_waited_for_as_long_as_the_other_one_trains_and_that_is_remembered(three):
    three["tinygrad", *EAGER] = None
    memory = Remembered()
    found = choose(num_steps=100, memory=memory)
    assert three["measured"][-1] == ("tinygrad", *EAGER, pytest.approx(50.1))
    assert found.candidates[-1].problem == "not finished"
    assert found.compute.framework == "torch"
    num_measured = len(three["measured"])
    assert choose(num_steps=90, memory=memory).candidates[-1].problem == "not finished"
    assert len(three["measured"]) == num_measured
    choose(num_steps=200, memory=memory)  # worth waiting longer for
    assert three["measured"][-1] == ("tinygrad", *EAGER, pytest.approx(100.1))


def test_run_that_is_over_at_once_does_not_wait_for_another_framework(three):
    found = choose(num_steps=20)
    assert [name for name, *_ in three["measured"]] == ["torch"]
    assert found.candidates[-1].problem == "not measured: the whole run takes 10 s otherwise"
    assert found.compute.framework == "torch"


def test_under_a_time_budget_every_framework_is_measured_to_the_end(three):
    assert choose(num_steps=1, time_budget_s=100).compute.framework == "torch"
    assert three["measured"][-1] == ("tinygrad", *EAGER, 300)


def test_where_no_framework_trains_each_way_is_named_with_its_framework(three):
    three.update(dict.fromkeys([("torch", *EAGER), ("torch", *COMPILED), ("tinygrad", *EAGER)], "out of memory"))
    with pytest.raises(UnsupportedPlan, match="torch and tinygrad could not train") as raised:
        choose()
    assert "tinygrad float32: out of memory" in raised.value.why


def test_device_is_the_first_that_runs_a_kernel(figures, monkeypatch):
    assert choose_device("torch", "auto") == "cpu"
    monkeypatch.setattr(Framework, "working", ("cuda", "cpu"))
    assert choose_device("torch", "auto") == "cuda"
    assert choose_device("torch", "cuda:1") == "cuda:1"
    assert choose_device("reference", "auto") == "cpu"


def test_last_device_is_taken_unprobed_so_that_its_own_error_is_the_one_that_is_told(figures, monkeypatch):
    monkeypatch.setattr(Framework, "working", ())
    assert choose_device("torch", "auto") == "cpu"


def test_auto_threads_are_the_cores_this_process_may_use(figures, monkeypatch):
    monkeypatch.setattr(choice, "count_cores", lambda: 5)
    assert choose().compute.num_threads == 5
    monkeypatch.undo()
    assert count_cores() >= 1
