"""What differs between two environments, and which of it can change results."""

import pytest

from trainwright.core.errors import Drift, InvalidValue
from trainwright.core.records import Budgets, Change, Compute, Plan, Run
from trainwright.pipeline.drift import (
    PACKAGES,
    breaks_plan,
    compare_environments,
    compare_frameworks,
    read_run_environment,
    require_allowed,
    require_known_names,
)

ENVIRONMENT = {
    "trainwright": "1.0",
    "code": "c" * 64,
    "git": {"sha": "a" * 40, "dirty": False, "why_not": ""},
    "python": {"version": "3.11.2", "implementation": "CPython"},
    "platform": {"system": "Linux", "release": "6.1", "machine": "x86_64"},
    "packages": {"trainwright": "1.0", "torch": "2.9", "numpy": "2.0", "tokenizers": "0.20"},
    "cpu": {"model": "A CPU", "why_not": "", "num_logical": 8, "num_usable": 8, "instruction_sets": ["avx2"]},
    "memory_bytes": 1,
    "gpu": {"name": None, "why_not": "not measured"},
    "container": {"kind": None, "evidence": "none"},
    "hostname": "one",
    "variables": {"OMP_NUM_THREADS": "4"},
}


@pytest.fixture
def make_plan(training_plan, model_shape):
    def make(framework="torch", device="cpu", num_threads=4):
        compute = Compute(framework=framework, device=device, dtype="float32", compile=False, num_threads=num_threads)
        budgets = Budgets(
            latency_p95_ms=None, inference_rss_bytes=None, model_file_bytes=None, training_peak_bytes=None
        )
        return Plan(
            token_set="d" * 64, seed=1, model=model_shape, training=training_plan, compute=compute, budgets=budgets
        )

    return make


def changed(part: str, value) -> dict:
    """The environment with one part replaced; a mapping replaces only the keys that it has."""
    was = ENVIRONMENT[part]
    return ENVIRONMENT | {part: was | value if isinstance(was, dict) else value}


@pytest.mark.parametrize(
    ("part", "value", "name", "exact"),
    [
        ("code", "e" * 64, "code", False),
        ("trainwright", "1.1", "code", False),
        ("platform", {"machine": "aarch64"}, "platform", False),
        ("cpu", {"model": "Another CPU"}, "cpu", False),
        ("cpu", {"instruction_sets": ["avx2", "avx512f"]}, "cpu", False),
        ("packages", {"numpy": "2.1"}, "numpy", False),
        ("packages", {"torch": None}, "torch", False),
        ("variables", {"MKL_CBWR": "AVX2"}, "MKL_CBWR", False),
        ("variables", {"OMP_NUM_THREADS": "2"}, "OMP_NUM_THREADS", True),
        ("variables", {"CUDA_VISIBLE_DEVICES": "1"}, "CUDA_VISIBLE_DEVICES", True),
        ("packages", {"tokenizers": "0.21"}, "tokenizers", True),
        ("python", {"version": "3.12.1"}, "python", True),
        ("git", {"dirty": True}, "git", True),
        ("hostname", "two", "host", True),
        ("container", {"kind": "podman"}, "container", True),
        ("cpu", {"num_usable": 4}, "cores", True),
    ],
)
def test_each_change_has_a_name_and_says_whether_it_can_change_results(make_plan, part, value, name, exact):
    (change,) = compare_environments(ENVIRONMENT, changed(part, value), make_plan())
    assert (change.name, change.exact) == (name, exact)
    assert change.before != change.now


@pytest.mark.parametrize("part", ["memory_bytes", "platform"])
def test_what_says_nothing_about_results_is_not_compared(make_plan, part):
    value = {"memory_bytes": 2, "platform": {"release": "6.2"}}[part]
    assert compare_environments(ENVIRONMENT, changed(part, value), make_plan()) == ()


def test_too_few_cores_for_the_plans_threads_is_a_change_of_threads(make_plan):
    fewer = changed("cpu", {"num_usable": 2})
    changes = {change.name: change for change in compare_environments(ENVIRONMENT, fewer, make_plan(num_threads=4))}
    assert (changes["threads"].before, changes["threads"].now) == ("4 of 4", "2 of 4")
    assert not changes["threads"].exact
    assert [change.name for change in compare_environments(ENVIRONMENT, fewer, make_plan(num_threads=1))] == ["cores"]


def test_only_the_plans_own_framework_can_change_results(make_plan):
    other = changed("packages", {"torch": "2.10"})
    assert [change.exact for change in compare_environments(ENVIRONMENT, other, make_plan("torch"))] == [False]
    assert [change.exact for change in compare_environments(ENVIRONMENT, other, make_plan("reference"))] == [True]


@pytest.mark.parametrize("package", ["google-tunix", "jax", "jaxlib", "flax", "optax", "qwix"])
def test_what_lies_beneath_a_framework_counts_where_that_computes(make_plan, package):
    assert package in PACKAGES
    other = changed("packages", {package: "9.9"})
    (change,) = compare_environments(ENVIRONMENT, other, make_plan("tunix"))
    assert (change.name, change.exact) == (package, False)
    assert [change.exact for change in compare_environments(ENVIRONMENT, other, make_plan("torch"))] == [True]


def test_tinygrads_compiler_counts_where_tinygrad_computes(make_plan):
    other = changed("variables", {"TINYGRAD_COMPILER": "clang version 22.1.8"})
    (change,) = compare_environments(ENVIRONMENT, other, make_plan("tinygrad"))
    assert (change.name, change.exact) == ("TINYGRAD_COMPILER", False)
    assert compare_environments(ENVIRONMENT, other, make_plan("torch")) == ()


def test_another_framework_is_a_change_of_its_own_which_the_plan_of_a_branch_names(make_plan):
    (change,) = compare_frameworks(make_plan("torch"), make_plan("tinygrad"))
    assert (change.name, change.before, change.now, change.exact) == ("framework", "torch", "tinygrad", False)
    assert compare_frameworks(make_plan("torch"), make_plan("torch")) == ()
    assert not breaks_plan(change)
    assert breaks_plan(change.model_copy(update={"name": "numpy"}))
    require_known_names(["framework"])


def test_another_accelerator_counts_where_the_plan_computes_on_one(make_plan):
    before, now = (changed("gpu", {"name": name}) for name in ("H100", "H200"))
    assert compare_environments(before, now, make_plan()) == ()
    (change,) = compare_environments(before, now, make_plan(device="cuda"))
    assert (change.name, change.exact) == ("device", False)


def test_an_environment_without_a_digest_of_the_code_is_compared_by_version(make_plan):
    old = {key: value for key, value in ENVIRONMENT.items() if key != "code"}
    assert compare_environments(old, ENVIRONMENT, make_plan()) == ()
    (change,) = compare_environments(old, changed("trainwright", "1.1"), make_plan())
    assert (change.name, change.before, change.now) == ("code", "1.0", "1.1")


def test_the_same_machine_is_no_change(make_plan):
    plan = make_plan("reference", num_threads=1)
    assert compare_environments(read_run_environment(plan), read_run_environment(plan), plan) == ()


def test_every_refused_change_is_named_with_what_would_allow_it():
    run = Run(plan="a" * 64, name="n", started_at="now", nonce="1", environment="b" * 64)
    changes = [
        Change(name=name, before="old", now="new", exact=exact)
        for name, exact in (("cpu", False), ("numpy", False), ("python", True))
    ]
    with pytest.raises(Drift) as caught:
        require_allowed(changes, ["cpu"], run)
    assert "numpy changed" in caught.value.message
    assert "python" not in caught.value.message + caught.value.why
    assert "--allow-drift cpu --allow-drift numpy" in caught.value.next_step
    require_allowed(changes, ["cpu", "numpy"], run)


def test_names_that_nothing_has_are_refused():
    require_known_names(["cpu", *PACKAGES[1:], "MKL_CBWR"])
    with pytest.raises(InvalidValue, match="weather"):
        require_known_names(["weather"])
