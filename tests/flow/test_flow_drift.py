"""A run that goes on where something changed: what cannot change its results is named, the rest has to be allowed."""

import json
import os

import pytest

OTHER_KERNELS = {"OPENBLAS_CORETYPE": "Prescott"}


def read_attempts(folder):
    return [json.loads(line) for line in (folder / "attempts.jsonl").read_text(encoding="utf-8").splitlines()]


def test_change_that_can_change_results_has_to_be_allowed_and_goes_on_record(stopped_copy):
    (folder,) = stopped_copy.run_folders()
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    refused = stopped_copy("resume", "--json", expect=4, environment=OTHER_KERNELS).error
    assert refused["name"] == "drift"
    assert "OPENBLAS_CORETYPE was not there and is Prescott" in refused["why"]
    assert "--allow-drift OPENBLAS_CORETYPE" in refused["next"]
    # Refused before anything was touched (the lock names the process that held it).
    assert {name: data for name, data in before.items() if name != "lock"} == {
        path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and path.name != "lock"
    }

    allowed = ("resume", "--json", "--allow-drift", "OPENBLAS_CORETYPE")
    _, said = stopped_copy.train_to_the_end(*allowed, environment=OTHER_KERNELS)
    assert "OPENBLAS_CORETYPE was not there and is Prescott, which can change results" in said
    attempt = read_attempts(folder)[-1]
    change = {"name": "OPENBLAS_CORETYPE", "before": "not there", "now": "Prescott", "exact": False}
    assert attempt["changes"] == [change]
    assert (attempt["drift"]["step"], attempt["drift"]["changes"]) == (8, [change])
    run_id = folder.name.rpartition("-")[2]
    lineage = stopped_copy("lineage", run_id, "--json").document
    assert "from step 8: OPENBLAS_CORETYPE not there → Prescott" in lineage["tree"]

    # What was allowed once stays so; going back is a change like any other.
    stopped_copy.train_to_the_end("resume", "--json", environment=OTHER_KERNELS)
    assert stopped_copy("resume", "--json", expect=4).error["name"] == "drift"


def test_run_with_resume_asks_the_same(stopped_copy, corpus):
    words = stopped_copy.run_words(corpus, "--resume")
    assert stopped_copy(*words, expect=4, environment=OTHER_KERNELS).error["name"] == "drift"
    stopped_copy.train_to_the_end(*words, "--allow-drift=OPENBLAS_CORETYPE", environment=OTHER_KERNELS)


def test_change_that_cannot_change_results_is_only_named(stopped_copy, finished):
    harmless = {"OMP_NUM_THREADS": "3"}
    digest, said = stopped_copy.train_to_the_end("resume", "--json", environment=harmless)
    assert "OMP_NUM_THREADS was 1 and is 3\n" in said
    assert digest == finished.document["weights_digest"]
    (folder,) = stopped_copy.run_folders()
    attempt = read_attempts(folder)[-1]
    assert [change["name"] for change in attempt["changes"]] == ["OMP_NUM_THREADS"]
    assert "drift" not in attempt


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="this machine has one core")
def test_machine_with_fewer_cores_than_the_plan_has_threads_is_named(command, corpus, at_instant):
    kill = at_instant("KILL", 1, '"kind":"step","step":5,')
    command.run(corpus, "compute.threads=2", expect=-9, instant=kill)

    def keep_one_core():
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])

    error = command("resume", "--json", expect=4, preexec_fn=keep_one_core).error
    assert error["name"] == "drift"
    assert "threads was 2 of 2 and is 1 of 2" in error["why"]
    _, said = command.train_to_the_end("resume", "--json", "--allow-drift", "threads", preexec_fn=keep_one_core)
    assert "cores was" in said


def test_name_that_nothing_has_is_refused(stopped_copy):
    error = stopped_copy("resume", "--json", "--allow-drift", "weather", expect=64).error
    assert error["name"] == "invalid-value"
    assert "numpy" in error["why"]
